"""Replaying and comparing as users do it, without a model."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.job_processes import run
from tests.jobs.test_run import SIMULATED

REPLAY = ("sampler=replay", "budget=6")
ANSWER_COLUMNS = ("problem_id", "gold", "answer", "correct", "votes", "vote_answers", "vote_counts", "cluster_sizes")
BOOK_COLUMNS = (
    *("traces_started", "traces_finished", "traces_pruned", "tokens_prompt", "tokens_sampled", "tokens_prefix"),
    *("tokens_finished", "tokens_pruned", "judge_calls", "judge_probes", "judge_verdicts", "tokens_judge_prompt"),
    *("tokens_judge_cached", "tokens_judge_output", "tokens_net", "tokens_unpruned_estimate"),
)


def rows(folder, name="answers", columns=(*ANSWER_COLUMNS, *BOOK_COLUMNS)):
    table = pa.concat_tables([pq.read_table(path) for path in sorted((folder / name).glob("*.parquet"))])
    return table.sort_by("problem_index").select(list(columns)).to_pylist()


def main_job(root, name, *overrides, code=0):
    result = run("run", f"run.root={root}", f"run.name={name}", *overrides)
    assert result.returncode == code, result.stderr
    return result


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    main_job(folder, "cons", *SIMULATED, "method=cons")
    main_job(folder, "pruned", *SIMULATED, "method=deepprune", "shard.index=0", "shard.count=2")
    main_job(folder, "pruned", *SIMULATED, "method=deepprune", "shard.index=1", "shard.count=2")
    return folder


@pytest.mark.parametrize("judge", ["probe", "recorded"])
def test_a_replayed_run_has_the_same_answers_and_the_same_accounting(root, judge):
    main_job(
        root,
        f"again_{judge}",
        *REPLAY,
        f"sampler.source={root}/pruned",
        "method=deepprune",
        f"judge={judge}",
    )
    assert rows(root / f"again_{judge}") == rows(root / "pruned")


def test_another_method_replays_a_run_in_which_all_traces_finished(root):
    main_job(root, "other", *REPLAY, f"sampler.source={root}/cons", "method=deepprune", "judge=oracle")
    found = rows(root / "other")
    assert {row["problem_id"] for row in found} == {row["problem_id"] for row in rows(root / "cons")}
    assert sum(row["traces_pruned"] for row in found) > 0
    same = zip(found, rows(root / "cons"), strict=True)
    assert all(row["tokens_sampled"] <= whole["tokens_sampled"] for row, whole in same)


def test_a_pruned_trace_is_not_made_longer(root):
    result = main_job(root, "longer", *REPLAY, f"sampler.source={root}/pruned", "method=cons", code=2)
    [line] = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert "was pruned after" in line and "method=cons" in line


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["budget=7"], "has no trace 6"),
        (["sampler.resample=3", "budget=7"], "budget: got 7, but problem"),
        (["judge=llm"], "judge: got llm, which needs an engine"),
        (["judge=recorded"], "is no run of a method with a judge"),
        (["judge=probe"], "was recorded without probes"),
        (["sampler.source=nowhere"], "expected a run's folder or a Parquet"),
    ],
)
def test_what_cannot_be_replayed_is_refused_in_one_line(root, tmp_path, overrides, message):
    result = main_job(tmp_path, "run", *REPLAY, f"sampler.source={root}/cons", "method=deepprune", *overrides, code=2)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert len(errors) == 1 and message in errors[0], result.stderr
    assert "Traceback" not in result.stderr


def test_a_judge_of_a_replay_is_refused_elsewhere(tmp_path):
    result = main_job(tmp_path, "run", *SIMULATED, "method=deepprune", "judge=noisy_oracle", code=2)
    assert "noisy_oracle" in result.stderr


def test_compare_writes_a_table_and_a_picture_and_goes_on_where_it_was(root, tmp_path):
    common = (
        f"sources=[{root}/cons]",
        f"target={tmp_path}",
        "budget=6",
        "resample=3",
        'points=["method=cons budget=2","method=deepprune judge=oracle","method=deepprune judge=noisy_oracle judge.auroc=0.7"]',
        "bootstrap=50",
    )
    result = run("compare", *common)
    assert result.returncode == 0, result.stderr
    table = pq.read_table(tmp_path / "compare.parquet").to_pylist()
    assert sorted((row["method"], row["problems"], row["repetitions"]) for row in table) == [
        ("cons", 12, 3),
        ("cons", 12, 3),
        ("deepprune", 12, 3),
        ("deepprune", 12, 3),
    ]
    baseline = max(table, key=lambda row: row["tokens"])
    assert baseline["saving"] == 0.0 and baseline["lead"] == 0.0 and baseline["against_all"] == 0.0
    assert [row["tokens_net"] for row in table] == sorted((row["tokens_net"] for row in table), reverse=True)
    two = min((row for row in table if row["method"] == "cons"), key=lambda row: row["tokens"])
    assert two["control"] == pytest.approx(two["accuracy"]) and two["traces"] == 2
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("pareto.png", "pareto.svg"))
    assert "| deepprune | judge=oracle |" in (tmp_path / "compare.md").read_text()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("points/cons/*.parquet")}
    (tmp_path / "compare.md").unlink()
    assert run("compare", *common).returncode == 0
    assert (tmp_path / "compare.md").exists()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("points/cons/*.parquet")} == before


def test_compare_takes_runs_that_are_there(root, tmp_path):
    result = run("compare", f"runs=[{root}/cons,{root}/pruned]", f"target={tmp_path}", "bootstrap=50")
    assert result.returncode == 0, result.stderr
    table = {row["method"]: row for row in pq.read_table(tmp_path / "compare.parquet").to_pylist()}
    assert 0 < table["deepprune"]["saving"] < 1 and table["cons"]["saving"] == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sources=[a]", "runs=[b]"], "expected either sources="),
        (["sources=[nowhere.parquet]"], "expected a run's folder or a Parquet"),
        (["runs=[nowhere]"], "has no answers yet"),
        (["sources=[a]", "processes=0"], "processes: got 0"),
    ],
)
def test_compare_refuses_bad_input(tmp_path, arguments, message):
    result = run("compare", f"target={tmp_path}", *arguments)
    assert result.returncode == 2 and message in result.stderr, result.stderr
    assert "Traceback" not in result.stderr


def test_a_resampled_run_says_so_in_its_rows(root, tmp_path):
    main_job(
        tmp_path, "run", *REPLAY, f"sampler.source={root}/cons", "sampler.resample=4", "method=cons", "problems.limit=5"
    )
    found = rows(tmp_path / "run", columns=("problem_id", "source_problem_id", "repetition", "question"))
    assert len(found) == 20
    assert all(row["problem_id"] == f"{row['source_problem_id']}#{row['repetition']}" for row in found)
    assert json.loads((tmp_path / "run/run.json").read_text())["config"]["sampler"]["resample"] == 4
