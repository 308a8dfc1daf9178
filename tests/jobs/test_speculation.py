"""Speculative traces in a whole run: what they cost is said, and whoever reads the run afterwards leaves them aside."""

import pyarrow.parquet as pq
import pytest

from pruner.reporting.timeline import Bar, Timeline
from pruner.reporting.timeline_figure import timeline
from pruner.results.audit import audit
from tests.job_processes import run
from tests.jobs.test_replay import main_job, rows

JOB = ("sampler=simulated", "problems.limit=6", "budget=8", "sampler.segment_tokens=16")
PROMISED = ("problem_id", "answer", "correct", "vote_counts", "traces_started", "traces_finished", "tokens_sampled")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """One run without speculation, `plain`, and the same one with, `ahead`."""
    root = tmp_path_factory.mktemp("speculation")
    main_job(root, "plain", *JOB, "method=worth")
    main_job(root, "ahead", *JOB, "method=worth", "speculate.ahead=4", "accounting.speculative_weight=0.5")
    return root


def test_the_summary_and_net_tokens_charge_what_nobody_asked_for(root):
    answers = pq.read_table(root / "ahead/answers/shard=0000.parquet").to_pylist()
    extra = sum(row["tokens_speculative"] for row in answers)
    assert extra > 0 and not audit(root / "ahead").faults
    assert all(row["tokens_net"] == row["tokens_sampled"] + row["tokens_speculative"] / 2 for row in answers)
    again = main_job(root, "ahead", *JOB, "method=worth")
    assert f"{extra:,} more in" in again.stdout, again.stdout


def test_everything_else_is_as_without(root):
    assert rows(root / "ahead", columns=PROMISED) == rows(root / "plain", columns=PROMISED)
    traces = pq.read_table(root / "ahead/traces/shard=0000.parquet").to_pylist()
    plain = pq.read_table(root / "plain/traces/shard=0000.parquet").to_pylist()
    assert [row for row in traces if row["status"] != "speculative"] == plain and len(traces) > len(plain)
    assert all(row["answer"] is None and not row["is_voter"] for row in traces if row["status"] == "speculative")


def test_a_replay_and_an_export_leave_them_aside(root, tmp_path):
    main_job(tmp_path, "again", "sampler=replay", f"sampler.source={root}/ahead", "budget=8", "method=worth")
    assert rows(tmp_path / "again", columns=PROMISED) == rows(root / "plain", columns=PROMISED)
    result = run("export", str(root / "ahead"), "--to", "replay", "--output", str(tmp_path / "r.parquet"))
    finished = sum(row["traces_finished"] for row in rows(root / "plain", columns=PROMISED))
    assert result.returncode == 0 and f"{finished} traces, 0 pruned traces left out" in result.stdout, result.stdout


def test_the_report_draws_them_apart(root):
    result = run("report", str(root))
    assert result.returncode == 0, result.stderr
    bars = (
        Bar(0, "finished", None, "1", 1, None, 9, 0, (9,)),
        Bar(1, "speculative", None, None, None, None, 5, 0, (5,)),
    )
    drawn = timeline(Timeline("r", "p", bars, ()))
    assert "speculative (1)" in drawn.svg and "never asked for" in drawn.note
