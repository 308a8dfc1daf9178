"""The HTML report: one page with figures and tables about one run or a folder of runs.

Reads results through pruner/results/query.py; writes a page that needs no network.
"""
