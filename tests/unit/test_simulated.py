"""The simulated sampler keeps its own counts: what runs, what it has made so far, and in which order it completes."""

from pruner.records.traces import SegmentKey
from pruner.samplers.base import Decoding, Request
from pruner.samplers.simulated import fake_ids
from tests.unit.fakes import simulated


def request(index, tokens=16, seed=3):
    return Request(SegmentKey("p", index, 0), (1, 2), tokens, seed, 0, Decoding())


def test_a_step_makes_tokens_of_the_oldest_requests_only():
    sampler = simulated(max_running_traces=2, step_tokens=8)
    sampler.submit([request(i) for i in range(5)])
    order = []
    for running, tokens in ((5, 16), (3, 0), (3, 16), (1, 0), (1, 8), (0, 0)):
        order += [completion.key.trace_index for completion in sampler.step()]
        assert (sampler.num_running, sampler.running_tokens) == (running, tokens)
    assert order == [0, 1, 2, 3, 4]


def test_an_abort_leaves_nothing():
    sampler = simulated()
    sampler.submit([request(0), request(1)])
    sampler.step()
    sampler.abort()
    assert sampler.num_running == 0 and sampler.running_tokens == 0 and sampler.step() == []


def test_fake_tokens_are_a_function_of_their_seed_at_any_length():
    assert fake_ids(5, 7) == fake_ids(5, 7) != fake_ids(6, 7)
    assert len(fake_ids(2**63 - 1, 70_000)) == 70_000 and len(fake_ids(0, 0)) == 0
    assert all(1 <= number <= 2**15 for number in fake_ids(9, 1000))


def test_what_is_cancelled_is_counted_and_the_others_go_on():
    sampler = simulated(max_running_traces=2, step_tokens=8)
    sampler.submit([request(i) for i in range(4)])
    sampler.step()
    sampler.cancel([SegmentKey("p", 0, 0), SegmentKey("p", 3, 0), SegmentKey("p", 9, 0)])
    assert (sampler.num_running, sampler.running_tokens, sampler.cancelled_tokens) == (2, 8, 8)
    done = [completion.key.trace_index for _ in range(9) for completion in sampler.step()]
    assert sorted(done) == [1, 2] and sampler.running_tokens == 0 and sampler.cancelled_tokens == 8
