"""Bad input of every class: one line that names it, exit code 2, before an engine loads."""

import json
import shutil
import sqlite3

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import entry
from pruner.columns import read_parquet
from pruner.errors import InputError
from pruner.importing import read_source
from pruner.lines import printable
from pruner.problems import read_problems
from pruner.results.audit import audit
from pruner.results.query import Results, checkpoint_rows
from pruner.results.writer import sql_path
from pruner.settings.section import name_fault
from pruner.shard.attempt import small_number
from tests.fuzz.jobs_in_process import call
from tests.many_results import write_runs

SMALL = ("sampler=simulated", "problems.limit=2", "budget=2", "method=cons", "progress.bar=false")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A root with one small run."""
    root = tmp_path_factory.mktemp("whole")
    result = call("run", *SMALL, f"run.root={root}", "run.name=run")
    assert result.code == 0, result.errors
    return root


@pytest.fixture
def root(whole, tmp_path):
    """A copy of it, with a second run beside."""
    for name in ("run", "other"):
        shutil.copytree(whole / "run", tmp_path / "o" / name)
    return tmp_path / "o"


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
        ("run", ["method=waves", "method.spend_power=inf"], "method.spend_power"),
        ("plan", ["curve=[[1,.inf],[2,5]]", "num_problems=3", "mean_tokens=9"], "curve"),
        ("plan", ["curve=[[1,5]]", "num_problems=3", "mean_tokens=9", "load_s=nan"], "load_s"),
        ("plan", ["curve=[[1,5]]", "num_problems=3", "mean_tokens=9", "kept_share=nan"], "kept_share"),
        ("train_judge", ["pairs=[x]", "target=y", "trainer.learning_rate=inf"], "trainer.learning_rate"),
        ("train_judge", ["pairs=[x]", "target=y", "trainer.loss.gamma=nan"], "trainer.loss.gamma"),
        ("eval_judge", ["pairs=[x]", "target=y", "judges=[prior]", "bootstrap=99999999"], "bootstrap"),
        ("compare", ["sources=[x]", "marks=[inf]"], "marks"),
        ("compare", ["sources=[x]", "seed=-1"], "seed"),
        ("build_pairs", ["source=x", "target=y", "folds=40000"], "folds"),
        ("import_problems", ["source=x", "target=y", "seed=-1"], "seed"),
        ("bench", ["bench=report", "repeats=0"], "repeats"),
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
        assert "expected a Parquet file" in refused("run", "sampler=simulated", f"problems.path={path}")


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
        ({"token_ids": ["x", "y"]}, "column token_ids is string, expected list of whole numbers"),
        ({"token_ids": [[2**40] * 5, [1] * 6]}, "column token_ids is list"),
        ({"probes": [3, 4], "probe_every": [2, 2]}, "column probes is int64, expected list of texts"),
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


def test_sources_of_imports_name_the_line_or_row_of_bad_bytes(tmp_path):
    for name, data, message in (
        ("s.csv", b"question,answer\nq,1\nq\xff,2\n", "row 1: column question: is not valid UTF-8"),
        ("s.jsonl", b'{"question": "q"}\n{"question": "\xff"}\n', "line 2 is not valid UTF-8"),
        ("s.jsonl", b'{"question": "q"}\n{"question": "\\ud800"}\n', "line 2 holds text that is not valid Unicode"),
        ("s.jsonl", b"[1]\n", "line 1"),
    ):
        (tmp_path / name).write_bytes(data)
        assert message in refused("import_problems", f"source={tmp_path / name}", f"target={tmp_path}/t.parquet")


def test_json_lines_end_at_line_feeds_only(tmp_path):
    (tmp_path / "s.jsonl").write_text('{"question": "a\u2028b\x85c"}\n{"question": "d"}\n', encoding="utf-8")
    assert read_source(tmp_path / "s.jsonl").column("question").to_pylist() == ["a\u2028b\x85c", "d"]


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
        (["method.tua=0.5"], "Did you mean method.tau?"),
        (["+method.tua=0.5"], "Did you mean tau?"),
        (["model.sampling.temprature=1"], "Did you mean model.sampling.temperature?"),
        (["temperature=1"], "Did you mean model.sampling.temperature?"),
        (["hydra/launcher=locl"], "Did you mean local?"),
        (["hydra.run.dir=/proc/nope"], "hydra: [Errno 2]"),
        (["hydra.run.dir=/etc/hostname"], "hydra: [Errno 17]"),
        (["hydra.mode=FOO"], "config: Error merging override hydra.mode=FOO"),
        (["hydra.verbose=1.5"], "config: "),
        (["seed=${seed}"], "config: "),
        (["seed=" + "1" * 5000], "config: "),
    ],
)
def test_a_typo_or_a_bad_option_of_hydra_is_one_line(arguments, message, tmp_path):
    line = refused("run", "dry_run=true", f"run.root={tmp_path}", *arguments)
    assert message in line and "Config search path" not in line


def test_derived_names_are_names():
    for value in ("日本語" * 80, "x" * 400, "1.", "*[1]?", "~"):
        assert name_fault(entry.run_name([f"problems.name={value}"], ())) is None


DAMAGES = (
    *(
        {"segments": "many"},
        {"state": 3},
        {"updated_at": "yesterday"},
        {"tokens": None},
        {"eta_s": [1]},
        {"nonsense": 1},
    ),
    *(None, [1]),
)


def damage_progress(file, changes):
    values = json.loads(file.read_text())
    if isinstance(changes, dict):
        values |= changes
    else:
        values = {key: value for key, value in values.items() if key != "segments"} if changes is None else changes
    file.write_text(json.dumps(values))


def test_damaged_progress_is_named_by_status(root):
    file = root / "run/progress/shard=0000.json"
    whole = file.read_bytes()
    for changes in DAMAGES:
        file.write_bytes(whole)
        damage_progress(file, changes)
        shown = call("status", str(root / "run"))
        assert shown.code == 0 and "1 unreadable" in shown.output and str(file) in shown.output
        assert "1 done" in call("status", str(root)).output


@pytest.mark.parametrize("changes", DAMAGES[:3:2])
def test_damaged_progress_is_named_and_does_not_stop_a_run(root, changes):
    file = root / "run/progress/shard=0000.json"
    damage_progress(file, changes)
    again = call("run", *SMALL, f"run.root={root}", "run.name=run")
    assert again.code == 0 and f"warning: {file}: unreadable" in again.errors
    assert "1 done" in call("status", str(root / "run")).output


@pytest.mark.parametrize("text", ["[]", '{"shard_count": "many"}', '{"shard_count": 0}', "[" * 100_000, b"\xff"])
def test_a_damaged_run_json_is_named_and_others_are_shown(root, text):
    file = root / "run/run.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert str(file) in refused("status", str(root / "run"))
    assert str(file) in refused("run", *SMALL, f"run.root={root}", "run.name=run")
    shown = call("status", str(root))
    assert shown.code == 0 and "other: 1 shard: 1 done" in shown.output and f"warning: {file}" in shown.errors
    for sql in ("FROM runs", "SELECT saved FROM savings"):
        found = call(
            "query",
            f"SELECT count(*) AS n FROM ({sql if sql.startswith('SELECT') else 'SELECT * ' + sql})",
            "--root",
            str(root),
        )
        assert found.code == 0, found.errors


def test_restart_counts_that_are_none_are_ignored(root, monkeypatch):
    assert [small_number(text) for text in (None, "", "2", "many", "-1", "9" * 5000, "²")] == [
        None,
        None,
        2,
        *[None] * 4,
    ]
    monkeypatch.setenv("SLURM_RESTART_COUNT", "many")
    result = call("run", *SMALL, f"run.root={root}", "run.name=fresh")
    assert result.code == 0, result.errors


def _sqlite(path):
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE segments (problem_id)")
    connection.close()


def _duckdb(path):
    path.unlink()
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE segments (x INTEGER)")
        connection.execute("CREATE TABLE run (schema_version INTEGER, identity VARCHAR)")


@pytest.mark.parametrize(
    "make", [_sqlite, _duckdb, lambda path: path.write_text("hello"), lambda path: path.write_bytes(b"PAR1" * 9)]
)
def test_a_checkpoint_that_is_another_file_is_named_and_no_extension_is_asked_for(root, make):
    path = root / "run/checkpoint/shard=0000.duckdb"
    make(path)
    result = call("run", *SMALL, f"run.root={root}", "run.name=run")
    assert result.code == 1 and f"checkpoint {path}: cannot be read" in result.errors
    assert len(result.errors.splitlines()) == 1 and "xtension" not in result.errors
    assert checkpoint_rows(path) is None


def test_a_damaged_table_of_one_run_is_named_and_left_out(root):
    file = root / "run/answers/shard=0000.parquet"
    whole = file.read_bytes()
    bad = pq.read_table(file)
    wrong_type = bad.set_column(bad.column_names.index("tokens_net"), "tokens_net", pa.array(["many"] * len(bad)))
    bad_text = bad.append_column("note", BAD_TEXT)
    for damage in (whole[:500], b"", b"hello", wrong_type, bad_text):
        pq.write_table(damage, file) if isinstance(damage, pa.Table) else file.write_bytes(damage)
        for job, *arguments in (
            ("query", "SELECT * FROM answers", "--root", str(root)),
            ("query", "leaderboard", "--root", str(root)),
            ("export", str(root), "--to", "jsonl", "--output", str(root.parent / "x")),
        ):
            if (damage is wrong_type and "leaderboard" not in arguments) or (
                damage is bad_text and "leaderboard" in arguments
            ):
                continue  # the one is read as text, the other is not read: they do no harm there
            result = call(job, *arguments)
            assert result.code == 0, result.errors
            assert f"warning: {file}: " in result.errors and "The run run is left out." in result.errors
        with pytest.raises(InputError, match="answers/shard=0000.parquet"), Results(root, "run") as results:
            results.table("SELECT *, sum(tokens_net) OVER () AS net FROM answers")
    assert call("report", str(root)).code == 0


def test_carried_columns_of_other_types_in_other_runs_are_read_as_text(root, capsys):
    for name, values in (("run", pa.array([1, 2])), ("other", pa.array([["a"], None]))):
        file = root / name / "answers/shard=0000.parquet"
        pq.write_table(pq.read_table(file).append_column("level", values), file)
    with Results(root) as results:
        found = {(row["run"], row["level"]) for row in results.rows("SELECT run, level FROM answers")}
    assert found == {("run", "1"), ("run", "2"), ("other", "[a]"), ("other", None)}
    assert "column level of answers" in capsys.readouterr().err


def test_json_keeps_both_columns_of_one_name_and_ends_no_line_within_a_row(root):
    found = call("query", "SELECT 'a' AS x, 'b' AS x, '\u2028\u2029\x85' AS y", "--root", str(root), "--format", "json")
    assert json.loads(found.output) == [{"x": "a", "x_1": "b", "y": "\u2028\u2029\x85"}]
    assert len(found.output.splitlines()) == 1


def test_values_that_python_has_no_type_for_are_shown(root, tmp_path):
    sql = "SELECT DATE '20000-01-01' AS a, TIMESTAMP_NS '2020-01-01 00:00:00.123456789' AS b, 'infinity'::TIMESTAMP AS c, '\\xff'::BLOB AS d"
    for form in ("table", "csv", "json", "markdown"):
        assert call("query", sql, "--root", str(root), "--format", form).code == 0
    output = str(tmp_path / "o.parquet")
    sql = "SELECT INTERVAL 3 DAYS AS a, union_value(a := 1) AS b"
    assert call("query", sql, "--root", str(root), "--format", "parquet", "--output", output).code == 0


def test_what_is_exported_with_nan_is_read_back(root, tmp_path):
    file = root / "run/answers/shard=0000.parquet"
    table = pq.read_table(file)
    pq.write_table(table.append_column("level", pa.array([float("nan"), float("-inf")])), file)
    assert call("export", str(root / "run"), "--to", "jsonl", "--output", str(tmp_path / "x")).code == 0
    lines = (tmp_path / "x/answers.jsonl").read_text().split("\n")[:-1]

    def no_constant(name):
        raise AssertionError(name)

    assert [json.loads(line, parse_constant=no_constant)["level"] for line in lines] == [None, None]
    target = tmp_path / "t.parquet"
    columns = ["columns.problem_id=problem_id", "columns.answer=gold"]
    result = call("import_problems", f"source={tmp_path}/x/answers.jsonl", f"target={target}", *columns)
    assert result.code == 0, result.errors
    assert len(read_problems(str(target), None).problems) == 2


def test_a_parquet_whose_column_cannot_be_read_names_it(tmp_path):
    bad = pa.DictionaryArray.from_arrays([0, 1], BAD_TEXT)
    path = tmp_path / "s.parquet"
    pq.write_table(pa.table(GOOD | {"note": bad}), path)
    with pytest.raises(InputError, match="column note"):
        read_parquet(path, "problems")
