"""Judges: how likely two unfinished traces of one problem end in the same answer.

base.py is the interface, factory.py makes the judge that the config names. Training is in pruner/learning/.
"""
