"""Methods: policies that decide which traces start, go on or stop, and what the answer is. Pure and deterministic.

base.py is the interface, registry.py finds every method, ADDING.md shows how to add one. Each method is one file with its own
settings. They know no engine, disk, clock or model.
"""
