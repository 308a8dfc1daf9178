"""Parallel-Probe: when it stops, whom it prunes, and that order does not matter."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pruner.methods.parallel_probe import ParallelProbe, ParallelProbeConfig
from tests.unit.drive import Future, assert_order_does_not_matter, drive, futures


def parallel_probe(budget, every=4, stable=3, patience=2, warmup=0):
    config = ParallelProbeConfig(
        name="parallel_probe", every_tokens=every, stable=stable, patience=patience, warmup=warmup, probe_tokens=4
    )
    return ParallelProbe(budget, config)


def of(answer, tokens, asked=None):
    return Future(answer, (1.0,) * tokens, asked)


@settings(max_examples=150)
@given(futures(), st.integers(1, 7), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.integers())
def test_it_does_the_same_in_whatever_order_traces_are_heard(traces, every, stable, patience, warmup, salt):
    def make():
        return parallel_probe(len(traces), every, stable, patience, warmup)

    outcome = assert_order_does_not_matter(make, traces, salt)
    assert set(outcome.tokens) == set(range(len(traces))) and set(outcome.pruned.values()) <= {
        "off_majority",
        "decided",
    }


def test_all_stop_once_the_majority_has_kept_still():
    # The first beat decides nothing and the second is the first majority; three more keep it.
    outcome = drive(parallel_probe(3), [of("b", 40, "a")] * 3)
    assert outcome.tokens == dict.fromkeys(range(3), 20) and outcome.answer.answer == "a"
    assert set(outcome.pruned.values()) == {"decided"}


def test_who_keeps_disagreeing_is_pruned_and_does_not_vote():
    outcome = drive(parallel_probe(3, stable=9), [of("a", 40, "a"), of("a", 40, "a"), of("b", 40, "b")])
    assert outcome.pruned[2] == "off_majority" and outcome.tokens[2] == 12
    assert outcome.answer.voters == (0, 1)


def test_nobody_is_pruned_during_the_warm_up():
    outcome = drive(parallel_probe(3, stable=99, warmup=99), [of("a", 9, "a"), of("a", 40, "a"), of("b", 40, "b")])
    assert not outcome.pruned and outcome.answer.answer == "a"


def test_a_finished_trace_keeps_its_vote():
    outcome = drive(parallel_probe(2, stable=99, patience=99), [of("a", 2), of("b", 40, "b")])
    assert outcome.tokens == {0: 2, 1: 40} and outcome.answer.answer == "a"
