"""A run with the real engine, replayed without one."""

from __future__ import annotations

import pytest

from tests.live.jobs_under_test import run_job, table

pytestmark = pytest.mark.live


@pytest.mark.parametrize("judge", ["probe", "recorded"])
def test_a_live_run_replayed_has_its_answers_and_its_accounting(uninterrupted, tmp_path, judge):
    overrides = (
        "sampler=replay",
        "method=deepprune",
        f"sampler.source={uninterrupted}/run",
        "budget=6",
        f"judge={judge}",
    )
    run_job(tmp_path, *overrides)
    left, right = (table(root, "answers").drop_columns(["judge", "problem_set"]) for root in (tmp_path, uninterrupted))
    names = [name for name in right.column_names if name in left.column_names]
    assert {"answer", "votes", "cluster_sizes", "tokens_sampled", "tokens_judge_cached", "tokens_net"} <= set(names)
    assert left.select(names).to_pylist() == right.select(names).to_pylist()
    traces = [
        table(root, "traces").select(["text", "status", "answer", "tokens_sampled", "num_segments"])
        for root in (tmp_path, uninterrupted)
    ]
    assert traces[0].to_pylist() == traces[1].to_pylist()
