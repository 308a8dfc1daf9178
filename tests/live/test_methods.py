"""The method that asks most of an engine, live, and its run replayed without one.

It asks running traces for their answers, prunes by them and by the tokens' confidences. Methods are pure code, and all of them make the
same rows of a recording as of a run (tests/unit/test_consult.py), so one that uses every kind of request stands for the others.
"""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from tests.job_processes import run
from tests.live.jobs_under_test import SMALL, run_job, table

pytestmark = pytest.mark.live
MARS = ("method=mars", "method.every_tokens=16", "method.warmup=2", "method.uses_confidence=true", "budget=6")
COLUMNS = ["problem_id", "answer", "vote_counts", "traces_started", "traces_pruned", "tokens_sampled", "tokens_net"]


@pytest.fixture(scope="module")
def mars(tmp_path_factory):
    root = tmp_path_factory.mktemp("mars")
    run_job(root, *SMALL, *MARS, "problems.limit=2", "model.sampling.max_tokens=64", "results.confidence=true")
    return root


def test_a_method_works_live_and_its_replay_has_the_same_answers_and_accounting(mars, tmp_path):
    live = table(mars, "answers").select(COLUMNS).to_pylist()
    assert len(live) == 2 and all(row["tokens_sampled"] > 0 for row in live)
    replay = ("sampler=replay", f"sampler.source={mars}/run", *MARS, f"run.root={tmp_path}", "run.name=run")
    result = run("run", *replay)
    assert result.returncode == 0, result.stderr
    assert table(tmp_path, "answers").select(COLUMNS).to_pylist() == live


def test_asked_answers_are_facts_with_their_cost(mars):
    probes, answers = (pq.read_table(mars / f"run/{name}/shard=0000.parquet") for name in ("probes", "answers"))
    assert probes.num_rows == sum(answers.column("judge_probes").to_pylist()) > 0
    assert sum(probes.column("output_tokens").to_pylist()) == sum(answers.column("tokens_judge_output").to_pylist())


def test_confidences_are_written_one_for_each_token(mars):
    for row in table(mars, "traces").to_pylist():
        assert len(row["confidence"]) == row["tokens_sampled"] and min(row["confidence"]) > 0
