"""DeepPrune and plain voting as pure state machines: driven by fake traces in any order, they decide the same."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruner.methods.base import MethodContext
from pruner.methods.cons import Cons
from pruner.methods.deepprune import DeepPrune
from pruner.rules.prefix import FixedTruncation
from tests.unit.drive import Future, assert_order_does_not_matter, drive, futures
from tests.unit.fakes import deepprune_config

PREFIX = 8


def of(answers, lengths):
    """Traces with known answers and lengths."""
    return [Future(answer, (1.0,) * length) for answer, length in zip(answers, lengths, strict=True)]


def judge(traces, noise=0):
    """A judge that says whether two answers are equal, and with noise is unsure of some pairs."""

    def score(left, right):
        if noise and (left * 7 + right * 13 + noise) % 5 == 0:
            return 0.4
        return float(traces[left].answer == traces[right].answer)

    return score


def deepprune(budget, **changes):
    return DeepPrune(MethodContext("p", budget, 0, FixedTruncation(PREFIX)), deepprune_config(**changes))


TRACES = futures(16, 40)


@settings(max_examples=150)
@given(
    TRACES,
    st.integers(0, 3),
    st.integers(),
    st.sampled_from(["best", "first", "oldest"]),
    st.sampled_from(["vote", "representatives"]),
    st.sampled_from(["probabilities", "decisions"]),
)
def test_deepprune_does_the_same_in_whatever_order_facts_arrive(traces, noise, salt, assign, answer, similarity):
    def make():
        return deepprune(len(traces), assign=assign, answer=answer, similarity=similarity)

    assert_order_does_not_matter(make, traces, salt, judge(traces, noise))


@given(TRACES, st.integers())
def test_cons_does_the_same_in_whatever_order_facts_arrive(traces, salt):
    outcome = assert_order_does_not_matter(lambda: Cons(len(traces)), traces, salt)
    assert outcome.tokens == {index: len(trace.confidences) for index, trace in enumerate(traces)}


@given(TRACES, st.integers(0, 3))
def test_deepprune_finishes_or_prunes_every_trace(traces, noise):
    outcome = drive(deepprune(len(traces)), traces, score=judge(traces, noise))
    lengths = [len(trace.confidences) for trace in traces]
    finished = {index for index, done in outcome.tokens.items() if done == lengths[index]}
    assert finished | outcome.pruned.keys() == set(range(len(traces)))
    assert not finished & outcome.pruned.keys()
    assert set(outcome.answer.voters) == finished
    members = {index for cluster in outcome.clusters for index in cluster.members}
    assert members == {index for index, length in enumerate(lengths) if length > PREFIX}


def finished(outcome, length=100):
    return [index for index, done in outcome.tokens.items() if done == length]


def test_traces_that_finish_within_their_prefix_need_no_judge():
    outcome = drive(deepprune(4), of("abaa", [3, 4, 5, 8]))
    assert not outcome.pairs and not outcome.pruned and not outcome.clusters
    assert outcome.answer.answer == "a"


def test_the_largest_cluster_finishes_as_far_as_allowed():
    traces = of("a" * 12 + "b" * 4, [100] * 16)
    outcome = drive(deepprune(16), traces, score=judge(traces))
    assert finished(outcome) == [0, 1, 2, 3]  # a quarter of the budget
    assert {outcome.pruned[index] for index in range(4, 12)} == {"redundant"}
    assert {outcome.pruned[index] for index in range(12, 16)} == {"minority"}
    assert outcome.answer.answer == "a"


def test_where_clustering_says_nothing_k3_traces_vote():
    traces = of("abcdefgh", [100] * 8)
    outcome = drive(deepprune(8, k=32), traces, score=judge(traces))
    assert len(outcome.clusters) == 8
    assert finished(outcome) == [0, 1]


def test_one_representative_of_every_cluster_finishes_and_weighs_its_cluster():
    traces = of("abbbc", [100] * 5)
    outcome = drive(deepprune(5, answer="representatives"), traces, score=judge(traces))
    assert finished(outcome) == [0, 1, 4]
    assert outcome.answer.answer == "b" and outcome.answer.votes[0].weight == 3.0


def test_cons_asks_for_no_verdicts():
    with pytest.raises(AssertionError):
        Cons(1).on_verdicts([])


@pytest.mark.parametrize(("similarity", "clusters"), [("probabilities", 2), ("decisions", 1)])
def test_a_similarity_is_the_mean_of_probabilities_or_of_decisions(similarity, clusters):
    # The fourth trace: 0.55, 0.55 and 0.1 of the first three; two of three decisions are for the same.
    scores = {(0, 3): 0.55, (1, 3): 0.55, (2, 3): 0.1}
    outcome = drive(
        deepprune(4, similarity=similarity, finish_share=1.0),
        of("aaaa", [20] * 4),
        score=lambda left, right: scores.get((left, right), 1.0),
    )
    assert len(outcome.clusters) == clusters
