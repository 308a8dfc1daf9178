"""SQL over results: a DuckDB connection on the views of a folder of runs, which can read these and nothing else, and write
nothing. Owns the reading of results with DuckDB.

Files may be replaced while they are read, since runs are going on; a query that hits such a moment is asked again.
"""

from __future__ import annotations

import glob
import os
import random
import re
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pruner.checkpoint.database import NO_EXTENSIONS, quoted
from pruner.errors import InputError, first_line
from pruner.records.schemas import READ_VIEWS, VIEWS
from pruner.results.formats import plain_rows
from pruner.results.run_tables import run_json_fault, schema_fault, table_fault
from pruner.results.run_totals import RunTotals
from pruner.results.writer import sql_path, views_sql
from pruner.settings.section import local_path
from pruner.statistics.at_k import maj_at_k, pass_at_k
from pruner.system.lines import print_warnings

_TRIES = 40
# Errors of the query itself; any other may come from a file that was replaced while it was read.
_FINAL = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.ConversionException,
    duckdb.OutOfRangeException,
    duckdb.ParserException,
    duckdb.PermissionException,
)


class Results:
    """The views of all runs under a folder, read-only. A run with a damaged file is left out, and named in a warning.

    Args:
        root: folder of the runs.
        run: read this one only; a damaged file of it is an error.
        time_limit_s: a query that takes longer is stopped; 0: none is.

    Raises:
        InputError: there are none, or the views cannot be read.
    """

    def __init__(self, root: Path, run: str | None = None, time_limit_s: float = 0.0) -> None:
        root = local_path(root)
        if not any(glob.iglob(f"{glob.escape(str(root))}/{glob.escape(run) if run else '*'}/answers/*.parquet")):
            raise InputError(f"{root}: no run has written answers here yet. Name another --root.")
        self._root, self._run, self._time_limit_s = root, run, time_limit_s
        self._views = _view_statements(views_sql(root, run))
        self._statements = dict(self._views)
        self._left_out: set[str] = set()
        self._as_text: dict[str, dict[str, dict[str, str]]] = {}
        self._open()

    def _open(self) -> None:
        # Python variables are no tables, and nothing is spilled to disk.
        self._connection = duckdb.connect(
            config={**NO_EXTENSIONS, "python_enable_replacements": "false", "temp_directory": ""}
        )
        _add_functions(self._connection)
        self._made: set[str] = set()
        self._seen: dict[str, tuple[int, int, int]] = {}
        # A folder whose name DuckDB would take for a pattern is asked for by a pattern that only it fits.
        folders = dict.fromkeys(f"{name.rstrip('/')}/" for name in (str(self._root), sql_path(self._root)))
        for setting in (
            "TimeZone = 'UTC'",
            "parquet_metadata_cache = true",
            "enable_external_file_cache = false",
            f"allowed_directories = [{', '.join(quoted(folder) for folder in folders)}]",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            self._connection.execute(f"SET {setting}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def table(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Return the rows of one SELECT.

        Raises:
            InputError: it is no SELECT, is wrong, lacks a parameter, or takes longer than the time limit.
        """
        statement = _select(sql, parameters or {})
        views = self._needed(statement)
        reason = "files are replaced faster than they can be read"
        for _ in range(_TRIES):
            before = self._files(views)
            if any(self._seen.get(path, status) != status for path, status in before.items()):
                # This connection remembers a file that was replaced since.
                self._reopen()
            self._seen |= before
            failed: duckdb.Error | None = None
            try:
                if self._make_views(views) and self._leave_out(views, is_deep=False):
                    continue
                table = self._run_select(statement, parameters or {})
            except duckdb.Error as error:
                failed = error
            except RuntimeError as error:  # what DuckDB says of a damaged file may be no text
                failed = duckdb.IOException(str(error))
            is_same = self._files(views) == before
            if failed is None and is_same:
                return table
            if failed is not None:
                if is_same and self._mend(views, failed):
                    continue
                if is_same or isinstance(failed, _FINAL):
                    reason = _explained(failed)
                    break
            time.sleep(random.uniform(0.02, 0.25))
        raise InputError(f"query: {reason}")

    def _run_select(self, statement: str, parameters: Mapping[str, Any]) -> pa.Table:
        stop = threading.Timer(self._time_limit_s, self._connection.interrupt)
        if self._time_limit_s:
            stop.start()
        try:
            return self._connection.sql(statement, params=dict(parameters)).to_arrow_table()
        except duckdb.InterruptException:
            raise InputError(
                f"query: took longer than {self._time_limit_s:g} s. Ask for less, or for more time with --time-limit."
            ) from None
        finally:
            stop.cancel()

    def _needed(self, sql: str) -> list[str]:
        """Return the views that a query reads, with those that they read, in the order in which they are made."""
        try:
            open_names = {name.lower() for name in self._connection.get_table_names(sql)}
        except duckdb.Error:
            open_names = set(self._statements)
        needed: set[str] = set()
        while open_names:
            name = open_names.pop()
            if name in self._statements and name not in needed:
                needed.add(name)
                open_names |= set(re.findall(r"\b(?:FROM|JOIN) (\w+)\b", self._statements[name]))
        return [name for name in self._statements if name in needed]

    def _make_views(self, names: Sequence[str]) -> bool:
        """Make views that are not there yet; each opens all its files once, so those that no query reads are never made.
        Return whether a new one has columns of other types than it should: some file has, and the rest were cast to fit it."""
        has_other_types = False
        for name in names:
            if name not in self._made:
                self._connection.execute(self._statements[name])
                self._made.add(name)
                if name in READ_VIEWS:
                    found = self._connection.sql(f"FROM {name} LIMIT 0").to_arrow_table().schema
                    has_other_types |= schema_fault(found, VIEWS[name]) is not None
        return has_other_types

    def _files(self, views: Sequence[str]) -> dict[str, tuple[int, int, int]]:
        """Return for each file that the views read what distinguishes it from one that replaces it.

        DuckDB opens a file for its footer and again for its rows: where it was replaced in between, rows may be wrong.
        """
        return {path: status for view in views for path in self._paths(view) if (status := _status(path)) is not None}

    def _paths(self, view: str) -> list[str]:
        """Return the files that a view reads, without those of runs that are left out."""
        folder = f"{glob.escape(str(self._root))}/{glob.escape(self._run) if self._run else '*'}"
        found = glob.iglob(f"{folder}/run.json" if view == "runs" else f"{folder}/{view}/*.parquet")
        return [path for path in found if self._run_of(path) not in self._left_out]

    def _run_of(self, path: str) -> str:
        return Path(path).relative_to(self._root).parts[0]

    def _reopen(self) -> None:
        self._connection.close()
        self._open()

    def _mend(self, views: Sequence[str], failed: duckdb.Error) -> bool:
        """Find out why a query failed: leave runs with damaged files out, read columns as text whose types do not fit together.
        Return whether it may work now.

        Raises:
            InputError: a file of the only run is damaged.
        """
        if isinstance(failed, duckdb.ParserException | duckdb.PermissionException):
            return False
        views = [view for view in views if view in READ_VIEWS]
        is_deep = not isinstance(failed, _FINAL)
        if self._leave_out(views, is_deep):
            return True
        mixed = {view: found for view in views if view not in self._as_text and (found := self._mixed(view))}
        if not mixed:
            return False
        for view, columns in mixed.items():
            print_warnings(
                [f"column {name} of {view} has another type in some runs; it is read as text" for name in columns]
            )
        self._as_text |= mixed
        self._read_by_name()
        return True

    def _leave_out(self, views: Sequence[str], is_deep: bool) -> bool:
        """Leave runs with damaged files out; return whether there are any.

        Raises:
            InputError: a file of the only run is damaged.
        """
        views = [view for view in views if view in READ_VIEWS]
        faults = {
            path: fault for view in views for path in self._paths(view) if (fault := self._fault(view, path, is_deep))
        }
        if not faults:
            return False
        lines = [f"{path}: {fault}" for path, fault in faults.items()]
        if self._run is not None:
            raise InputError(lines)
        print_warnings(
            [f"{line} The run {self._run_of(path)} is left out." for path, line in zip(faults, lines, strict=True)]
        )
        self._left_out |= {self._run_of(path) for path in faults}
        self._read_by_name()
        return True

    def _read_by_name(self) -> None:
        self._statements = {name: self._named_files(name) for name in self._views}
        self._reopen()

    def _fault(self, view: str, path: str, is_deep: bool) -> str | None:
        """Return what is wrong with a file of a view; None if it can be read. is_deep: read all of it."""
        before = _status(path)
        fault = run_json_fault(Path(path)) if view == "runs" else table_fault(Path(path), VIEWS[view])
        if fault is None and is_deep and view != "runs":
            try:
                self._connection.execute(
                    f"SELECT bit_xor(hash(every)) FROM read_parquet({self._quoted([path])}) AS every"
                ).fetchall()
            except (duckdb.Error, RuntimeError) as error:
                fault = f"unreadable ({first_line(error)})."
        return fault if _status(path) == before else None  # else it was replaced in the meantime

    def _mixed(self, view: str) -> dict[str, dict[str, str]]:
        """Return the further columns of a view whose types differ between files: by name in lower case, each file's type."""
        if view == "runs":
            return {}
        kinds: dict[str, dict[str, str]] = {}
        known = {name.lower() for name in VIEWS[view].names}
        for path in self._paths(view):
            for field in pq.read_schema(path):
                if field.name.lower() not in known:
                    kinds.setdefault(field.name.lower(), {})[path] = str(field.type)
        return {name: found for name, found in kinds.items() if len(set(found.values())) > 1}

    def _named_files(self, view: str) -> str:
        """Return the statement of a view with the files that it reads by name."""
        paths = self._paths(view) if view in READ_VIEWS else []
        statement = self._views[view]
        source = re.search(r"(read_\w+)\('(?:[^']|'')*'([^)]*\))", statement)
        if source is None:
            return statement
        if not paths:
            return f"CREATE OR REPLACE VIEW {view} AS SELECT * FROM columns_{view}"
        # Files of one kind are read together, columns that differ between kinds as text.
        mixed = self._as_text.get(view, {})
        kinds: dict[tuple[str | None, ...], list[str]] = {}
        for path in paths:
            kinds.setdefault(tuple(files.get(path) for files in mixed.values()), []).append(path)
        parts = []
        for kind, files in kinds.items():
            names = ['"' + name.replace('"', '""') + '"' for name, each in zip(mixed, kind, strict=True) if each]
            casts = f" REPLACE ({', '.join(f'{name}::VARCHAR AS {name}' for name in names)})" if names else ""
            parts.append(f"SELECT *{casts} FROM {source[1]}({self._quoted(files)}{source[2]}")
        return statement.replace(source[0], "(" + " UNION ALL BY NAME ".join(parts) + ")")

    def _quoted(self, paths: Sequence[str]) -> str:
        return "[" + ", ".join(quoted(sql_path(Path(path))) for path in paths) + "]"

    def statements(self) -> list[str]:
        """Return what makes the views, without those runs that cannot be read."""
        for view in READ_VIEWS:
            self.table(f"SELECT count(*) FROM {view}")
        return list(self._statements.values())

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the rows of one SELECT as dicts."""
        return plain_rows(self.table(sql, parameters))


def connect(root: Path | str = "outputs", run: str | None = None) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection of one's own with the views, for a notebook. Runs with damaged files are left out, and named in a warning.

    Unlike Results it can do everything that DuckDB can. A query that hits the moment in which a run replaces a file may fail: ask again.

    Args:
        root, run: as of Results.

    Raises:
        InputError: as Results.
    """
    with Results(local_path(str(root)), run) as results:
        statements = results.statements()
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    _add_functions(connection)
    for statement in statements:
        connection.execute(statement)
    return connection


def _add_functions(connection: duckdb.DuckDBPyConnection) -> None:
    connection.create_function("pass_at_k", pass_at_k, ["BIGINT", "BIGINT", "BIGINT"], "DOUBLE")
    connection.create_function("maj_at_k", maj_at_k, ["BIGINT[]", "BOOLEAN[]", "BIGINT", "BIGINT"], "DOUBLE")


def read_totals(results: Results) -> list[RunTotals]:
    """Return the totals of every run, by name."""
    # A count that a run of an older schema version did not keep is 0.
    fields = RunTotals.__dataclass_fields__.items()
    names = ", ".join(f"coalesce({name}, 0) AS {name}" if field.type == "int" else name for name, field in fields)
    sql = f"""
        SELECT {names} FROM tokens
        JOIN (SELECT run, baseline, baseline_run, accuracy_baseline, tokens_baseline, saved FROM savings) USING (run)
        ORDER BY run"""
    return [RunTotals(**row) for row in results.rows(sql)]


def run_totals(root: Path, run: str) -> RunTotals:
    """Return the totals of one run; what other runs under the root hold is only looked at for a measured baseline.

    Raises:
        InputError: it has written no answers, or they cannot be read.
    """
    try:
        with Results(root) as results:
            totals = {each.run: each for each in read_totals(results)}
    except InputError:  # another run's files are damaged
        with Results(root, run) as results:
            totals = {each.run: each for each in read_totals(results)}
    if run not in totals:
        raise InputError(f"{root / run}: no problem of it is finished yet.")
    return totals[run]


def _view_statements(sql: str) -> dict[str, str]:
    """Return the statement that makes each view, by name, in order."""
    found = {}
    for statement in duckdb.extract_statements(sql):
        if name := re.search(r"CREATE OR REPLACE VIEW (\w+) AS", statement.query):
            found[name[1]] = statement.query
    return found


def _select(sql: str, parameters: Mapping[str, Any]) -> str:
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise InputError(f"query: {_explained(error)}") from None
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        kinds = ", ".join(statement.type.name for statement in statements) or "nothing"
        raise InputError(f"query: got {kinds}, expected one SELECT. Results can be read, not changed.")
    if missing := sorted(statements[0].named_parameters - parameters.keys()):
        raise InputError(f"query: ${missing[0]} has no value. Add --param {missing[0]}=...")
    return sql


def _explained(error: duckdb.Error) -> str:
    """Return DuckDB's first line and, if it has one, its hint or the line that it points at."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    hints = [line for line in lines[1:] if line.startswith(("Did you mean", "Candidate"))]
    return " ".join([lines[0], *hints[:1]])


def _status(path: str) -> tuple[int, int, int] | None:
    """Return what distinguishes a file from one that replaces it; None if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
