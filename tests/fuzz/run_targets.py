"""Targets that are what a run leaves: its bookkeeping, its tables and checkpoint, and queries over them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
from hypothesis import strategies as st

from pruner.results import formats
from tests.chaos.facts import Difference, check_same, facts_of
from tests.fuzz import values as v
from tests.fuzz.jobs_in_process import call
from tests.fuzz.target import SMALL_RUN, Wrong, ended, folder, no_constant, one_run, small_runs


@st.composite
def run_files(draw: st.DrawFn) -> tuple[str, bytes]:
    file = draw(st.sampled_from(["run.json", "progress/shard=0000.json"]))
    values = json.loads((one_run() / "run" / file).read_text())
    if draw(st.integers(0, 9)) == 0:
        return file, draw(st.binary(max_size=40))
    if draw(st.integers(0, 9)) == 0:
        return file, json.dumps(draw(v.values)).encode()
    for key in draw(st.lists(st.sampled_from(sorted(values)), min_size=1, max_size=2)):
        if draw(st.integers(0, 3)):
            values[key] = draw(v.values)
        else:
            values.pop(key, None)
    return file, json.dumps(values).encode()


def check_bookkeeping(drawn: tuple[str, bytes]) -> int:
    file, data = drawn
    with folder() as place:
        for name in ("run", "other"):
            shutil.copytree(one_run() / "run", place / name)
        (place / "run" / file).write_bytes(data)
        code = max(
            ended(call("status", str(place / "run"))),
            ended(call("status", str(place / "run"), "--json")),
            ended(call("query", "leaderboard", "--root", str(place))),
        )
        if ended(call("status", str(place))) or ended(
            call("query", "SELECT * FROM runs, tokens", "--root", str(place))
        ):
            raise Wrong("the other run is not shown")
        code = max(code, ended(call("run", *SMALL_RUN, f"run.root={place}", "run.name=run")))
        check_facts(one_run() / "run", place / "run")
        return code


def check_facts(run: Path, after: Path) -> None:
    """Refuse a run whose checkpoint holds something else after what was done to a copy of it."""
    try:
        check_same(*(facts_of(each / "checkpoint/shard=0000.duckdb") for each in (run, after)))
    except Difference as error:
        raise Wrong(str(error)) from None


@st.composite
def damages(draw: st.DrawFn) -> tuple[str, bytes]:
    table = draw(st.sampled_from(["answers", "traces", "verdicts", "probes", "attempts", "checkpoint"]))
    suffix = "duckdb" if table == "checkpoint" else "parquet"
    file = f"{table}/shard=0000.{suffix}"
    whole = (one_run() / "run" / file).read_bytes()
    if table != "checkpoint" and draw(st.integers(0, 2)) == 0:
        return file, draw(v.tables(tuple(pq.read_schema(one_run() / "run" / file).names[:4])))
    return file, draw(v.damaged(whole))


def check_damage(drawn: tuple[str, bytes]) -> int:
    """A damaged file of one run does not keep others from being read."""
    file, data = drawn
    with folder() as place:
        for name in ("run", "other"):
            shutil.copytree(one_run() / "run", place / name)
        (place / "run" / file).write_bytes(data)
        view = file.partition("/")[0]
        sql = f"SELECT count(*) AS n FROM {'attempts' if view == 'checkpoint' else view} WHERE run = 'other'"
        found = call("query", sql, "--root", str(place), "--format", "json", limit_s=30)
        ended(found)
        every = call(
            "query",
            f"SELECT * FROM {'attempts' if view == 'checkpoint' else view}",
            "--root",
            str(place),
            "--format",
            "json",
        )
        if (
            ended(every)
            or found.code
            or json.loads(found.output)[0]["n"] < int(view in ("answers", "traces", "attempts"))
        ):
            raise Wrong(f"the other run is not read: {every.errors} {found.output}")
        ended(call("export", str(place), "--to", "jsonl", "--output", str(place / "x"), limit_s=30))
        # A report takes seconds, most of them for its figures.
        return ended(call("report", str(place), limit_s=60)) if len(data) % 8 == 0 else 0


_LITERALS = (
    *(
        "1",
        "1.5",
        "'a'",
        "NULL",
        "'\u2028'",
        "'nan'::DOUBLE",
        "'inf'::FLOAT",
        "DATE '20000-01-01'",
        "'infinity'::TIMESTAMP",
    ),
    *(
        "TIMESTAMP_NS '2020-01-01 00:00:00.123456789'",
        "INTERVAL 3 DAYS",
        "uuid()",
        "1::HUGEINT",
        "'\\xff'::BLOB",
        "bitstring '101'",
    ),
    *(
        "MAP {'a': 1}",
        "union_value(a := 1)",
        "[1, 2]",
        "[TIMESTAMP_NS '2020-01-01']",
        "{'a': DATE '20000-01-01'}",
        "1::VARINT",
    ),
    *(
        "TIME '01:00'",
        "'{}'::JSON",
        "chr(27) || '[31m'",
        "chr(0)",
        "1::DECIMAL(38,10)",
        "'x'::INTEGER",
        "nonsense",
        "1/0",
        "TRUE",
    ),
)


@st.composite
def queries(draw: st.DrawFn) -> tuple[str, str]:
    chosen = draw(st.lists(st.sampled_from(_LITERALS), min_size=1, max_size=3))
    columns = ", ".join(f"{text} AS x" for text in chosen)
    sql = f"SELECT {columns} FROM range({draw(st.integers(0, 2))})"
    return (sql if draw(st.integers(0, 9)) else draw(v.texts)), draw(st.sampled_from(formats.FORMATS))


def check_query(drawn: tuple[str, str]) -> int:
    sql, form = drawn
    with folder() as place:
        output = ["--output", str(place / "o")] if form == "parquet" else []
        found = call("query", sql, "--root", str(small_runs()), "--format", form, *output)
        if found.code == 0 and form == "json":
            json.loads(found.output, parse_constant=no_constant)
        return ended(found)
