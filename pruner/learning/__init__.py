"""Judges learned from data: labelled pairs of prefixes, training on them, and the evaluation of any judge.

build.py, pairs.py and pair_files.py make pairs; train.py, lexical.py and generative.py train; evaluate.py, scoring.py, metrics.py and
baselines.py measure, and tables.py and plots.py show the result. Nothing here runs while traces are sampled: a trained judge is used
through pruner/judges/.
"""
