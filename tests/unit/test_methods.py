"""Methods as pure state machines: driven by fake traces in any order, they decide the same."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruner.methods.base import Answer, Compare, Extend, MethodContext, Prepare, Prune
from pruner.methods.cons import Cons
from pruner.methods.deepprune import DeepPrune
from pruner.prefix import FixedTruncation
from pruner.traces import PairKey, Verdict
from tests.unit.fakes import deepprune_config, trace_of

PREFIX = 8


class World:
    """Traces with known answers and lengths, and a judge that tells whether two answers are equal."""

    def __init__(self, answers, lengths, noise=0):
        self.answers, self.lengths, self.noise = answers, lengths, noise

    def trace(self, index, num_tokens):
        total = self.lengths[index]
        done = min(total, num_tokens)
        is_finished = done == total
        pieces = [("x", min(PREFIX, done))] + ([("y", done - PREFIX)] if done > PREFIX else [])
        return trace_of(
            index,
            *pieces,
            finish_reason="stop" if is_finished else None,
            answer=self.answers[index] if is_finished else None,
        )

    def verdict(self, left, right):
        if self.noise and (left * 7 + right * 13 + self.noise) % 5 == 0:
            return Verdict(PairKey("p", left, right), 0.4)
        return Verdict(PairKey("p", left, right), float(self.answers[left] == self.answers[right]))


def drive(method, world, order):
    """Run a method; `order` picks which open action happens next. Return the answer, and everything that was asked."""
    todo, tokens, asked, prepared, pruned, answer = [], {}, set(), set(), {}, None

    def take(actions):
        nonlocal answer
        for action in actions:
            if isinstance(action, Extend):
                todo.append(action)
            elif isinstance(action, Compare):
                for pair in action.pairs:
                    assert pair not in asked
                    asked.add(pair)
                    todo.append(pair)
            elif isinstance(action, Prepare):
                assert not prepared & set(action.trace_indexes)
                prepared.update(action.trace_indexes)
            elif isinstance(action, Prune):
                pruned[action.trace_index] = action.reason
            else:
                assert isinstance(action, Answer) and answer is None
                answer = action

    take(method.begin())
    while todo:
        item = todo.pop(order(len(todo)))
        if isinstance(item, Extend):
            done = tokens.get(item.trace_index, 0)
            end = item.until_tokens if item.until_tokens and item.until_tokens > done else 10**6
            trace = world.trace(item.trace_index, end)
            tokens[item.trace_index] = trace.num_tokens
            take(method.on_segment(trace))
        else:
            take(method.on_verdicts([world.verdict(*item)]))
    assert answer is not None
    assert prepared >= {index for pair in asked for index in pair}
    answer = replace(
        answer,
        answer=answer.answer.text if answer.answer else None,
        votes=tuple(replace(vote, answer=vote.answer.text) for vote in answer.votes),
    )
    return answer, tokens, asked, pruned, method.clusters


def deepprune(budget, **changes):
    return DeepPrune(MethodContext("p", budget, 0, FixedTruncation(PREFIX)), deepprune_config(**changes))


WORLDS = st.integers(1, 16).flatmap(
    lambda n: st.tuples(
        st.lists(st.one_of(st.none(), st.sampled_from("abc")), min_size=n, max_size=n),
        st.lists(st.integers(1, 40), min_size=n, max_size=n),
        st.integers(0, 3),
    )
)


@settings(max_examples=150)
@given(WORLDS, st.integers(), st.sampled_from(["best", "first"]), st.sampled_from(["vote", "representatives"]))
def test_deepprune_does_the_same_in_whatever_order_facts_arrive(world, salt, assign, answer):
    answers, lengths, noise = world
    world = World(answers, lengths, noise)
    results = []
    for order in (lambda n: 0, lambda n: n - 1, random.Random(salt).randrange):
        results.append(drive(deepprune(len(answers), assign=assign, answer=answer), world, order))
    assert results[0] == results[1] == results[2]


@given(WORLDS, st.integers())
def test_cons_does_the_same_in_whatever_order_facts_arrive(world, salt):
    answers, lengths, _ = world
    world = World(answers, lengths)
    first = drive(Cons(len(answers)), world, lambda n: 0)
    assert first == drive(Cons(len(answers)), world, random.Random(salt).randrange)
    assert first[1] == dict(enumerate(lengths))


@given(WORLDS)
def test_deepprune_finishes_or_prunes_every_trace(world):
    answers, lengths, noise = world
    answer, tokens, _, pruned, clusters = drive(deepprune(len(answers)), World(answers, lengths, noise), lambda n: 0)
    finished = {i for i, done in tokens.items() if done == lengths[i]}
    assert finished | pruned.keys() == set(range(len(answers)))
    assert not finished & pruned.keys()
    assert set(answer.voters) == finished
    assert {i for c in clusters for i in c.members} == {i for i, length in enumerate(lengths) if length > PREFIX}


def test_traces_that_finish_within_their_prefix_need_no_judge():
    answer, _, asked, pruned, clusters = drive(deepprune(4), World(["a", "b", "a", "a"], [3, 4, 5, 8]), lambda n: 0)
    assert not asked and not pruned and not clusters
    assert answer.answer == "a"


def test_the_largest_cluster_finishes_as_far_as_allowed():
    world = World(["a"] * 12 + ["b"] * 4, [100] * 16)
    answer, tokens, _, pruned, _ = drive(deepprune(16), world, lambda n: 0)
    assert [i for i, done in tokens.items() if done == 100] == [0, 1, 2, 3]  # a quarter of the budget
    assert {pruned[i] for i in range(4, 12)} == {"redundant"}
    assert {pruned[i] for i in range(12, 16)} == {"minority"}
    assert answer.answer == "a"


def test_where_clustering_tells_nothing_k3_traces_vote():
    world = World(["a", "b", "c", "d", "e", "f", "g", "h"], [100] * 8)
    _, tokens, _, _, clusters = drive(deepprune(8, k=32), world, lambda n: 0)
    assert len(clusters) == 8
    assert [i for i, done in sorted(tokens.items()) if done == 100] == [0, 1]


def test_one_representative_of_every_cluster_finishes_and_weighs_its_cluster():
    world = World(["a", "b", "b", "b", "c"], [100] * 5)
    answer, tokens, _, _, _ = drive(deepprune(5, answer="representatives"), world, lambda n: 0)
    assert [i for i, done in sorted(tokens.items()) if done == 100] == [0, 1, 4]
    assert answer.answer == "b" and answer.votes[0].weight == 3.0


def test_cons_asks_for_no_verdicts():
    with pytest.raises(AssertionError):
        Cons(1).on_verdicts([])
