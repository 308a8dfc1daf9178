"""MARS: what is safe, what is learned from warm-up traces, and that order does not matter."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruner.methods.mars import Beat, Mars, MarsConfig, Switches, Voice, calibrated_gamma, features, is_safe
from tests.unit.drive import Future, assert_order_does_not_matter, drive, futures
from tests.unit.fakes import said


def mars(budget, every=4, warmup=2, ucb_z=1.0, gamma_min=0.5, uses_confidence=False):
    return Mars(
        budget,
        MarsConfig(
            name="mars",
            every_tokens=every,
            warmup=warmup,
            ucb_z=ucb_z,
            gamma_min=gamma_min,
            uses_confidence=uses_confidence,
            probe_tokens=4,
        ),
    )


def of(answer, tokens, asked=None):
    return Future(answer, (1.0,) * tokens, asked)


def beats(*answers, every=4):
    return [Beat((place + 1) * every, said(answer), 0.0) for place, answer in enumerate(answers)]


@settings(max_examples=150)
@given(futures(), st.integers(1, 7), st.integers(1, 4), st.booleans(), st.integers())
def test_it_does_the_same_in_whatever_order_traces_are_heard(traces, every, warmup, uses_confidence, salt):
    outcome = assert_order_does_not_matter(
        lambda: mars(len(traces), every, warmup, uses_confidence=uses_confidence), traces, salt
    )
    assert set(outcome.tokens) == set(range(len(traces))) and set(outcome.pruned.values()) <= {"decided"}
    assert not set(outcome.pruned) & set(range(warmup))


def test_traces_that_never_switch_are_stopped_at_the_first_beat():
    outcome = drive(mars(8, warmup=4), [of("a", 40, "a")] * 8)
    assert outcome.tokens == dict.fromkeys(range(4), 40) | dict.fromkeys(range(4, 8), 4)
    assert outcome.answer.answer == "a" and outcome.answer.voters == tuple(range(8))


def test_traces_that_switch_are_not_trusted_before_they_end():
    outcome = drive(mars(8, warmup=2), [of("a", 20, "b")] * 8)
    assert not outcome.pruned and outcome.answer.answer == "a"


def test_the_first_leader_has_to_be_that_of_the_warm_up():
    # Three warm-up traces never switch; the rest says something else from the start.
    outcome = drive(mars(9, warmup=2), [of("a", 12, "a")] * 2 + [of("b", 40, "b")] * 7)
    assert set(outcome.tokens.values()) == {12, 8} and outcome.answer.answer == "b"


def test_a_budget_of_warm_up_traces_is_a_plain_vote():
    outcome = drive(mars(3, warmup=9), [of("a", 9, "b"), of("b", 9), of("a", 2)])
    assert not outcome.pruned and outcome.answer.answer == "a" and set(outcome.tokens.values()) == {9, 2}


@pytest.mark.parametrize(
    ("voices", "gamma", "expected"),
    [
        ([("a", 0.0)], 1.0, True),
        ([("a", 1.0)], 1.0, False),
        ([("a", 0.4)] * 3, 1.0, True),  # against one not given yet: 3 > 3 * 0.4 * 2
        ([("a", 0.5)] * 3, 1.0, False),
        ([("a", 0.5)] * 3, 0.9, True),
        ([("a", 0.1)] * 3 + [("b", 0.1)], 1.0, True),  # 2 > 0.6 - 0.1, and 3 > 0.6 + 0.1
        ([("a", 0.4)] * 3 + [("b", 0.0)], 1.0, False),
        ([("a", 0.0)] * 3 + [("b", 0.0), (None, 1.0)], 1.0, True),
        ([("a", 0.0), ("b", 0.0)], 0.5, False),
        ([(None, 0.0)], 0.5, False),
    ],
)
def test_the_margin_has_to_be_larger_than_what_switches_may_cost(voices, gamma, expected):
    assert is_safe([Voice(*each) for each in voices], gamma) is expected


def test_what_is_learned_follows_the_warm_up():
    steady = {index: beats("a", "a", "a") for index in range(4)}
    flighty = {index: beats("b", "c", "b") for index in range(4)}
    ended = {index: said("a") for index in range(4)}
    assert Switches.learned(steady, ended).chance(beats("a")) < 0.1
    assert Switches.learned(flighty, ended).chance(beats("a")) > 0.9
    mixed = {0: beats("b", "b", "a"), 1: beats("c", "a", "a"), 2: beats("b", "a", "a"), 3: beats("a", "a", "a")}
    learned = Switches.learned(mixed, ended)
    assert learned.chance(beats("a", "a", "a")) < learned.chance(beats("a"))


def test_without_anything_to_learn_from_every_trace_may_switch():
    assert Switches.learned({}, {0: said("a")}).chance(beats("a")) == 1.0
    assert Switches.learned({0: beats("a")}, {0: None}).chance(beats("a")) == 1.0


def test_features_are_position_flips_streak_confidence_and_its_trend():
    own = [Beat(4, said("a"), 3.0), Beat(8, said("b"), 5.0), Beat(12, said("b"), 4.0)]
    assert features(own) == (12.0, 1.0, 2.0, 4.0, -1.0)
    assert features(own[:1]) == (4.0, 0.0, 1.0, 3.0, 0.0)
    assert features(beats(None, None, "a")) == (12.0, 1.0, 1.0, 0.0, 0.0)


def test_gamma_is_the_least_that_changes_nothing_for_the_warm_up():
    ended = {index: said("a") for index in range(4)}
    steady = {index: beats("a", "a") for index in range(4)}
    assert calibrated_gamma(steady, ended, 0.0, 0.0) == 0.0
    assert calibrated_gamma(steady, ended, 1.0, 0.0) == 0.5  # 1 / sqrt(4) for so few
    assert calibrated_gamma(steady, ended, 0.0, 0.3) == 0.3
    # Three of four say b at first: their leader holds 2 votes more than a, and each costs 2 gamma when it leaves.
    fooled = {index: beats("b" if index else "a", "a") for index in range(4)}
    found = calibrated_gamma(fooled, ended, 0.0, 0.0)
    assert found == pytest.approx(0.5) or math.isclose(found, 0.4)
    assert calibrated_gamma(steady, {index: said("a") for index in range(3)}, 0.0, 0.0) == 1.0
