"""What is fuzzed: each target takes drawn input, does with the program what a user would, and returns the exit code."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from jobs import compare
from pruner.config.job import parse
from pruner.learning.config import EvalConfig, PairsConfig, TrainConfig
from pruner.learning.pair_files import read_pairs, recorded_pairs
from pruner.problems.problem_set import read_problems
from pruner.recordings.recording import ReplayColumns, read_recording
from pruner.recordings.replay import Replay
from pruner.results import formats
from pruner.results.query import Results
from pruner.results.writer import carry
from pruner.settings.dotted import flatten
from pruner.settings.section import name_fault, parse_as
from pruner.shard.inputs import sampler_context
from pruner.simulation import plans
from pruner.system.lines import printable
from tests.composed import composed
from tests.fuzz import values as v
from tests.fuzz.jobs_in_process import call
from tests.fuzz.run_targets import check_bookkeeping, check_damage, check_query, damages, queries, run_files
from tests.fuzz.target import PROJECT, Target, Wrong, code_of, ended, folder, no_constant, one_run, small_runs

# --- values of configs


def _main(values: dict[str, Any]) -> None:
    config = parse(values)
    config.sampler.plan(sampler_context(config))


SECTIONS: dict[str, tuple[str, tuple[str, ...], Callable[[dict[str, Any]], object]]] = {
    "run": ("config", (), _main),
    "run, simulated": (
        "config",
        ("sampler=simulated", "judge=oracle", "judge.source=x", "prefix=reasoning_words"),
        _main,
    ),
    "run, replay": (
        "config",
        ("sampler=replay", "sampler.source=x", "judge=noisy_oracle", "method=parallel_probe"),
        _main,
    ),
    "run, judge": ("config", ("judge=llm", "method=deepconf_online"), _main),
    "pairs": ("build_pairs", ("source=x.parquet", "target=y.parquet"), lambda values: parse_as(PairsConfig, values)),
    "train": ("train_judge", ("pairs=[x]", "target=y"), lambda values: parse_as(TrainConfig, values)),
    "train, lexical": (
        "train_judge",
        ("pairs=[x]", "target=y", "trainer=lexical"),
        lambda values: parse_as(TrainConfig, values),
    ),
    "eval": ("eval_judge", ("pairs=[x]", "target=y", "judges=[prior]"), lambda values: parse_as(EvalConfig, values)),
    "plan": (
        "plan",
        ("curve=[[1,60],[64,2500]]", "num_problems=9", "mean_tokens=40"),
        lambda values: plans.stated_curve(parse_as(plans.PlanConfig, values)),
    ),
    "compare": ("compare", (), lambda values: parse_as(compare.CompareConfig, values)),
}


@st.composite
def changed_configs(draw: st.DrawFn) -> tuple[str, list[tuple[str, Any]]]:
    section = draw(st.sampled_from(sorted(SECTIONS)))
    name, overrides, _ = SECTIONS[section]
    keys = [*flatten(composed(name, *overrides)), *composed(name, *overrides)]
    return section, draw(
        st.lists(st.tuples(st.sampled_from(keys), st.one_of(v.values, v.plausible)), min_size=1, max_size=2)
    )


def check_config(drawn: tuple[str, list[tuple[str, Any]]]) -> int:
    section, changes = drawn
    name, overrides, use = SECTIONS[section]
    values = composed(name, *overrides)
    for key, value in changes:
        *above, last = key.split(".")
        place = values
        for part in above:
            place = place.get(part) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place[last] = value
    return code_of(lambda: use(values))


# --- command lines

_KEYS = (
    "budget",
    "budgt",
    "seed",
    "method",
    "methd",
    "run.name",
    "method.tau",
    "model.sampling.temperature",
    "sampler.step_s",
)
_KEYS += (
    "+x",
    "++x",
    "~seed",
    "~x",
    "hydra.run.dir",
    "hydra.mode",
    "hydra.verbose",
    "hydra.sweep.dir",
    "problems.path",
    "judge",
)
_KEYS += (
    "checkpoint.every_s",
    "sampler.source",
    "shard.count",
    "prefix",
    "accounting.price_per_gpu_hour",
    "run.root",
    "model",
)
_WORDS = st.one_of(
    v.scalars.map(str),
    v.texts,
    st.sampled_from(["cons", "consx", "[1,2", "{a:", "'", "1,2", "${seed}", "${x}", "${oc.env:X}"]),
)


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    found = draw(st.lists(st.tuples(st.sampled_from(_KEYS), _WORDS), min_size=1, max_size=2))
    found_lines = [f"{key}={value}" for key, value in found] + draw(st.lists(v.texts, max_size=1))
    # What an operating system hands over has no NUL; `-` begins Hydra's own flags.
    return [line for line in found_lines if line and "\0" not in line and not line.startswith("-")]


def check_command_line(arguments: list[str]) -> int:
    with folder() as place:
        own = ["sampler=simulated", "dry_run=true", f"run.root={place}"]
        return ended(call("run", *own, *arguments, limit_s=30))


# --- problem sets


def check_problems(data: bytes) -> int:
    """What is read must be written as results and come back, beside another run, in every format."""
    with folder() as place:
        path = place / "set.parquet"
        path.write_bytes(data)

        def work() -> None:
            found = read_problems(str(path), None)
            root = other_runs(place)
            run = root / "fuzzed/answers"
            run.mkdir(parents=True)
            table = pq.read_table(next(root.glob("*/answers/*.parquet")))
            own = pa.concat_tables([table] * len(found.problems)).slice(0, len(found.problems))
            own = own.set_column(1, "problem_index", pa.array(range(len(own)), pa.int64()))
            pq.write_table(carry(own, found.carried), run / "shard=0000.parquet")
            with Results(root) as results:
                shown = results.table("SELECT * FROM answers")
            if not any(row["run"] == "fuzzed" for row in formats.plain_rows(shown)):
                raise Wrong("the run is not read back")
            check_formats(shown)

        return code_of(work)


def other_runs(place: Path) -> Path:
    return Path(shutil.copytree(small_runs(), place / "outputs"))


def check_formats(table: pa.Table) -> None:
    """Every format can be written and read again."""
    rows = json.loads(formats.to_json(formats.distinct(table)), parse_constant=no_constant)
    if len(rows) != table.num_rows:
        raise Wrong("rows are lost as JSON")
    if len(formats.to_json(table).splitlines()) != max(1, table.num_rows):
        raise Wrong("JSON rows are split")
    csv.field_size_limit(1 << 30)
    list(csv.reader(io.StringIO(formats.to_csv(table))))
    for text in (formats.to_text(table, 80, 100), formats.to_markdown(table)):
        if any(not line.isprintable() for line in text.split("\n")):
            raise Wrong("control characters in a table")


def _whole_set() -> bytes:
    return (PROJECT / "conf/problems/demo.parquet").read_bytes()


# --- recorded traces

_RECORDED = ("problem_id", "gold_answer", "trace_index", "num_tokens", "answer")
_MORE = ("question", "finish_reason", "text", "token_ids", "confidence", "probes", "probe_every", "model")


def check_recording(data: bytes) -> int:
    with folder() as place:
        path = place / "traces.parquet"
        path.write_bytes(data)

        def work() -> None:
            replay = Replay(read_recording(str(path), ReplayColumns()), 2, 0)
            for problem in replay.problem_set(None).problems:
                for index in range(len(replay.source(problem.problem_id).traces)):
                    replay.trace(problem.problem_id, index).char(1)

        return code_of(work)


def check_pairs_source(data: bytes) -> int:
    with folder() as place:
        path = place / "traces.parquet"
        path.write_bytes(data)
        values = composed("build_pairs", "source=x.parquet", "target=y.parquet") | {"source": str(path)}
        config = parse_as(PairsConfig, values)
        code_of(lambda: read_pairs(path))
        return code_of(lambda: recorded_pairs(config, read_recording(str(path), config.columns), letters))


def letters(text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A tokenizer of letters."""
    return tuple(range(len(text))), tuple(range(1, len(text) + 1))


# --- sources of problem sets

_LINES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [
            b'{"question": "q", "answer": 1}',
            b'{"question": "q\\ud800", "answer": "1"}',
            b"[1]",
            b"null",
            b"\xff,1",
            b"q,NaN",
        ]
    ),
    v.values.map(lambda value: json.dumps({"question": "q", "answer": value}).encode()),
    st.tuples(v.texts, v.scalars).map(lambda row: f"{row[0]},{row[1]}".encode(errors="surrogatepass")),
)


@st.composite
def sources(draw: st.DrawFn) -> tuple[str, bytes]:
    ending = draw(st.sampled_from([".csv", ".tsv", ".jsonl", ".json", ".parquet", ".txt"]))
    if ending == ".parquet":
        return ending, draw(v.tables(("question", "answer")))
    head = b"question,answer\n" if ending == ".csv" and draw(st.integers(0, 3)) else b""
    return ending, head + draw(st.sampled_from([b"\n", b"\n", b"\r\n"])).join(draw(st.lists(_LINES, max_size=4)))


def check_source(drawn: tuple[str, bytes]) -> int:
    """A file of any ending gives problems with ids of their own and questions, or is refused."""
    ending, data = drawn
    with folder() as place:
        source = place / f"s{ending}"
        source.write_bytes(data)

        def work() -> None:
            problems = read_problems(str(source), None).problems
            if len({each.problem_id for each in problems}) < len(problems) or not all(
                each.question for each in problems
            ):
                raise Wrong("ids are not unique, or a question is empty")

        return code_of(work)


# --- names


def check_names(drawn: tuple[str, str]) -> int:
    """A name that is accepted is found by everybody, and no sibling with it."""
    root_name, name = drawn
    values = composed("config", "sampler=simulated")
    with folder() as place:
        root = f"{place}/{root_name}"
        code = code_of(lambda: parse(json.loads(json.dumps(values)) | {"run": {"name": name, "root": root}}))
        if code:
            return code
        assert name_fault(name) is None
        for sibling in (name, f"{name}1", "a1", "ab", "b"):
            if not (Path(root) / sibling).exists():
                shutil.copytree(one_run() / "run", Path(root) / sibling)
        path = f"{root}/{name}"
        ended(call("status", path))
        found = call(
            "query",
            f"SELECT run FROM answers WHERE run = '{name.replace(chr(39), chr(39) * 2)}'",
            "--root",
            root,
            "--format",
            "json",
        )
        ended(found)
        if [row["run"] for row in json.loads(found.output)] != [name] * 2:
            raise Wrong(f"query found {found.output}")
        audited = call("audit", path)
        if audited.code or f"{printable(name)}: balanced: 2 problems" not in audited.output:
            raise Wrong(f"audit: {audited.code} {audited.output} {audited.errors}")
        return 0


TARGETS = (
    Target("config values", changed_configs(), check_config),
    Target("command lines", command_lines(), check_command_line),
    Target("problem sets", v.tables(("problem_id", "question", "answer")), check_problems),
    Target("problem sets, bytes", st.deferred(lambda: v.damaged(_whole_set())), check_problems),
    Target("recorded traces", v.tables(_RECORDED, _MORE), check_recording),
    Target("sources of pairs", v.tables(_RECORDED, _MORE), check_pairs_source),
    Target("sources of problem sets", sources(), check_source),
    Target("names", st.tuples(v.names, v.names), check_names),
    Target("run.json and progress", st.deferred(run_files), check_bookkeeping),
    Target("files of runs, bytes", st.deferred(damages), check_damage),
    Target("queries", queries(), check_query),
)
