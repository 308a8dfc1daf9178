"""Comparing methods over the same recorded traces: a table, accuracy curves and the best setting of each method.

Reads the tables of finished runs; starts no run itself (jobs/compare.py does).
"""
