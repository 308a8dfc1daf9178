"""Adaptive-Consistency: stops, votes and waves."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner.methods.adaptive import Adaptive, leader_probability
from tests.unit.drive import assert_order_does_not_matter, drive, futures, plain


def adaptive(budget, wave=1, threshold=0.95):
    return Adaptive(budget, wave, threshold)


@given(futures(), st.integers(1, 9), st.sampled_from([0.5, 0.8, 0.95, 1.0]), st.integers())
def test_it_does_the_same_in_whatever_order_traces_end(traces, wave, threshold, salt):
    outcome = assert_order_does_not_matter(lambda: adaptive(len(traces), wave, threshold), traces, salt)
    started = len(outcome.tokens)
    assert started == len(traces) or started % wave == 0
    assert outcome.answer.voters == tuple(range(started))
    assert not outcome.pruned


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_probability_is_that_of_the_beta_distribution(first, second):
    if first == 0 or second == 0:  # where the integral is plain
        ones = max(first, second)
        tail = 1 - Fraction(1, 2 ** (ones + 1))
        assert leader_probability(first, second) == float(tail if first else 1 - tail)
    assert leader_probability(first, second) + leader_probability(second, first) == pytest.approx(1)
    assert leader_probability(first + 1, second) >= leader_probability(first, second)


@pytest.mark.parametrize(("threshold", "traces"), [(0.7, 1), (0.87, 2), (0.93, 3), (0.95, 4), (0.97, 5), (0.99, 6)])
def test_unanimous_traces_stop_after_the_fewest_that_convince(threshold, traces):
    assert 1 - 2 ** -(traces + 1) >= threshold > 1 - 2**-traces
    assert len(drive(adaptive(64, threshold=threshold), plain(*"a" * 64)).tokens) == traces


def test_it_stops_at_the_threshold_as_the_authors_code_does():
    assert leader_probability(1, 0) == 0.75
    assert len(drive(adaptive(9, threshold=0.75), plain(*"a" * 9)).tokens) == 1


def test_only_the_leading_two_answers_count():
    # Five to one convinces whoever else voted: P = 1 - 8/128.
    outcome = drive(adaptive(64, threshold=0.9), plain("b", "c", "d", *"a" * 61))
    assert len(outcome.tokens) == 3 + 5
    assert math.isclose(leader_probability(5, 1), 1 - 8 / 128)
    assert [(vote.answer, vote.weight) for vote in outcome.answer.votes] == [("a", 5), ("b", 1), ("c", 1), ("d", 1)]


def test_traces_without_an_answer_do_not_vote():
    outcome = drive(adaptive(16), plain(None, None, None, None, "a", None, "a", "a", "a", *"b" * 7))
    assert len(outcome.tokens) == 9 and outcome.answer.answer == "a"


def test_a_threshold_of_one_is_cons():
    assert len(drive(adaptive(64, threshold=1.0), plain(*"a" * 64)).tokens) == 64


def test_it_ends_at_the_budget_where_nobody_leads():
    outcome = drive(adaptive(8), plain(*"babababa"))
    assert len(outcome.tokens) == 8
    assert outcome.answer.answer == "b", "a tie goes to the answer of the lowest trace"


def test_it_ends_without_an_answer_where_no_trace_has_one():
    outcome = drive(adaptive(5, wave=2), plain(*[None] * 5))
    assert outcome.answer.answer is None and outcome.answer.votes == () and len(outcome.tokens) == 5


def test_all_of_a_wave_votes_and_the_last_one_may_be_smaller():
    assert len(drive(adaptive(64, wave=6), plain(*"a" * 64)).tokens) == 6
    assert len(drive(adaptive(7, wave=4), plain(*"abcabca")).tokens) == 7
    assert len(drive(adaptive(3, wave=100), plain(*"aaa")).tokens) == 3
