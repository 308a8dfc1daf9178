"""The first k equal answers: when it stops, what it starts, and that order does not matter; in a simulated run and its replay."""

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner.methods.first_k_equal import FirstKEqual
from tests.unit.drive import assert_order_does_not_matter, drive, futures, plain
from tests.unit.test_jobs import SIMULATED, job


def first_k_equal(budget, k=3, wave=1):
    return FirstKEqual(budget, wave, k)


def most_equal(traces):
    answers = [trace.answer for trace in traces if trace.answer is not None]
    return max((answers.count(answer) for answer in answers), default=0)


@given(futures(), st.integers(1, 6), st.integers(1, 5), st.integers())
def test_it_does_the_same_in_whatever_order_traces_end(traces, k, wave, salt):
    outcome = assert_order_does_not_matter(lambda: first_k_equal(len(traces), k, wave), traces, salt)
    started = len(outcome.tokens)
    before_last_wave = (started - 1) // wave * wave
    assert most_equal(traces[:started]) >= k or started == len(traces)
    assert most_equal(traces[:before_last_wave]) < k
    assert not outcome.pruned and outcome.answer.voters == tuple(outcome.tokens)


@pytest.mark.parametrize(("k", "started"), [(1, 1), (2, 3), (3, 6), (4, 7), (5, 8)])
def test_it_stops_at_the_kth_equal_answer(k, started):
    assert len(drive(first_k_equal(8, k), plain(*"abacbaab")).tokens) == started


def test_the_majority_of_all_that_finished_decides():
    outcome = drive(first_k_equal(9, k=2, wave=4), plain(*"baaabbbbb"))
    assert len(outcome.tokens) == 4
    assert [(vote.answer, vote.weight) for vote in outcome.answer.votes] == [("a", 3), ("b", 1)]


def test_traces_without_an_answer_are_not_equal():
    outcome = drive(first_k_equal(5, k=2), plain(None, None, None, None, "a"))
    assert len(outcome.tokens) == 5 and outcome.answer.answer == "a"


def test_it_ends_without_an_answer_where_no_trace_has_one():
    outcome = drive(first_k_equal(4, k=1), plain(*[None] * 4))
    assert outcome.answer.answer is None and len(outcome.tokens) == 4


COLUMNS = ("problem_id", "answer", "vote_counts", "traces_started", "tokens_sampled", "tokens_net")


def run(root, name, *overrides):
    own = ("method=first_k_equal", "method.k=2", "method.wave=2")
    chosen = overrides if "method=cons" in overrides else (*overrides, *own)
    result = job("run", f"run.root={root}", f"run.name={name}", *chosen)
    assert result.returncode == 0, result.stderr
    return pq.read_table(root / name / "answers/shard=0000.parquet").select(list(COLUMNS)).to_pylist()


def test_it_answers_the_same_when_it_samples_and_when_it_replays(tmp_path):
    cons = run(tmp_path, "cons", *SIMULATED, "method=cons")
    sampled = run(tmp_path, "sampled", *SIMULATED)
    replayed = run(tmp_path, "replayed", "sampler=replay", "budget=6", f"sampler.source={tmp_path}/cons")
    assert sampled == replayed
    assert {row["traces_started"] for row in sampled} <= {2, 4, 6}
    assert sum(row["tokens_sampled"] for row in sampled) < sum(row["tokens_sampled"] for row in cons)
