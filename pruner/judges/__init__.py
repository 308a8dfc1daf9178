"""Judges: how likely two unfinished traces of one problem end in the same answer.

base.py is the interface, registry.py finds every judge, ADDING.md shows how to add one. Each judge's settings stand beside its
class. Training is in pruner/learning/.
"""
