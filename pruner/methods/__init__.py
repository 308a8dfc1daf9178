"""Methods: policies that decide which traces start, go on or stop, and what the answer is. Pure and deterministic.

base.py is the interface; each other file is one method. They know no engine, disk, clock or model.
"""
