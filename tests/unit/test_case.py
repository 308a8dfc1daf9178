"""One problem at work: what it requests of which facts, and that what is known is never requested again."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner.answers.readings import Read
from pruner.records.traces import Ending, Probe, ProbeKey, Problem, Segment, SegmentKey, Verdict
from pruner.samplers.base import Completion
from pruner.shard.segments import PromptedProblem
from tests.unit.fakes import open_case, said

METHODS = ("cons", "deepprune", "adaptive", "esc", "deepconf_online")
PROMPT = (7, 8, 9)


def opened(name="cons", budget=3, known=()):
    return open_case(name, budget, PromptedProblem(Problem("p", 0, "?", "1"), PROMPT, 0), known)


def completion(request, text="word ", tokens=None, ends=False):
    """What an engine gives: as many tokens as were asked for, or fewer."""
    count = request.max_tokens if tokens is None else tokens
    reason = "stop" if ends else None
    return Completion(request.key, count, tuple(range(1, count + 1)), text, reason, 0, 0, (1.0,) * count)


def worked(case, salt=0, segments=3):
    """Work on a case to its end, in any order: every trace has so many segments. Return its facts and its requests."""
    draw = random.Random(salt)
    step = case.begin()
    facts, requests, open_things = [*step.facts], [*step.requests], [*step.requests, *step.readings]
    while open_things:
        what = open_things.pop(draw.randrange(len(open_things)))
        if hasattr(what, "max_tokens"):
            is_last = isinstance(what.key, SegmentKey) and what.key.segment_index == segments - 1
            text = f"{what.key.trace_index % 2}}} " if isinstance(what.key, ProbeKey) else "word "
            step = case.receive(completion(what, text, ends=is_last))
        else:
            answer = what.answer if what.answer is not None else str(what.key.trace_index % 2)
            step = case.take_answer(Read(what.key, said(answer)))
        facts += step.facts
        requests += step.requests
        open_things += [*step.requests, *step.readings]
    assert case.is_finished
    return facts, requests


@pytest.mark.parametrize("name", METHODS)
def test_a_case_that_knows_every_fact_requests_nothing_and_answers_the_same(name):
    first = opened(name, 6)
    facts, _ = worked(first)
    again = opened(name, 6, facts)
    step = again.begin()
    assert not step.requests and not step.readings and again.is_finished
    assert again.answer == first.answer and again.pruned == first.pruned


@given(st.sampled_from(METHODS), st.integers(0, 1000), st.integers(0, 1000), st.data())
def test_after_any_facts_it_goes_on_to_the_same_facts_and_requests_none_of_them_again(name, salt, other, data):
    whole, _ = worked(opened(name, 6), salt)
    known = whole[: data.draw(st.integers(0, len(whole)))]
    facts, requests = worked(opened(name, 6, known), other)
    assert {fact.key: fact for fact in [*known, *facts]} == {fact.key: fact for fact in whole}
    assert not {fact.key for fact in known} & {request.key for request in requests}
    assert not {fact.key for fact in known} & {fact.key for fact in facts}


def test_a_segment_continues_the_prompt_and_the_trace_so_far():
    case = opened(budget=1)
    (first,) = case.begin().requests
    (second,) = case.receive(completion(first)).requests
    assert (first.key, second.key) == (SegmentKey("p", 0, 0), SegmentKey("p", 0, 1))
    assert tuple(first.prompt_token_ids) == PROMPT
    assert tuple(second.prompt_token_ids) == (*PROMPT, *range(1, first.max_tokens + 1))
    assert second.trace_tokens == first.max_tokens and first.seed != second.seed


def test_a_seed_depends_on_the_segment_only():
    seeds = [{request.key: request.seed for request in worked(opened(), salt)[1]} for salt in range(3)]
    assert seeds[0] == seeds[1] == seeds[2] and len(set(seeds[0].values())) == len(seeds[0]) == 9


def test_a_trace_that_fills_its_cap_ends_there():
    case = opened(budget=1)
    step = case.begin()
    while step.requests:
        step = case.receive(completion(step.requests[0]))
    [reading] = step.readings
    assert not case.is_finished
    case.take_answer(Read(reading.key, said("1")))
    trace = case.traces[0]
    assert trace.num_tokens == case.segments.max_trace_tokens == 500 and trace.finish_reason == "length"
    assert case.is_finished


def test_the_answer_of_a_finished_trace_is_a_fact_and_one_without_leaves_none():
    case = opened(budget=2)
    readings = [case.receive(completion(request, ends=True)).readings[0] for request in case.begin().requests]
    step = case.take_answer(Read(readings[0].key, said("1")))
    assert [type(fact) for fact in step.facts] == [Ending] and not case.is_finished
    assert not case.take_answer(Read(readings[1].key, None)).facts
    assert case.is_finished and case.answer.answer.text == "1"


def test_what_a_pruned_trace_still_sampled_is_a_fact_and_decides_nothing():
    case = opened(budget=2)
    _, second = case.begin().requests
    case.pruned[1] = "redundant"
    step = case.receive(completion(second))
    assert [type(fact) for fact in step.facts] == [Segment] and not step.requests
    assert case.traces[1].num_tokens == second.max_tokens and not case.is_finished


def test_a_probed_answer_is_read_before_the_probe_is_a_fact():
    case = opened("deepprune", 2)
    facts, _ = worked(case)
    probes, verdicts = ([fact for fact in facts if isinstance(fact, kind)] for kind in (Probe, Verdict))
    assert len(probes) == 2 and all(probe.answer_key == probe.answer for probe in probes)
    assert [verdict.score for verdict in verdicts] == [0.0]
