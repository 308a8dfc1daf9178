"""Judges learned from data: labelled pairs of prefixes, training on them, and the evaluation of any judge.

Nothing here runs while traces are sampled; a trained judge is used through pruner/judges/.
"""
