"""Worth: what a vote may change, when it stops, what it starts, and that order and units do not matter."""

from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruner.methods.worth import LOOK_AHEADS, Worth, best_rate, gain
from tests.unit.drive import Future, assert_order_does_not_matter, drive, futures, plain


def worth(budget, price=0.01, takes_half=False, typical_tokens=None):
    return Worth(budget, price, takes_half, typical_tokens)


@settings(max_examples=100)
@given(futures(), st.sampled_from([0.3, 0.03, 0.003]), st.booleans(), st.sampled_from([None, 5, 20]), st.integers())
def test_it_does_the_same_in_whatever_order_traces_end(traces, price, takes_half, typical, salt):
    outcome = assert_order_does_not_matter(lambda: worth(len(traces), price, takes_half, typical), traces, salt)
    assert not outcome.pruned and len(outcome.tokens) >= min(2, len(traces))


@pytest.mark.parametrize("votes", [(1, 1, 0), (2, 1, 1), (3, 0, 0), (0, 0, 0)])
@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_the_gain_is_that_of_drawing_the_votes_one_by_one(votes, ahead):
    expected = Fraction(0)
    for drawn in product(range(3), repeat=ahead):
        urn, chance = [each + 1 for each in votes], Fraction(1)
        for answer in drawn:
            chance *= Fraction(urn[answer], sum(urn))
            urn[answer] += 1
        expected += chance * max(0, urn[1] - urn[0])
    assert gain(*votes, ahead) == expected / (sum(votes) + ahead + 3)


def test_looking_ahead_takes_the_shortest_of_the_best_and_no_more_than_is_left():
    rate, ahead = best_rate(2, 0, 0, 62)
    assert ahead in LOOK_AHEADS and ahead > 1 and rate == gain(2, 0, 0, ahead) / ahead
    assert best_rate(2, 0, 0, 1)[1] == 1 and best_rate(1, 1, 0, 62)[1] == 1


def test_a_lower_price_starts_more_traces_and_agreement_fewer():
    started = [len(drive(worth(64, price), plain(*"ab" * 32)).tokens) for price in (0.1, 0.01, 0.001)]
    assert started == sorted(started) and started[0] < started[-1]
    assert len(drive(worth(64, 0.001), plain(*"a" * 64)).tokens) < started[-1]


def test_traces_without_an_answer_make_a_problem_worth_little():
    assert len(drive(worth(64, 0.01), plain(*[None] * 64)).tokens) < 32


def test_longer_traces_are_fewer_and_only_their_share_of_the_typical_length_counts():
    def started(tokens, typical):
        return len(
            drive(
                worth(32, 0.005, typical_tokens=typical), [Future(each, (1.0,) * tokens) for each in "ab" * 16]
            ).tokens
        )

    assert started(20, 10) < started(10, 10) == started(20, 20)
    assert started(10, 10) == len(drive(worth(32, 0.005), plain(*"ab" * 16)).tokens)


def test_half_of_the_look_ahead_starts_at_once():
    method = worth(64, 0.001, takes_half=True)
    assert len(method.begin()) == 2
    ahead = best_rate(2, 0, 0, 62)[1]
    assert len(drive(worth(64, 0.001, takes_half=True), plain(*"a" * 64)).tokens) >= 2 + ahead // 2
