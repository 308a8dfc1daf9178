"""Judges learned from data: labelled pairs of prefixes, training on them, and the evaluation of any judge.

pair_files.py and pairs.py make pairs, train.py trains (lexical.py, generative.py, trainer.py), evaluate.py measures. Nothing here runs while
traces are sampled: a trained judge is used through pruner/judges/.
"""
