"""Judges learned from data: labelled pairs of prefixes, training on them, and the evaluation of any judge."""
