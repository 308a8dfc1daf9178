"""The planner: its arithmetic, and that it agrees with a replay of the same traces."""

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.compose import main_config
from pruner.errors import InputError
from pruner.settings.section import parse_as
from pruner.simulation.planning import Curve, Disk, Engine, Machine, ProblemCost, drain_s, make_plan
from pruner.simulation.plans import SHIPPED, PlanConfig, plan_recorded, plan_run
from pruner.system import slurm

PROJECT = Path(__file__).parents[2]
CURVE = Curve(((1, 10.0), (4, 40.0), (16, 80.0)))
ENGINE = Engine(CURVE, max_running=16, gpus=2, load_s=100.0)
DISK = Disk(2.0, 50.0)


def config(**changes):
    values = {
        "problem_set": None,
        "num_problems": 8,
        "overrides": ["method=cons"],
        "budget": 16,
        "lengths": None,
        "mean_tokens": 100,
        "curve": [[1, 20.0], [64, 240.0]],
        "max_running": None,
        "tasks": None,
        "wall_hours": 24.0,
        "load_s": 0.0,
        "bytes_per_token": 2.0,
        "bytes_per_segment": 50.0,
        "kept_share": None,
    }
    return parse_as(PlanConfig, values | changes)


def test_a_curve_is_linear_between_its_points_and_flat_above():
    assert [CURVE.rate(n) for n in (0, 1, 2, 4, 10, 16, 99)] == [0.0, 10.0, 20.0, 40.0, 60.0, 80.0, 80.0]
    for points in ((), ((0, 1.0),), ((4, 1.0), (2, 2.0)), ((1, 0.0),)):
        with pytest.raises(ValueError, match="expected"):
            Curve(points)


def test_an_engine_of_one_trace_empties_in_what_the_trace_has_left():
    assert drain_s([100], Curve(((1, 10.0),)), 1) == 0.0
    assert drain_s([], CURVE, 4) == 0.0
    assert 0.0 < drain_s([100], CURVE, 16) <= 16 * 100 / 10.0


@given(st.integers(1, 10_000), st.integers(1, 64), st.floats(1.0, 1e5), st.integers(1, 200))
def test_tasks_share_the_work_and_its_bytes(problems, budget, tokens, tasks):
    cost = ProblemCost(budget, tokens * budget, 0.0, budget)
    plan = make_plan(problems, cost, [int(tokens)], Machine(ENGINE, DISK), min(tasks, problems), 1.0)
    assert plan.traces == problems * budget and plan.tokens_sampled == pytest.approx(problems * tokens * budget)
    assert plan.gpu_hours == pytest.approx(2 * plan.task_hours)
    assert plan.task_hours * 3600 <= plan.tasks * plan.wall_s * (1 + 1e-9)
    assert plan.checkpoint_bytes == pytest.approx(problems * (2.0 * tokens * budget + 50.0 * budget))


def test_the_fewest_tasks_within_the_limit_are_chosen():
    cost = ProblemCost(16, 16_000.0, 0.0, 16.0)
    plan = make_plan(100, cost, [1000], Machine(ENGINE, DISK), None, 3600.0)
    assert plan.wall_s <= 3600.0
    assert make_plan(100, cost, [1000], Machine(ENGINE, DISK), plan.tasks - 1, 3600.0).wall_s > 3600.0
    with pytest.raises(ValueError, match="one problem alone"):
        make_plan(100, cost, [1000], Machine(ENGINE, DISK), None, 60.0)


@pytest.mark.parametrize(("method", "error"), [("cons", 0.1), ("first_k_equal", 0.3)])
def test_a_plan_agrees_with_the_replay_of_the_same_traces_on_a_clock(method, error):
    # Where traces wait for each other the engine is not always full; the plan does not know that.
    given = {"overrides": [f"method={method}"], "num_problems": 96, "budget": 16}
    planned = plan_run(config(**given, lengths=SHIPPED), main_config)
    replayed = plan_recorded(config(**given, recording=SHIPPED), main_config)["by_ahead"][0]
    assert planned["wall_s"] == pytest.approx(3600 * replayed["wall_hours"], rel=error)
    assert planned["tokens_sampled"] == pytest.approx(96 * replayed["tokens"], rel=error)


def test_pruning_takes_less_and_its_judge_counts():
    whole = plan_run(config(), main_config)
    pruned = plan_run(config(overrides=["method=deepprune"]), main_config)
    assert pruned["kept_share"] < whole["kept_share"] == 1.0
    assert pruned["judge_tokens"] > 0 == whole["judge_tokens"]


def test_plain_voting_samples_every_token_of_lengths_beyond_the_models_cap_and_the_cap_is_raised():
    """They were cut at the default model's cap of 192 without a word: 24.6 million tokens in place of 512."""
    curve = [[1, 60.0], [64, 2500.0], [256, 6000.0]]
    found = plan_run(config(curve=curve, num_problems=2000, budget=64, mean_tokens=4000), main_config)
    assert found["tokens_sampled"] == 2000 * 64 * 4000 and found["kept_share"] == 1.0
    assert found["raised_cap"] == ["model.sampling.max_tokens=6000", "model.max_model_len=7024"]
    assert all(each in found["sbatch"] for each in found["raised_cap"])
    assert not plan_run(config(), main_config)["raised_cap"]


def test_a_million_problems_of_512_traces_fit_on_paper():
    found = plan_run(config(num_problems=10**6, budget=512, mean_tokens=20_000, wall_hours=1e5), main_config)
    assert found["traces"] == 512 * 10**6 and found["tasks"] >= 1 and found["checkpoint_bytes"] > 2e13


def test_an_array_keeps_within_what_the_cluster_takes_and_goes_on_in_the_queue(monkeypatch):
    million = {"num_problems": 10**6, "mean_tokens": 2000, "wall_hours": 12.0}
    monkeypatch.setattr(slurm, "max_array_size", lambda: None)  # this machine may have a cluster
    free = plan_run(config(**million), main_config)
    assert free["tasks"] > 50 and free["requeues"] == 0
    monkeypatch.setattr(slurm, "max_array_size", lambda: 50)
    kept = plan_run(config(**million), main_config)
    assert (kept["tasks"], kept["max_array_size"]) == (50, 50)
    assert kept["requeues"] == math.ceil(kept["wall_s"] / 43_200) - 1 >= 1
    cap = "model.sampling.max_tokens=3000 model.max_model_len=4024"
    assert kept["sbatch"] == f"sbatch --array=0-49 --time=720 slurm/run.sh method=cons {cap} budget=16"
    assert plan_run(config(**million, max_array_size=20), main_config)["tasks"] == 20
    assert plan_run(config(**million, tasks=60), main_config)["tasks"] == 60


def test_the_line_for_sbatch_names_the_problems_and_the_gpus(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    rows = {"problem_id": ["a", "b"], "question": ["x", "y"], "answer": ["1", "2"]}
    pq.write_table(pa.table(rows), tmp_path / "my set.parquet")
    own = {"num_problems": None, "problem_set": str(tmp_path / "my set.parquet")}
    found = plan_run(config(**own, overrides=["method=cons", "model=deepseek_8b"]), main_config)
    line = (
        f"slurm/run.sh method=cons model=deepseek_8b problems=own 'problems.path={tmp_path}/my set.parquet' budget=16"
    )
    assert found["sbatch"] == f"sbatch --array=0-0 --time=5 --gpus=1 {line}"


def test_lengths_come_from_a_run_or_a_file(tmp_path):
    pq.write_table(pa.table({"num_tokens": [100, 300]}), tmp_path / "lengths.parquet")
    assert plan_run(config(lengths=str(tmp_path / "lengths.parquet")), main_config)["mean_trace_tokens"] == 200
    (tmp_path / "run/traces").mkdir(parents=True)
    rows = {"tokens_sampled": [100, 7, 200], "status": ["finished", "pruned", "finished"]}
    pq.write_table(pa.table(rows), tmp_path / "run/traces/shard=0000.parquet")
    assert plan_run(config(lengths=str(tmp_path / "run")), main_config)["mean_trace_tokens"] == 150


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_problems": None}, "neither problem_set nor num_problems"),
        ({"mean_tokens": None}, "neither lengths nor mean_tokens"),
        ({"lengths": "nowhere"}, "lengths: got 'nowhere'"),
        ({"lengths": "README.md"}, "unreadable"),
        ({"curve": [[4, 1.0], [2, 2.0]]}, "curve: got"),
        ({"wall_hours": 0.0001}, "wall_hours: one problem alone"),
        ({"overrides": ["method=deepconf_online"]}, "needs the confidence of each token"),
        ({"overrides": ["method.price=-1"]}, "method.price"),
    ],
)
def test_what_cannot_be_planned_is_reported(changes, message):
    with pytest.raises(InputError, match=message):
        plan_run(config(**({"overrides": ["method=deepprune"]} | changes)), main_config)
