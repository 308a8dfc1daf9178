"""The results of runs: their folders, the Parquet tables that a run writes, and everything that reads them.

writer.py writes; query.py, export.py, audit.py, status.py and summary.py read. No engine is needed for any of it.
"""
