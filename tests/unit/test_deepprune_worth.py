"""DeepPrune that spends little: who is pruned, whose vote counts for what, and that order does not matter."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pruner.methods.base import MethodContext
from pruner.methods.deepprune_worth import DeepPruneWorth, DeepPruneWorthConfig
from pruner.rules.prefix import FixedTruncation
from tests.unit.drive import Future, assert_order_does_not_matter, drive, futures

PREFIX = 4


def method(budget, price=0.001, tau=0.5, k1=2, step=2):
    config = DeepPruneWorthConfig(name="deepprune_worth", price=price, tau=tau, k1=k1, step=step, typical_tokens=None)
    return DeepPruneWorth(MethodContext("p", budget, 0, FixedTruncation(PREFIX)), config)


def of(*answers, tokens=20):
    return [Future(answer, (1.0,) * tokens) for answer in answers]


def truth(traces):
    return lambda left, right: float(traces[left].answer == traces[right].answer)


@settings(max_examples=150)
@given(futures(), st.integers(1, 3), st.integers(1, 3), st.integers(0, 9), st.integers())
def test_it_does_the_same_in_whatever_order_things_happen(traces, k1, step, noise, salt):
    def score(left, right):
        return (hash(left * 31 + right * 7 + noise) % 10) / 9

    outcome = assert_order_does_not_matter(lambda: method(len(traces), k1=k1, step=step), traces, salt, score=score)
    assert set(outcome.pruned.values()) <= {"redundant", "minority"} and not set(outcome.pruned) & {0, 1}
    assert outcome.answer.voters == tuple(sorted(outcome.tokens))


def test_a_prefix_that_is_taken_for_an_answer_votes_for_it_and_costs_no_more():
    traces = of("a", "b", "a", "a", "a", "a", "a", "a")
    outcome = drive(method(8, price=0.01), traces, score=truth(traces))
    later = [index for index in outcome.tokens if index > 1]
    assert later and all(outcome.tokens[index] == PREFIX for index in later)
    assert outcome.answer.answer == "a" and outcome.answer.votes[0].weight == 1 + len(later)
    assert outcome.clusters[0].members == (0, *later) and outcome.clusters[1].members == (1,)


def test_a_prefix_unlike_any_answer_is_heard_in_full():
    traces = of("a", "b", "c", "d", "c", "c")
    outcome = drive(method(6), traces, score=truth(traces))
    assert outcome.tokens[2] == outcome.tokens[3] == 20
    assert outcome.tokens[4] == outcome.tokens[5] == PREFIX and outcome.answer.answer == "c"


def test_a_judge_that_is_sure_of_nothing_makes_it_worth():
    traces = of("a", "b", "c", "a", "a", "b")
    outcome = drive(method(6), traces, score=lambda left, right: 0.5)
    assert not outcome.pruned and set(outcome.tokens.values()) == {20}


def test_pruned_traces_say_whether_they_were_taken_for_the_leader():
    traces = of("a", "a", "b", "b", "a", "b", "a", "b", "b", "a")
    outcome = drive(method(10, price=1e-6), traces, score=truth(traces))
    reasons = {index: reason for index, reason in outcome.pruned.items() if index in (4, 5)}
    assert reasons == {4: "redundant", 5: "minority"}


def test_traces_that_end_within_their_prefix_are_heard_and_not_compared():
    traces = [Future("a", (1.0,) * 2), Future("b", (1.0,) * 2), *of("b", "c")]
    outcome = drive(method(4, price=1e-6), traces, score=truth(traces))
    assert not outcome.pairs and not outcome.pruned and sum(outcome.tokens.values()) == 44
