"""The vLLM sampler alone: what the rest of the program relies on the engine for."""

from __future__ import annotations

import pytest

from pruner.prompts import ChatPrompts, load_tokenizer
from pruner.records.traces import PairKey, ProbeKey, Problem, SegmentKey, hash64
from pruner.samplers.base import Decoding, Request
from pruner.samplers.vllm import EngineOptions, EngineSpec, VllmSampler
from pruner.settings.model import EngineModel
from tests.composed import config

pytestmark = pytest.mark.live
SAMPLED = Decoding(temperature=0.7, top_p=0.95)


@pytest.fixture(scope="module")
def sampler():
    model = EngineModel(path=".cache/models/smollm2_135m", dtype="bfloat16", max_model_len=1024)
    options = EngineOptions(max_running_traces=32, exact=True, cache_block_tokens=32, kv_cache_gib=1)
    found = VllmSampler(EngineSpec(model, options), has_gpu=False)
    found.wait_ready(lambda: False)
    yield found
    found.close()


@pytest.fixture(scope="module")
def prompts():
    return ChatPrompts(load_tokenizer(".cache/models/smollm2_135m", None, False), config().model.prompt)


def drain(sampler, requests):
    sampler.submit(requests)
    found = {}
    while sampler.num_running:
        for completion in sampler.step():
            found[completion.key] = completion
    return found


def first_segments(prompts, count, tokens, decoding=SAMPLED):
    prompt = prompts.encode_problem(Problem("p", 0, "How many minutes are in one hour?", None))
    keys = [SegmentKey("p", i, 0) for i in range(count)]
    return [Request(key, prompt, tokens, hash64(0, key.trace_index), 0, decoding) for key in keys]


def test_a_request_gives_the_same_tokens_alone_and_in_company(sampler, prompts):
    requests = first_segments(prompts, 12, 24)
    together = drain(sampler, requests)
    for request in requests[:3]:
        assert drain(sampler, [request])[request.key].token_ids == together[request.key].token_ids
    assert len({found.token_ids for found in together.values()}) > 1


def test_texts_of_segments_join_to_the_text_of_the_trace(sampler, prompts):
    question = "Write a line with emoji \U0001f600 and umlauts äöü, then count: 1, 2, 3."
    prompt = prompts.encode_problem(Problem("p", 0, question, None))
    ids, text = (), ""
    for index in range(12):
        request = Request(SegmentKey("p", 0, index), prompt + ids, 5, hash64(index), 0, Decoding(temperature=1.2))
        found = drain(sampler, [request])[request.key]
        ids, text = ids + found.token_ids, text + found.text
        if found.finish_reason:
            break
    whole = prompts._tokenizer.decode(list(ids), skip_special_tokens=True)
    assert text == whole or text == whole.rstrip("\ufffd")


def test_stop_strings_end_a_completion(sampler, prompts):
    requests = first_segments(prompts, 8, 64, Decoding(temperature=0.7, stop=(".",)))
    found = drain(sampler, requests).values()
    stopped = [completion for completion in found if completion.finish_reason]
    assert stopped


def test_confidences_come_one_a_token_when_asked_for(sampler, prompts):
    requests = first_segments(prompts, 2, 16, Decoding(temperature=0.7, has_confidence=True))
    for completion in drain(sampler, requests).values():
        assert len(completion.confidence) == len(completion.token_ids)
        assert all(value > 0 for value in completion.confidence)


def test_label_scores_are_raw_log_probabilities_of_these_tokens(sampler, prompts):
    import math

    prompt = prompts.encode_problem(Problem("p", 0, "Say yes or no: is water wet?", None))
    labels = tuple(prompts.encode_text(word)[0] for word in ("yes", "no"))
    both = Request(PairKey("p", 0, 1), prompt, 1, 0, 0, Decoding(label_token_ids=labels))
    other = Request(PairKey("p", 0, 2), prompt, 1, 0, 0, Decoding(label_token_ids=labels[::-1]))
    found = drain(sampler, [both, other])
    assert found[both.key].label_logprobs == pytest.approx(found[other.key].label_logprobs[::-1], abs=1e-4)
    assert all(value < 0 for value in found[both.key].label_logprobs)
    assert sum(math.exp(value) for value in found[both.key].label_logprobs) <= 1.0


def test_running_tokens_are_known_and_an_abort_leaves_nothing(sampler, prompts):
    sampler.submit(first_segments(prompts, 4, 200, Decoding(temperature=2.0)))
    for _ in range(40):
        sampler.step()
    assert sampler.running_tokens > 0
    sampler.abort()
    assert sampler.num_running == 0 and sampler.step() == []
    request = first_segments(prompts, 1, 8)[0]
    assert drain(sampler, [request])


def test_a_probe_reads_its_prefix_from_the_cache(sampler, prompts):
    request = first_segments(prompts, 1, 40, Decoding(temperature=0.7))[0]
    ids = drain(sampler, [request])[request.key].token_ids
    probe = Request(
        ProbeKey("p", 0, len(ids)),
        request.prompt_token_ids + ids + prompts.encode_text(" \\boxed{"),
        6,
        0,
        0,
        Decoding(),
    )
    found = drain(sampler, [probe])[probe.key]
    assert found.cached_tokens >= len(request.prompt_token_ids) // 32 * 32


def test_it_says_how_many_tokens_its_cache_holds(sampler):
    values = 2 * 30 * 3 * 64  # keys and values of 30 layers with 3 heads of 64, in float32
    assert sampler.capacity_tokens == pytest.approx(2**30 / (4 * values), rel=0.01)
