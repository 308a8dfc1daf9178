"""What the vote's columns say in a real run: ties, credit and certificates."""

import pyarrow.parquet as pq
import pytest

from tests.job_processes import run
from tests.jobs.test_run import SIMULATED


def answers(root, *overrides):
    result = run("run", f"run.root={root}", "run.name=run", *SIMULATED, *overrides)
    assert result.returncode == 0, result.stderr
    return pq.read_table(root / "run/answers/shard=0000.parquet").to_pylist()


def test_a_certificate_stands_in_its_columns(tmp_path):
    rows = answers(tmp_path, "method=certified", "method.delta=0.4", "budget=12", "sampler.accuracy=0.8")
    assert {row["certified"] for row in rows} == {True, False}
    for row in rows:
        assert row["certified"] == (row["e_value"] >= 1 / 0.4)
        assert row["certified"] or row["traces_started"] == row["budget"]


@pytest.mark.parametrize("method", ["cons", "worth"])
def test_ties_are_marked_and_share_the_credit(tmp_path, method):
    rows = answers(tmp_path, f"method={method}", "budget=4", "sampler.accuracy=0.3")
    assert all(row["certified"] is None and row["e_value"] is None for row in rows)
    for row in rows:
        first = [count for count in row["vote_counts"] if count == row["votes"]]
        assert row["votes_tied"] == (len(first) if row["votes"] else 0)
        leads = row["gold"] in row["vote_answers"][: len(first)]
        assert row["credit"] == pytest.approx(leads / len(first) if first else 0.0)
    assert method != "cons" or {1, 2} <= {row["votes_tied"] for row in rows}
