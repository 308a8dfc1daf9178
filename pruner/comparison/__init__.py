"""Comparing methods over the same recorded traces: a table, accuracy curves and the best setting of each method.

points.py consults methods on recorded traces, some processes at a time; curves.py reads what came of it, or of runs that are there, and
plain voting at every number of traces; table.py has accuracy and cost with intervals, frontier.py the best settings, also cross-validated,
hours.py the time that each takes on an engine of a stated speed, and plot.py the figures. Nothing here knows a method or its settings.
"""
