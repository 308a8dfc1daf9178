"""The simulated sampler: what it makes is a function of the request alone."""

from pruner.samplers.base import Decoding, Request
from pruner.traces import SegmentKey
from tests.unit.fakes import simulated


def sample(trace_index, segment_tokens, has_confidence=True):
    """Return the confidences of a trace that is sampled in segments of so many tokens."""
    sampler, found, segment_index, prompt = simulated(), [], 0, (5, 0)
    while True:
        key = SegmentKey("p", trace_index, segment_index)
        decoding = Decoding(has_confidence=has_confidence)
        so_far = len(prompt) - 2
        sampler.submit([Request(key, prompt, segment_tokens, segment_index, 0, decoding, so_far)])
        done = []
        while not done:
            done = sampler.step()
        found.append(done[0].confidence)
        prompt += done[0].token_ids
        segment_index += 1
        if done[0].finish_reason:
            return found


def test_confidences_are_one_a_token_and_do_not_depend_on_where_segments_end():
    for index in range(5):
        whole, parts = sample(index, 1000), sample(index, 7)
        assert len(whole) == 1 and len(parts) > 1
        assert sum(parts, ()) == whole[0]
        assert len(whole[0]) == simulated().trace_tokens("p", index)
        assert min(whole[0]) > 0


def test_confidences_come_only_when_asked_for():
    assert set(sample(0, 16, has_confidence=False)) == {None}
