"""Every method with the real engine, and each of these runs replayed without it."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from pruner.methods import registry
from tests.live.jobs_under_test import SMALL, run_live

pytestmark = pytest.mark.live

# Every registered method but the two whose live runs tests/live/test_run.py and test_replay.py have.
METHODS = sorted(registry.METHODS.keys() - {"cons", "deepprune"})
# Settings with which a method decides something about traces as short as these.
SETTINGS = {
    "parallel_probe": ("method.every_tokens=16", "method.stable=2", "method.patience=1", "method.warmup=0"),
    "mars": ("method.every_tokens=16", "method.warmup=2", "method.uses_confidence=true"),
    "first_k_equal": ("method.k=2", "method.wave=2"),
}
COLUMNS = ("problem_id", "answer", "vote_counts", "traces_started", "traces_pruned", "tokens_sampled", "tokens_net")


def sweep(root, *overrides):
    result = run_live("run", "-m", f"run.root={root}", *overrides)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One engine after the other, in few processes; parallel_probe asks running traces."""
    root = tmp_path_factory.mktemp("methods")
    common = [
        *SMALL,
        "problems.limit=2",
        "model.sampling.max_tokens=64",
        "results.confidence=true",
        "sampler.in_process=true",
        "run.name=${method.name}",
    ]
    sweep(root, *common, f"method={','.join(name for name in METHODS if name not in SETTINGS)}")
    for name, settings in SETTINGS.items():
        sweep(root, *common, f"method={name}", *settings)
    return root


def answers(folder):
    return pq.read_table(folder / "answers/shard=0000.parquet").select(list(COLUMNS)).to_pylist()


@pytest.mark.parametrize("method", METHODS)
def test_a_method_works_live_and_its_replay_has_the_same_answers_and_accounting(runs, tmp_path, method):
    live = answers(runs / method)
    assert len(live) == 2 and all(row["tokens_sampled"] > 0 for row in live)
    source = f"sampler.source={runs / method}"
    sweep(
        tmp_path, "sampler=replay", source, "budget=6", f"method={method}", "run.name=again", *SETTINGS.get(method, ())
    )
    assert answers(tmp_path / "again") == live


def test_asked_answers_are_facts_with_their_cost(runs):
    probes = pq.read_table(runs / "parallel_probe/probes/shard=0000.parquet")
    [answer] = [pq.read_table(runs / "parallel_probe/answers/shard=0000.parquet")]
    assert probes.num_rows == sum(answer.column("judge_probes").to_pylist())
    assert sum(probes.column("output_tokens").to_pylist()) == sum(answer.column("tokens_judge_output").to_pylist())
