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


@pytest.mark.parametrize("typical", [20, 200])
def test_a_replay_of_worth_knows_what_the_run_knew_of_its_model(tmp_path, typical):
    live = answers(tmp_path, "method=worth", "method.price=0.01", "budget=12", f"model.typical_tokens={typical}")
    source = f"sampler.source={tmp_path}/run"
    result = run(
        "run",
        f"run.root={tmp_path}",
        "run.name=again",
        "sampler=replay",
        source,
        "budget=12",
        "method=worth",
        "method.price=0.01",
    )
    assert result.returncode == 0, result.stderr
    again = pq.read_table(tmp_path / "again/answers/shard=0000.parquet").to_pylist()
    columns = ("problem_id", "answer", "vote_counts", "traces_started", "tokens_net")
    assert [[row[name] for name in columns] for row in again] == [[row[name] for name in columns] for row in live]
