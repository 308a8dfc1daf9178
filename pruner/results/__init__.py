"""The results of runs: their folders, the Parquet tables that a run writes, and everything that reads them.

writer.py writes. query.py (SQL over views.sql), named_queries.py, formats.py, export.py, audit.py, status.py, show.py and summary.py read.
The columns are described in pruner/records/schemas.py. No engine is needed for any of it. README.md describes the files, queries and accounting.
`pruner.results.connect("outputs")` gives a notebook a DuckDB connection with the views (query.connect).
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "connect":  # imported here, because the modules that it needs are imported without it elsewhere
        from pruner.results.query import connect

        return connect
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
