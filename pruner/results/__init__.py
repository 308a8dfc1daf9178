"""The results of runs: their folders, the Parquet tables that a run writes, and everything that reads them.

writer.py writes. query.py (SQL over views.sql), named_queries.py, formats.py, export.py, audit.py, status.py and summary.py read. The
columns are described in pruner/schemas.py. No engine is needed for any of it. README.md describes the files, queries and accounting.
"""
