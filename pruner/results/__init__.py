"""The results of runs: their folders, the Parquet tables that a run writes, and everything that reads them.

`pruner.results.connect("outputs")` gives a notebook a DuckDB connection with the views (query.connect).
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "connect":  # imported here, because the modules that it needs are imported without it elsewhere
        from pruner.results.query import connect

        return connect
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
