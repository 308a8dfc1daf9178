"""SQL over all runs: the views of pruner/results/views.sql on the Parquet below a folder, or a query that is shipped.

    python -m jobs.query leaderboard
    python -m jobs.query "SELECT run, method, accuracy, tokens_net FROM tokens" --format csv

It opens no checkpoint and can change nothing, so it works while runs are going on.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.command import QUERIES, Arguments, ended
from pruner.errors import InputError
from pruner.records.schemas import VIEWS
from pruner.results import formats
from pruner.results.named_queries import NamedQuery, listing, parse_parameters, read_queries, read_query
from pruner.results.query import Results
from pruner.results.writer import write_views
from pruner.settings.section import did_you_mean, local_path, target_path
from pruner.system.files import write_atomically

_MAX_ROWS = 200


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    return ended(lambda: print(_answer(options), end=""))


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(prog="python -m jobs.query", description="SQL over all runs under a folder.")
    parser.add_argument(
        "query", nargs="?", help=f"a SELECT over {', '.join(VIEWS)}; or the name of one of these or of a shipped query"
    )
    parser.add_argument("--root", default="outputs", type=Path, help="folder of the runs (default: outputs)")
    parser.add_argument("--file", type=Path, help="read the query from a file")
    parser.add_argument(
        "--param", action="append", default=[], metavar="NAME=VALUE", help="value of $NAME in the query"
    )
    parser.add_argument(
        "--format",
        choices=formats.FORMATS,
        default="table",
        help="default: a table for the terminal; csv, json and parquet name a second column x x_1, JSON has null for NaN",
    )
    parser.add_argument("--output", type=Path, help="write there instead of printing")
    parser.add_argument(
        "--time-limit",
        default=3600.0,
        type=float,
        metavar="S",
        help="seconds until it is stopped (default: 3600; 0: none)",
    )
    parser.add_argument("--list", action="store_true", help="list the shipped queries (conf/query/) and end")
    parser.add_argument(
        "--columns", action="store_true", help="list the columns of every view (or of the one that is named) and end"
    )
    parser.add_argument(
        "--sql-shell", action="store_true", help="print the line that opens the views in duckdb, and end"
    )
    return parser


def _answer(options: argparse.Namespace) -> str:
    """Return what is to be printed."""
    queries = read_queries(QUERIES)
    if options.list:
        return listing(queries) + "\n"
    if options.columns:
        return _columns(options.query)
    if options.sql_shell:
        return _sql_shell(options.root)
    if (options.query is None) == (options.file is None):
        raise InputError("query: expected a SELECT, a shipped query's name (--list shows them) or --file.")
    query = read_query(options.file) if options.file is not None else _named(options.query, queries)
    given = parse_parameters(options.param)
    values = query.values(given) if query.parameters else given
    if not 0 <= options.time_limit <= threading.TIMEOUT_MAX:
        raise InputError(f"--time-limit: got {options.time_limit:g}, expected seconds, or 0 for none.")
    with Results(options.root, time_limit_s=options.time_limit) as results:
        table = results.table(query.sql, values)
    return _written(table, options.format, options.output)


def _named(text: str, queries: dict[str, NamedQuery]) -> NamedQuery:
    if text in queries:
        return queries[text]
    if text in VIEWS:
        return NamedQuery(text, "", (), f"SELECT * FROM {text}")
    if text.replace("-", "_").isidentifier():
        known = [*queries, *VIEWS]
        hint = did_you_mean(text, known)
        raise InputError(f"query: got {text!r}, expected a SELECT or one of {', '.join(known)}.{hint}")
    return NamedQuery("query", "", (), text)


def _written(table: pa.Table, kind: str, output: Path | None) -> str:
    if kind in ("csv", "json", "parquet"):
        table = formats.distinct(table)
    if kind == "parquet":
        if output is None:
            raise InputError("--format parquet: expected --output, since a terminal cannot show it.")
        output = target_path(output)
        stored = formats.storable(table)
        write_atomically(output, lambda path: pq.write_table(stored, path))
        return f"{table.num_rows:,} rows in {output}\n"
    if kind == "csv":
        text = formats.to_csv(table)
    elif kind == "json":
        text = formats.to_json(table)
    elif kind == "markdown":
        text = formats.to_markdown(table)
    else:
        is_shown = output is None and sys.stdout.isatty()
        width = shutil.get_terminal_size().columns if is_shown or "COLUMNS" in os.environ else None
        text = formats.to_text(table, width, _MAX_ROWS if output is None else table.num_rows)
    if output is None:
        return text
    output = target_path(output)
    write_atomically(output, lambda path: path.write_text(text, encoding="utf-8"))
    return f"{table.num_rows:,} rows in {output}\n"


def _columns(view: str | None) -> str:
    if view is not None and view not in VIEWS:
        raise InputError(f"--columns: got {view!r}, expected one of {', '.join(VIEWS)}.")
    lines = []
    for name in [view] if view else VIEWS:
        lines.append(name)
        for field in VIEWS[name]:
            meaning = (field.metadata or {}).get(b"doc", b"").decode()
            lines.append(f"    {field.name:<28} {field.type!s:<22} {meaning}".rstrip())
    return "\n".join(lines) + "\n"


def _sql_shell(root: Path) -> str:
    """Return the line for a shell. The file that it names is the one that runs write; it is made again if it is an older one."""
    root = local_path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder. Name another --root.")
    write_views(root)
    return f"duckdb -init {shlex.quote(str(root / 'views.sql'))}\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
