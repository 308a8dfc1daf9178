"""SQL over all runs: the views of pruner/views.sql on the Parquet below a folder.

    python -m jobs.query "SELECT run, method, accuracy, tokens_net FROM tokens" [--root outputs]

It opens no checkpoint and can change nothing, so it works while runs are going on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import duckdb

from pruner.results import views_sql


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m jobs.query", description="SQL over all runs under a folder.")
    parser.add_argument("sql", help="a SELECT over runs, answers, traces, verdicts, probes, attempts, tokens")
    parser.add_argument("--root", default="outputs", type=Path, help="folder of the runs (default: outputs)")
    options = parser.parse_args(arguments)
    if not any(options.root.glob("*/answers/*.parquet")):
        print(f"error: {options.root}: no run has written answers here yet. Name another --root.", file=sys.stderr)
        return 2
    connection = duckdb.connect()
    try:
        connection.execute(views_sql(options.root))
        connection.sql(options.sql).show(max_rows=1000, max_width=200)
    except duckdb.Error as error:
        print(f"error: {str(error).strip().splitlines()[0]}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
