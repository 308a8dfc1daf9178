"""Waves: its regret, when it stops, what it starts, and that order does not matter."""

import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruner.methods.waves import Waves, WavesConfig, half_tail, regret
from tests.unit.drive import Future, assert_order_does_not_matter, drive, futures


def config(confidence=0.95, every_tokens=4, width=3, asks=False, brevity=1.0):
    return WavesConfig(
        name="waves",
        confidence=confidence,
        every_tokens=every_tokens,
        width=width,
        asks=asks,
        probe_tokens=4,
        spend_unit=20.0,
        spend_power=0.75,
        brevity=brevity,
    )


def waves(budget, **changes):
    return Waves(budget, config(**changes))


def of(*traces, asked=None):
    """Traces as (answer, tokens)."""
    return [Future(answer, (1.0,) * tokens, asked) for answer, tokens in traces]


@settings(max_examples=150)
@given(
    futures(),
    st.sampled_from([0.5, 0.8, 0.95, 0.99]),
    st.integers(1, 5),
    st.booleans(),
    st.integers(1, 9),
    st.integers(),
)
def test_it_does_the_same_in_whatever_order_segments_end(traces, confidence, width, asks, every, salt):
    def make():
        return waves(len(traces), confidence=confidence, width=width, asks=asks, every_tokens=every)

    outcome = assert_order_does_not_matter(make, traces, salt)
    finished = {index for index, tokens in outcome.tokens.items() if tokens == len(traces[index].confidences)}
    assert finished - outcome.pruned.keys() == set(outcome.answer.voters)
    assert set(outcome.pruned.values()) <= {"decided"} and len(outcome.pruned) <= width


@pytest.mark.parametrize("asks", [False, True])
def test_the_length_of_segments_does_not_matter(asks):
    draw = random.Random(4)
    for _ in range(60):
        traces = [Future(draw.choice("aab"), (1.0,) * draw.randint(1, 40), draw.choice("ab")) for _ in range(16)]
        outcomes = [drive(waves(16, every_tokens=8, asks=asks), traces, segment_tokens=size) for size in (1, 2, 4, 8)]
        assert all(outcome == outcomes[0] for outcome in outcomes)


def test_the_regret_is_the_mean_of_what_the_runner_up_may_be_ahead():
    draw = random.Random(1)
    for first, second, votes in [(3, 1, 6), (2, 2, 4), (5, 0, 5), (4, 3, 12)]:
        sampled = [max(0.0, 1 - 2 * draw.betavariate(first + 1, second + 1)) for _ in range(40_000)]
        expected = sum(sampled) / len(sampled) * (first + second + 2) / (votes + 2)
        assert regret(first, second, votes) == pytest.approx(expected, abs=0.004)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_regret_falls_with_votes_for_the_leader_and_with_scatter(first, second, rest):
    votes = first + second + rest
    assert regret(first + 1, second, votes + 1) <= regret(first, second, votes) + 1e-12
    assert regret(first, second, votes + 1) < regret(first, second, votes)


@given(st.integers(0, 30))
def test_unanimous_votes_have_a_plain_regret(votes):
    assert regret(votes, 0, votes) == pytest.approx(float(Fraction(1, 2 ** (votes + 1) * (votes + 2))))


def test_half_tails_of_a_beta_and_its_mirror_are_one():
    for a in range(1, 30):
        for b in range(1, 30):
            assert half_tail(a, b) + half_tail(b, a) == pytest.approx(1.0)


def test_more_confidence_never_costs_less_on_the_same_traces():
    draw = random.Random(2)
    for _ in range(40):
        traces = [Future(draw.choice("aaabc"), (1.0,) * 8) for _ in range(64)]
        spent = [sum(drive(waves(64, confidence=c), traces).tokens.values()) for c in (0.5, 0.7, 0.9, 0.99)]
        assert spent == sorted(spent)


def test_agreeing_traces_end_a_problem_and_what_still_runs_is_stopped():
    outcome = drive(waves(64, confidence=0.85), of(("a", 4), ("a", 5), ("a", 400), *[("b", 4)] * 61))
    assert outcome.answer.answer == "a"
    assert outcome.pruned == {2: "decided"} and outcome.tokens[2] < 40


def test_a_problem_whose_votes_stay_scattered_is_given_up_before_its_budget():
    scattered = drive(waves(64, confidence=0.9), of(*[(str(number), 8) for number in range(64)]))
    contested = drive(waves(64, confidence=0.9), of(*[("ab"[number % 2], 8) for number in range(64)]))
    assert len(scattered.tokens) < len(contested.tokens)


def test_at_most_so_many_run_at_once_and_the_budget_is_kept():
    outcome = drive(waves(5, confidence=0.99, width=2), of(*[("ab"[number % 2], 8) for number in range(5)]))
    assert len(outcome.tokens) == 5
    assert len(drive(waves(1), of(("a", 9))).tokens) == 1


def test_short_traces_weigh_more_in_the_answer():
    traces = of(("b", 40), ("b", 40), ("a", 10))
    assert drive(waves(3, confidence=0.99, every_tokens=64), traces, segment_tokens=64).answer.answer == "a"
    plain = drive(waves(3, confidence=0.99, every_tokens=64, brevity=0.0), traces, segment_tokens=64)
    assert plain.answer.answer == "b" and plain.answer.votes[0].weight == 2.0


def test_traces_without_an_answer_do_not_vote_but_cost():
    outcome = drive(waves(8), of(*[(None, 9)] * 8))
    assert outcome.answer.answer is None and outcome.answer.votes == () and len(outcome.tokens) == 8


def test_asked_answers_that_agree_end_a_problem_earlier():
    traces = of(("a", 4), ("a", 90), ("a", 90), *[("a", 90)] * 13, asked="a")
    silent = drive(waves(16, confidence=0.9), traces)
    asking = drive(waves(16, confidence=0.9, asks=True), traces)
    assert asking.answer.answer == silent.answer.answer == "a"
    assert sum(asking.tokens.values()) < sum(silent.tokens.values())


def test_asked_answers_that_differ_do_not_contest():
    traces = of(("a", 4), ("a", 12), ("a", 20), *[("a", 20)] * 13, asked="b")
    silent, asking = (drive(waves(16, confidence=0.9, asks=asks), traces) for asks in (False, True))
    assert asking == silent
