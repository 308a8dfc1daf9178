"""Comparing methods over the same recorded traces: a table, accuracy curves and the best setting of each method."""
