"""Comparing methods over the same recorded traces: a table, accuracy curves and the best setting of each method.

table.py has accuracy and cost with intervals, curves.py plain voting at every number of traces, frontier.py the best settings, also
cross-validated, and plot.py the figure. They read the tables of finished runs. runs.py starts the runs of a comparison as processes of
their own; nothing here knows a method or its settings.
"""
