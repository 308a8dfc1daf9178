"""The first k equal answers: when it stops, what it starts, and that order does not matter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner.methods.first_k_equal import FirstKEqual
from tests.unit.drive import assert_order_does_not_matter, drive, futures, plain


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
