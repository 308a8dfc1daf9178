"""The main job without a model: exit codes, lines, and what is left on disk."""

import json
import signal
import subprocess
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pruner.results.query import run_totals
from tests.job_processes import PROJECT, run, run_program, start_program
from tests.live.jobs_under_test import assert_accounting_agrees
from tests.results_under_test import OVERRIDES, problem_set

SIMULATED = ("sampler=simulated", "problems.limit=12", "budget=6")


def snapshot(root):
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    result = run("run", *SIMULATED, f"run.root={folder}", "run.name=run")
    assert result.returncode == 0, result.stderr
    assert "12 problems, results in" in result.stdout
    return folder


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method.price=-1"], "method.price: got -1"),
        (["method.prise=1"], "Could not override 'method.prise'"),
        (["method=none"], "Could not find 'method/none'"),
        (["budget=17"], "belongs to another config (budget: 6 -> 17)"),
        (["seed=5"], "seed: 0 -> 5"),
        (["shard.count=2"], "shard.count: 1 -> 2"),
        (["problems.limit=11"], "fingerprint.problems"),
        (["problems.path=none.parquet"], "problems none.parquet: no such file"),
        (["problems.path=README.md"], "got ending '.md', expected .parquet"),
        (["problems=gpqa"], "problems.path must be set"),
        (["sampler=vllm", "model.path=./nowhere"], "model.path: got './nowhere', expected a model folder"),
        (
            ["sampler=vllm", "method=deepprune", "judge=llm", "judge.adapter=./nowhere"],
            "judge.adapter: got './nowhere'",
        ),
        (["a b"], "config:"),
    ],
)
def test_bad_input_gets_one_line_and_code_2_and_touches_nothing(root, overrides, message):
    before = snapshot(root)
    result = run("run", *SIMULATED, f"run.root={root}", "run.name=run", *overrides)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert snapshot(root) == before


def test_a_second_call_has_nothing_to_do_and_gives_the_same_files(root):
    before = pq.read_table(root / "run/answers/shard=0000.parquet")
    result = run("run", *SIMULATED, f"run.root={root}", "run.name=run")
    assert result.returncode == 0 and "nothing to do" in result.stderr
    assert pq.read_table(root / "run/answers/shard=0000.parquet").equals(before)


def test_a_run_folder_holds_what_the_readme_lists(root):
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    shard = "shard=0000"
    assert found == {
        "views.sql",
        "run/run.json",
        "run/.hydra/config.yaml",
        "run/.hydra/overrides.yaml",
        f"run/checkpoint/{shard}.duckdb",
        f"run/progress/{shard}.json",
        *(f"run/{table}/{shard}.parquet" for table in ("answers", "traces", "verdicts", "probes", "attempts")),
    }
    assert json.loads((root / f"run/progress/{shard}.json").read_text())["state"] == "done"


def test_lost_parquet_is_written_again_from_the_checkpoint(root):
    path = root / "run/traces/shard=0000.parquet"
    before = pq.read_table(path)
    path.unlink()
    assert run("run", *SIMULATED, f"run.root={root}", "run.name=run").returncode == 0
    assert pq.read_table(path).equals(before)


def test_weights_of_the_accounting_may_change_afterwards(tmp_path):
    job = ("run", *SIMULATED, "method=deepprune", f"run.root={tmp_path}", "run.name=run")
    assert run(*job).returncode == 0
    before = pq.read_table(tmp_path / "run/answers/shard=0000.parquet")["tokens_net"].to_pylist()
    assert run(*job, "accounting.judge_prompt_weight=5.0").returncode == 0
    after = pq.read_table(tmp_path / "run/answers/shard=0000.parquet")["tokens_net"].to_pylist()
    assert all(new > old for old, new in zip(before, after, strict=True))


def test_a_judge_that_is_not_asked_is_said(tmp_path):
    result = run("run", *SIMULATED, "judge=oracle", f"run.root={tmp_path}", "run.name=run")
    assert result.returncode == 0 and "judge=oracle is not used: method=worth compares no traces" in result.stderr


def test_a_problem_beyond_the_context_fails_alone_and_keeps_its_columns(tmp_path):
    demo = pq.read_table(PROJECT / "conf/problems/demo.parquet").slice(0, 2).to_pylist()
    demo.append({"problem_id": "long", "question": "word " * 3000, "answer": "1", "kind": "long"})
    pq.write_table(pa.Table.from_pylist(demo), tmp_path / "set.parquet")
    given = (*SIMULATED, f"problems.path={tmp_path}/set.parquet", f"run.root={tmp_path}", "run.name=run")
    result = run("run", *given)
    assert result.returncode == 0 and "1 failed" in result.stdout, result.stderr
    rows = pq.read_table(tmp_path / "run/answers/shard=0000.parquet").to_pylist()
    assert [row["status"] == "failed" for row in rows] == [False, False, True]
    assert "does not fit the context of 2048" in rows[2]["failure"] and rows[2]["kind"] == "long"


def test_columns_are_documented_and_carried(root):
    from pruner.records.schemas import ANSWERS, ANSWERS_ADDED

    answers = pq.read_table(root / "run/answers/shard=0000.parquet")
    assert set(answers.column_names) == {*ANSWERS.names, *ANSWERS_ADDED.names, "question", "kind"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_end_the_job_with_75_and_it_goes_on(root, tmp_path, number):
    slow = [
        *SIMULATED,
        f"run.root={tmp_path}",
        "run.name=run",
        "sampler.step_s=0.02",
        "checkpoint.every_segments=2",
        "sampler.max_running_traces=6",
    ]
    process = start_program("run", *slow, stderr=subprocess.PIPE)
    progress = tmp_path / "run/progress/shard=0000.json"
    deadline = time.monotonic() + 60
    while not (progress.exists() and json.loads(progress.read_text())["state"] == "running"):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    process.send_signal(number)  # the same stop, reported twice
    assert process.wait(timeout=60) == 75
    assert "the same command goes on from here" in process.stderr.read()
    assert json.loads(progress.read_text())["state"] == "interrupted"
    assert run("run", *slow[:-3], "sampler.max_running_traces=6").returncode == 0
    assert same_rows(root, tmp_path)
    assert_accounting_agrees(tmp_path / "run")
    attempts = pq.read_table(tmp_path / "run/attempts/shard=0000.parquet").to_pylist()
    assert [row["end_reason"] for row in attempts] == ["interrupted", "done"]


def same_rows(one, other):
    tables = [pq.read_table(root / "run/answers/shard=0000.parquet") for root in (one, other)]
    left, right = (table.drop_columns(["attempts", "wall_s", "gpu_seconds", "tokens_net"]) for table in tables)
    return left.equals(right)


def test_a_shard_that_another_process_works_on_is_refused(tmp_path):
    slow = [*SIMULATED, f"run.root={tmp_path}", "run.name=run", "sampler.step_s=0.05", "sampler.max_running_traces=2"]
    process = start_program("run", *slow, stderr=subprocess.DEVNULL)
    try:
        while not (tmp_path / "run/progress/shard=0000.json").exists():
            assert process.poll() is None
            time.sleep(0.02)
        result = run("run", *slow, "checkpoint.lock_wait_s=1")
        assert result.returncode == 2
        assert "waiting up to 1 s for host" in result.stderr
        assert f"pid {process.pid} works on it" in result.stderr and "Traceback" not in result.stderr
    finally:
        process.kill()
        process.wait()


def test_a_folder_that_cannot_be_written_is_one_line_and_code_1(tmp_path):
    (tmp_path / "file").write_text("")
    result = run("run", *SIMULATED, f"run.root={tmp_path}/file", "run.name=run")
    assert result.returncode == 1 and "Not a directory" in result.stderr and len(result.stderr.splitlines()) == 1


def test_a_dry_run_prints_every_engine_and_starts_none(tmp_path):
    arguments = [
        "method=deepprune",
        "judge=llm",
        "judge.colocate=false",
        "model=qwen3_32b",
        "judge.path=some/judge",
        "dry_run=true",
    ]
    result = run("run", *arguments, f"run.root={tmp_path}")
    assert result.returncode == 0, result.stderr
    plan = json.loads(result.stdout)
    assert plan["sampler"]["arguments"]["tensor_parallel_size"] == 2
    assert plan["judge"]["arguments"]["model"] == "some/judge"
    assert (
        "would be made: qwen3_32b, method deepprune, judge llm" in result.stderr
        and "no prompt is shown" in result.stderr
    )
    assert not list(tmp_path.iterdir())


def test_a_dry_run_shows_the_prompt_and_what_the_run_would_take(tmp_path):
    result = run(
        "run", "dry_run=true", "problems.limit=2", "accounting.price_per_million_tokens=3", f"run.root={tmp_path}"
    )
    assert result.returncode == 0, result.stderr
    assert "2 problems, 32 traces at most, 6,144 tokens if each reaches its cap" in result.stderr
    assert "928 tokens, cost 0.00 if every trace finishes" in result.stderr
    assert "| How many minutes are in one hour?<|im_end|>" in result.stderr and not list(tmp_path.iterdir())


def test_a_sweep_gives_each_point_its_folder_and_does_nothing_twice(tmp_path):
    small = ["sampler=simulated", "budget=2", "problems.limit=3", f"run.root={tmp_path}"]
    sweep = ["-m", "method=cons,deepprune", "seed=0,1", *small]
    assert run("run", *sweep).returncode == 0
    names = {path.parent.name for path in tmp_path.glob("*/run.json")}
    assert names == {
        f"budget=2,method={method},problems.limit=3,sampler=simulated,seed={seed}"
        for method in ("cons", "deepprune")
        for seed in (0, 1)
    }
    again = run("run", *sweep)
    assert again.returncode == 0 and again.stderr.count("nothing to do") == 4


def test_everything_is_shown_by_cfg_job():
    result = run("run", "--cfg", "job")
    assert result.returncode == 0
    for word in ("price: 0.001", "segment_tokens: null", "judge_prompt_weight", "every_segments"):
        assert word in result.stdout


def test_a_job_runs_from_another_folder(tmp_path):
    arguments = ("sampler=simulated", f"problems.path={PROJECT}/conf/problems/demo.parquet")
    result = run_program("run", *arguments, environment={"PYTHONPATH": str(PROJECT)}, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "outputs/problems.path=demo,sampler=simulated/answers/shard=0000.parquet").exists()


@pytest.mark.parametrize(
    ("study", "points"), [("tau", 4), ("k1", 4), ("truncation_tokens", 3), ("truncation_words", 3)]
)
def test_the_papers_studies_are_sweeps_that_start(tmp_path, study, points):
    result = run("run", f"+sweep={study}", "sampler=simulated", "dry_run=true", f"run.root={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count('"sampler"') == points


def test_a_shard_without_problems_ends_well(tmp_path):
    path = problem_set(tmp_path / "set.parquet", 2)
    overrides = [*OVERRIDES, f"problems.path={path}", f"run.root={tmp_path}/o", "run.name=run", "shard.count=4"]
    result = run("run", *overrides, "shard.index=3")
    assert result.returncode == 0 and "nothing to sum up" in result.stdout, result.stderr
    result = run("run", *overrides, "shard.index=1")
    assert result.returncode == 0 and "shard 1 of 4 is done: 1 problems" in result.stdout, result.stderr


def test_prices_may_change_afterwards_but_not_both_be_set(tmp_path):
    path = problem_set(tmp_path / "set.parquet", 2)
    overrides = [*OVERRIDES, f"problems.path={path}", f"run.root={tmp_path}/o", "run.name=run"]
    first = run("run", *overrides).stdout
    second = run("run", *overrides, "accounting.price_per_million_tokens=250")
    assert "about 0.00, by net tokens" in first and second.returncode == 0
    assert run_totals(tmp_path / "o", "run").cost == pytest.approx(
        250e-6 * run_totals(tmp_path / "o", "run").tokens_net
    )
    result = run("run", *overrides, "accounting.price_per_gpu_hour=1")
    assert result.returncode == 2 and "expected one of them" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
