"""The queue of requests: what goes to the engine next, and that every token is counted once."""

from dataclasses import replace

import pytest

from pruner.errors import EngineError
from pruner.records.traces import PairKey, SegmentKey, TokenIds
from pruner.samplers.base import Completion, Decoding, Request
from pruner.shard.queue import RequestQueue, context_tokens


class Engine:
    """An engine that completes what it is told to, and keeps what it was given in order."""

    capacity_tokens = None
    running_tokens = cancelled_tokens = 0

    def __init__(self):
        self.given, self.cancelled, self.done = [], [], []

    def submit(self, requests):
        self.given += requests

    def step(self):
        done, self.done = self.done, []
        return done

    def cancel(self, keys):
        self.cancelled += keys

    def abort(self):
        pass

    def complete(self, request):
        ids = TokenIds(range(1, request.max_tokens + 1))
        prompt_tokens = len(request.prompt_token_ids)
        self.done.append(Completion(request.key, len(ids), ids, "x", None, prompt_tokens, 0))


def request(trace, segment=0, problem="p", priority=0, tokens=8):
    return Request(SegmentKey(problem, trace, segment), (1, 2), tokens, 0, priority, Decoding(), 8 * segment)


def judged(problem="p", priority=0):
    return replace(request(0, problem=problem, priority=priority), key=PairKey(problem, 0, 1))


def given(engine):
    return [each.key for each in engine.given]


def test_older_problems_go_first_then_judgements_then_first_traces():
    engine = Engine()
    queue = RequestQueue(engine, 16)
    later, earlier = request(0, problem="q", priority=1), request(3)
    queue.add([later, earlier, request(1, segment=2), judged()])
    queue.submit(0)
    assert given(engine) == [judged().key, request(1, segment=2).key, earlier.key, later.key]


def test_a_quarter_more_than_the_width_is_handed_over_and_the_rest_waits():
    engine = Engine()
    queue = RequestQueue(engine, 8)
    queue.add(request(index) for index in range(30))
    queue.submit(0)
    assert (queue.num_running, queue.num_waiting, queue.is_full) == (10, 20, True)
    engine.complete(engine.given[0])
    assert [is_needed for _, is_needed in queue.step()] == [True]
    queue.submit(0)
    assert (queue.num_running, queue.num_waiting) == (10, 19)


def test_no_more_is_handed_over_than_the_cache_holds_but_one_always_is():
    engine = Engine()
    engine.capacity_tokens = 100
    queue = RequestQueue(engine, 8)
    queue.add(request(index, tokens=30) for index in range(8))
    queue.submit(30)
    assert queue.num_running == 2 and 30 + sum(map(context_tokens, engine.given)) <= 100
    alone = Engine()
    alone.capacity_tokens = 1
    queue = RequestQueue(alone, 8)
    queue.add(request(index) for index in range(8))
    queue.submit(30)
    assert queue.num_running == 1


def test_what_is_needed_takes_the_place_of_the_least_worthy_speculation():
    engine = Engine()
    queue = RequestQueue(engine, 4)
    for index, worth in enumerate((0.9, 0.1, 0.5, 0.7)):
        assert queue.speculate(request(index), worth, 0)
    assert queue.room_for_speculation(1.0) == 0
    queue.add([request(10), request(11)])
    queue.submit(0)
    assert engine.cancelled == [request(1).key, request(2).key] and queue.num_running == 4
    assert all(each.priority >= 1 << 30 for each in engine.given[:4]) and engine.given[-1].priority == 0


def test_a_speculative_request_that_comes_to_be_needed_is_not_made_again_and_no_longer_cancelled():
    engine = Engine()
    queue = RequestQueue(engine, 2)
    queue.speculate(request(5), 0.1, 0)
    queue.add([request(5)])
    queue.add([request(index, problem="q") for index in range(4)])
    queue.submit(0)
    queue.drop_speculative("p")
    assert not engine.cancelled and given(engine).count(request(5).key) == 1
    engine.complete(engine.given[0])
    assert [is_needed for _, is_needed in queue.step()] == [True]


def test_tokens_of_a_completion_that_was_cancelled_meanwhile_are_counted_as_discarded():
    """They were counted nowhere: the engine had completed it, so it did not count them as cancelled either."""
    engine = Engine()
    queue = RequestQueue(engine, 4)
    queue.speculate(request(0), 0.5, 0)
    queue.speculate(request(0, problem="q"), 0.5, 0)
    engine.complete(request(0))
    queue.drop_speculative("p")
    assert queue.step() == [] and queue.tokens_discarded == 8 and queue.num_running == 1


def test_a_cancelled_request_that_is_made_again_is_taken_once():
    engine = Engine()
    queue = RequestQueue(engine, 4)
    queue.speculate(request(0), 0.5, 0)
    engine.complete(request(0))
    queue.drop_speculative("p")
    queue.add([request(0)])
    queue.submit(0)
    assert [(each.key, is_needed) for each, is_needed in queue.step()] == [(request(0).key, True)]
    engine.complete(request(0))
    assert queue.step() == [] and queue.tokens_discarded == 8 and len(queue) == 0


def test_tokens_in_flight_are_those_that_run_and_not_all_that_were_ever_cancelled():
    engine = Engine()
    queue = RequestQueue(engine, 4)
    queue.add([request(0)])
    queue.submit(0)
    engine.running_tokens, engine.cancelled_tokens = 5, 1000
    assert (queue.tokens_in_flight, queue.tokens_discarded) == (5, 1000)
    queue.abort()
    engine.running_tokens, engine.cancelled_tokens = 0, 1005
    assert (queue.tokens_in_flight, queue.tokens_discarded) == (0, 1005)


def test_what_was_whole_before_a_fault_is_taken_first():
    engine = Engine()
    queue = RequestQueue(engine, 4)
    queue.add([request(0), request(1)])
    queue.submit(0)
    engine.complete(request(0))
    engine.complete(request(7))
    assert len(queue.step()) == 1
    with pytest.raises(EngineError, match="was not requested"):
        queue.step()
