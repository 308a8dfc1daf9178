"""Bad input of every class: one line that names it, exit code 2, before an engine loads."""

import json
import resource
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import entry
from pruner.errors import InputError
from pruner.problems.problem_set import read_problems
from pruner.problems.sources import read_source
from pruner.results.audit import audit
from pruner.results.query import Results
from pruner.results.writer import sql_path
from pruner.settings.section import name_fault
from pruner.system.lines import printable
from tests.fuzz.jobs_in_process import call
from tests.job_processes import PROJECT
from tests.many_results import write_runs


def refused(job, *arguments):
    """Return the only line of a job that ends with 2."""
    result = call(job, *arguments)
    assert result.code == 2, result.errors
    lines = result.errors.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and lines[0].isprintable(), result.errors
    return lines[0]


@pytest.mark.parametrize(
    ("job", "arguments", "key"),
    [
        ("run", ["model.sampling.temperature=inf"], "model.sampling.temperature"),
        ("run", ["model.sampling.temperature=nan"], "model.sampling.temperature"),
        ("run", ["model.sampling.temperature=1e9"], "model.sampling.temperature"),
        ("run", ["sampler=simulated", "sampler.step_s=inf"], "sampler.step_s"),
        ("run", ["answer_time_limit_s=inf"], "answer_time_limit_s"),
        ("run", ["answer_time_limit_s=3601"], "answer_time_limit_s"),
        ("run", ["accounting.price_per_gpu_hour=nan"], "accounting.price_per_gpu_hour"),
        ("run", ["accounting.judge_prompt_weight=inf"], "accounting.judge_prompt_weight"),
        ("run", ["checkpoint.lock_wait_s=inf"], "checkpoint.lock_wait_s"),
        ("run", ["checkpoint.every_s=inf"], "checkpoint.every_s"),
        ("run", ["progress.interval_s=nan"], "progress.interval_s"),
        ("run", ["model.max_model_len=99999999999"], "model.max_model_len"),
        ("run", ["sampler.max_running_traces=99999999999"], "sampler.max_running_traces"),
        ("run", ["shard.count=99999999999"], "shard.count"),
        ("run", ["sampler.gpus=[-1]"], "sampler.gpus"),
        ("run", ["method=worth", "method.price=inf"], "method.price"),
        ("plan", ["curve=[[1,.inf],[2,5]]", "num_problems=3", "mean_tokens=9"], "curve"),
        ("plan", ["curve=[[1,5]]", "num_problems=3", "mean_tokens=9", "load_s=nan"], "load_s"),
        ("plan", ["curve=[[1,5]]", "num_problems=3", "mean_tokens=9", "kept_share=nan"], "kept_share"),
        ("train_judge", ["pairs=[x]", "target=y", "trainer.learning_rate=inf"], "trainer.learning_rate"),
        ("train_judge", ["pairs=[x]", "target=y", "trainer.loss.gamma=nan"], "trainer.loss.gamma"),
        ("eval_judge", ["pairs=[x]", "target=y", "judges=[prior]", "bootstrap=99999999"], "bootstrap"),
        ("compare", ["sources=[x]", "marks=[inf]"], "marks"),
        ("compare", ["sources=[x]", "seed=-1"], "seed"),
        ("build_pairs", ["source=x", "target=y", "folds=40000"], "folds"),
    ],
)
def test_a_number_that_is_not_finite_or_out_of_range_is_named(job, arguments, key, tmp_path):
    own = ["dry_run=true", f"run.root={tmp_path}"] if job == "run" else []
    assert f"{key}" in refused(job, *own, *arguments)


GOOD = {"problem_id": ["a", "b"], "question": ["1+1?", "2+2?"], "answer": ["2", "4"]}
# The second is no UTF-8.
BAD_TEXT = pa.Array.from_buffers(
    pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff")]
)


def written(path, columns):
    pq.write_table(pa.table(columns), path)
    return str(path)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_texts_of_every_kind_are_read_as_strings(tmp_path, kind):
    columns = {name: pa.array(values).cast(kind) for name, values in GOOD.items()} | {
        "note": pa.array(["x", None]).cast(kind)
    }
    found = read_problems(written(tmp_path / "s.parquet", columns), None)
    plain = read_problems(written(tmp_path / "p.parquet", GOOD | {"note": ["x", None]}), None)
    assert found.fingerprint == plain.fingerprint
    assert found.carried.column("note").to_pylist() == ["x", None]
    assert found.carried.schema.field("note").type in (pa.string(), pa.large_string())


@pytest.mark.parametrize(
    ("column", "name"),
    [
        (BAD_TEXT, "question"),
        (BAD_TEXT, "note"),
        (pa.ListArray.from_arrays([0, 1, 2], BAD_TEXT), "note"),
        (pa.StructArray.from_arrays([BAD_TEXT], ["a"]), "note"),
    ],
    ids=["required", "carried", "list", "struct"],
)
def test_invalid_utf8_in_any_column_is_named_with_its_row(tmp_path, column, name):
    path = written(tmp_path / "s.parquet", GOOD | {name: column})
    with pytest.raises(InputError, match=rf"row 1: column {name}: is not valid UTF-8"):
        read_problems(path, None)
    assert "is not valid UTF-8" in refused(
        "run", "sampler=simulated", f"problems.path={path}", f"run.root={tmp_path}/o"
    )
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "column",
    [
        pa.array([b"\xff", b"a"]),
        pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
        pa.array([1, 2], pa.duration("ns")),
        pa.array([2**62, 1], pa.timestamp("us")),
        pa.array([2**30, 1], pa.date32()),
    ],
    ids=["bytes", "map", "duration", "time after year 9999", "date after year 9999"],
)
def test_a_column_that_results_cannot_hold_is_refused(tmp_path, column):
    with pytest.raises(InputError, match="column note"):
        read_problems(written(tmp_path / "s.parquet", GOOD | {"note": column}), None)


def test_carried_columns_of_every_type_are_read_back_from_results(tmp_path):
    columns = GOOD | {
        "ns": pa.array([1_577_836_800_123_456_789, None], pa.timestamp("ns")),
        "zone": pa.array([1, 2], pa.timestamp("ns", "Europe/Berlin")),
        "half": pa.array([1.5, None], pa.float32()).cast(pa.float16()),
        "some": pa.array([["é"], None]).cast(pa.list_(pa.string_view())),
        "both": [{"a": 1, "b": [None, "x"]}, None],
        "nan": [float("nan"), float("inf")],
        "none": pa.nulls(2),
    }
    path = written(tmp_path / "s.parquet", columns)
    result = call(
        "run",
        "sampler=simulated",
        "budget=2",
        "method=cons",
        f"problems.path={path}",
        f"run.root={tmp_path}/o",
        "run.name=r",
    )
    assert result.code == 0, result.errors
    found = call("query", "SELECT * FROM answers ORDER BY problem_index", "--root", f"{tmp_path}/o", "--format", "json")
    row = json.loads(found.output)[0]
    assert row["ns"] == "2020-01-01 00:00:00.123456" and row["both"] == {"a": 1, "b": [None, "x"]}
    assert row["nan"] is None and row["some"] == ["é"]
    assert call("audit", f"{tmp_path}/o").code == 0
    assert call("export", f"{tmp_path}/o", "--to", "jsonl", "--output", f"{tmp_path}/x").code == 0


def test_columns_of_one_name_are_refused(tmp_path):
    path = tmp_path / "s.parquet"
    pq.write_table(
        pa.table([["a"], ["q"], ["1"], [1], [2]], names=["problem_id", "question", "answer", "x", "x"]), path
    )
    with pytest.raises(InputError, match=r"columns of the same name: \['x'\]"):
        read_problems(str(path), None)


def test_a_device_or_folder_is_no_problem_set(tmp_path):
    for path in ("/dev/zero", str(tmp_path)):
        assert "got a folder or device, expected a file" in refused("run", "sampler=simulated", f"problems.path={path}")


RECORDED = {
    "problem_id": ["p", "p"],
    "gold_answer": ["1", "1"],
    "trace_index": [0, 1],
    "num_tokens": [5, 6],
    "answer": ["1", "2"],
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_tokens": ["many", "5"]}, "column num_tokens is string, expected whole numbers"),
        ({"num_tokens": [2**62, 5]}, "row 0: num_tokens is 4611686018427387904, expected 1 to 2147483647"),
        ({"num_tokens": [5.0, 5.5]}, "row 1: num_tokens is 5.5"),
        ({"num_tokens": [float("nan"), 5.0]}, "row 0: num_tokens is nan"),
        ({"trace_index": [0, 2**40]}, "row 1: trace_index is 1099511627776"),
        ({"trace_index": [[0], [1]]}, "column trace_index is list"),
        ({"answer": [{"a": 1}, None]}, "column answer is struct"),
        ({"token_ids": ["x", "y"]}, "column token_ids is string, expected list"),
        ({"token_ids": [[2**40] * 5, [1] * 6]}, "column token_ids is list"),
        ({"probes": [3, 4], "probe_every": [2, 2]}, "column probes is int64, expected list"),
        ({"text": BAD_TEXT}, "row 1: column text: is not valid UTF-8"),
    ],
)
def test_recorded_traces_of_wrong_types_are_refused_before_anything_starts(tmp_path, changes, message):
    path = written(tmp_path / "t.parquet", RECORDED | changes)
    line = refused(
        "run", "sampler=replay", f"sampler.source={path}", "method=cons", "budget=2", f"run.root={tmp_path}/o"
    )
    assert message in line and not (tmp_path / "o").exists()


def test_whole_floats_and_numbers_for_answers_are_read(tmp_path):
    path = written(
        tmp_path / "t.parquet", RECORDED | {"num_tokens": [5.0, 6.0], "answer": [1, 2], "gold_answer": [1, 1]}
    )
    result = call(
        "run", "sampler=replay", f"sampler.source={path}", "method=cons", "budget=2", f"run.root={tmp_path}/o"
    )
    assert result.code == 0, result.errors


def test_sources_name_the_line_or_row_of_bad_bytes(tmp_path):
    for name, data, message in (
        ("s.csv", b"question,answer\nq,1\nq\xff,2\n", "row 1: column question: is not valid UTF-8"),
        ("s.jsonl", b'{"question": "q"}\n{"question": "\xff"}\n', "line 2 is not valid UTF-8"),
        ("s.jsonl", b'{"question": "q"}\n{"question": "\\ud800"}\n', "line 2 is not valid UTF-8"),
        ("s.jsonl", b"[1]\n", "line 1"),
    ):
        (tmp_path / name).write_bytes(data)
        assert message in refused("run", "sampler=simulated", f"problems.path={tmp_path / name}")


def test_json_lines_end_at_line_feeds_only(tmp_path):
    (tmp_path / "s.jsonl").write_text('{"question": "a\u2028b\x85c"}\n{"question": "d"}\n', encoding="utf-8")
    assert read_source(str(tmp_path / "s.jsonl"), "set").column("question").to_pylist() == ["a\u2028b\x85c", "d"]


@pytest.mark.parametrize(
    "name",
    ["n" * 300, "views.sql", "report", "~x", "a?", "..", ".a", " a", "a ", "a/b", "a\\b", "a\nb", "\x1b[31m", "a\0"],
)
def test_names_that_do_not_work_everywhere_are_refused(name):
    assert name_fault(name)


@pytest.mark.parametrize("name", ["a*", "a[1]", "it's é", "n" * 200])
def test_other_names_find_their_run_and_no_sibling(whole, tmp_path, name):
    root = tmp_path / "r[1]*"
    for sibling in (name, "a1", "ab"):
        shutil.copytree(whole / "run", root / sibling)
    shutil.copytree(whole / "run", tmp_path / "r1x" / "decoy")
    found = call("query", "SELECT DISTINCT run FROM answers", "--root", str(root), "--format", "json")
    assert {row["run"] for row in json.loads(found.output)} == {name, "a1", "ab"}
    with Results(root, name) as results:
        assert results.rows("SELECT run, count(*) AS n FROM answers GROUP BY run") == [{"run": name, "n": 2}]
    assert call("status", str(root / name)).code == 0
    assert str(audit(root / name)).startswith(f"{name}: balanced: 2 problems")
    target = tmp_path / "x.parquet"
    assert call("export", str(root / name), "--to", "replay", "--output", str(target)).code == 0


def test_a_folder_is_named_to_duckdb_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sql_path(tmp_path) == str(tmp_path)
    for name in ("~", "~x", "s3:", "file:", "*"):
        (tmp_path / name).mkdir()
        write_runs(tmp_path / name, 1, 2, 2)
        with Results(type(tmp_path)(f"./{name}")) as results:
            assert results.rows("SELECT count(*) AS n FROM answers") == [{"n": 2}]


def test_control_characters_are_never_printed():
    assert printable("a\x1b[31m\nb\udcff\u2028") == r"a\x1b[31m\nb\udcff\u2028"
    assert len(printable("x" * 10**6)) < 3_000
    for job, *arguments in (
        ("status", "nowhere\x1b[31m"),
        ("query", "SELECT '\x1b[31m'::INTEGER", "--root", "nowhere\n"),
        ("export", "no\x1b", "--to", "replay", "--output", "x.parquet"),
        ("query", "--fromat", "\x1b"),
    ):
        refused(job, *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["budgt=4"], "Did you mean budget?"),
        (["methd=cons"], "Did you mean method?"),
        (["method=consx"], "Did you mean cons?"),
        (["method.prise=0.5"], "Did you mean method.price?"),
        (["+method.prise=0.5"], "Did you mean price?"),
        (["model.sampling.temprature=1"], "Did you mean model.sampling.temperature?"),
        (["temperature=1"], "Did you mean model.sampling.temperature?"),
        (["hydra/launcher=locl"], "Did you mean local?"),
        (["hydra.run.dir=/proc/nope"], "hydra: [Errno 2]"),
        (["hydra.run.dir=/etc/hostname"], "hydra: [Errno 17]"),
        (["hydra.mode=FOO"], "config: Error merging override hydra.mode=FOO"),
        (["hydra.verbose=1.5"], "config: "),
        (["seed=${seed}"], "config: "),
        (["seed=" + "1" * 5000], "seed: got"),
    ],
)
def test_a_typo_or_a_bad_option_of_hydra_is_one_line(arguments, message, tmp_path):
    line = refused("run", "dry_run=true", f"run.root={tmp_path}", *arguments)
    assert message in line and "Config search path" not in line


def test_derived_names_are_names():
    for value in ("日本語" * 80, "x" * 400, "1.", "*[1]?", "~"):
        assert name_fault(entry.run_name([f"problems.name={value}"], ())) is None


@pytest.mark.parametrize("mebibytes", [200, 320, 520])
def test_too_little_memory_to_load_the_libraries_is_one_line(tmp_path, mebibytes):
    def limited():
        resource.setrlimit(resource.RLIMIT_AS, (mebibytes * 2**20, mebibytes * 2**20))

    command = [sys.executable, "-m", "jobs.run", "sampler=simulated", f"run.root={tmp_path}"]
    result = subprocess.run(command, capture_output=True, text=True, preexec_fn=limited, cwd=PROJECT, timeout=60)
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr and "error: memory: the process could not get" in result.stderr
