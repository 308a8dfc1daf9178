"""Checks that need the engines: exactness, the prefix cache, speed, well-formed answers, two engines side by side."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from pruner.config.job import Config
from pruner.doctor.findings import Check, Finding
from pruner.prompts import Prompts
from pruner.records.traces import Key, PairKey, SegmentKey, TokenIds, hash64
from pruner.samplers.base import Completion, Decoding, Request, Sampler
from pruner.samplers.devices import num_devices
from pruner.samplers.process import ProcessSampler
from pruner.samplers.vllm import VllmSampler
from pruner.shard import build
from pruner.shard.inputs import Inputs, sampler_context
from pruner.shard.queue import completed

_WIDTHS = (16, 64, 256)
_PROMPTS = 8


@dataclass(frozen=True)
class Size:
    """Sizes of the trials. tokens: of a short completion; trace_tokens: of each trace whose speed is measured."""

    tokens: int
    trace_tokens: int


CPU, GPU = Size(32, 48), Size(256, 1024)


class Engines:
    """The engines that a configuration names, running, and short requests to them."""

    def __init__(self, config: Config, inputs: Inputs, sampler: Sampler, judge: Sampler | None) -> None:
        self.config = config
        self.inputs = inputs
        self.sampler = sampler
        self.judge = judge
        self.prompts: Prompts = build.make_prompts(config, inputs)
        self._prompts = [
            (each.problem_id, TokenIds(self.prompts.encode_problem(each)))
            for each in inputs.problems.problems[:_PROMPTS]
        ]
        self.decoding = replace(build.trace_rule(config).decoding, has_confidence=False)
        self.size = GPU if num_devices() else CPU

    @property
    def width(self) -> int:
        return self.config.sampler.max_running_traces

    def request(self, number: int, tokens: int) -> Request:
        """Return the first segment of a trace; traces are taken in turn from a few problems."""
        problem_id, prompt = self._prompts[number % len(self._prompts)]
        key = SegmentKey(problem_id, number // len(self._prompts), 0)
        seed = hash64(self.config.seed, "doctor", problem_id, key.trace_index, 0)
        return Request(key, prompt, tokens, seed, number, self.decoding)

    def requests(self, count: int, tokens: int) -> list[Request]:
        return [self.request(number, tokens) for number in range(count)]

    def continued(self, request: Request, completion: Completion, tokens: int) -> Request:
        """Return the request for a trace's next segment."""
        assert isinstance(request.key, SegmentKey)
        key = replace(request.key, segment_index=request.key.segment_index + 1)
        seed = hash64(self.config.seed, "doctor", key.problem_id, key.trace_index, key.segment_index)
        prompt = TokenIds.join([TokenIds(request.prompt_token_ids), TokenIds(completion.token_ids)])
        made = request.trace_tokens + completion.num_tokens
        return replace(request, key=key, prompt_token_ids=prompt, seed=seed, max_tokens=tokens, trace_tokens=made)

    def forget_prompts(self) -> bool:
        """Empty the prefix cache; return whether that can be done."""
        if isinstance(self.sampler, ProcessSampler):
            self.sampler.call("forget_prompts")
        elif isinstance(self.sampler, VllmSampler):
            self.sampler.forget_prompts()
        else:
            return False
        return True


def drained(sampler: Sampler, requests: Sequence[Request]) -> dict[Key, Completion]:
    """Return the completions of requests, by key."""
    return {completion.key: completion for completion in completed(sampler, requests)}


@contextmanager
def opened(config: Config, inputs: Inputs) -> Iterator[Engines]:
    """Start the engines that a configuration names, and end them afterwards. Raises EngineError, InputError."""
    running: list[Sampler] = []
    try:
        sampler = config.sampler.open(sampler_context(config, inputs))
        running.append(sampler)
        judge = build.wait_for_engines(config, inputs, sampler, running, lambda: False)
        yield Engines(config, inputs, sampler, judge)
    finally:
        for each in running:
            each.close()


def checks(engines: Engines) -> Sequence[tuple[str, Check]]:
    named: list[tuple[str, Check]] = [
        ("exact", lambda: exactness(engines)),
        ("cache", lambda: cache(engines)),
        ("scores", lambda: scores(engines)),
        ("speed", lambda: speed(engines)),
    ]
    if engines.judge is not None:
        named.append(("judge", lambda: beside(engines)))
    return named


def exactness(engines: Engines) -> Finding:
    """Sample traces alone, in a full batch, and in two segments with and without what the cache holds."""
    half = engines.size.tokens // 2
    chosen = engines.requests(engines.width, half)
    full = drained(engines.sampler, chosen)
    few = chosen[:_PROMPTS]
    alone = {key: done for each in few for key, done in drained(engines.sampler, [each]).items()}
    going_on = [engines.continued(each, full[each.key], half) for each in few if full[each.key].finish_reason is None]
    cached = drained(engines.sampler, going_on)
    pairs = [(alone[each.key], full[each.key]) for each in few]
    what = f"alone and among {engines.width}"
    if engines.forget_prompts():
        read_again = drained(engines.sampler, going_on)
        pairs += [(cached[each.key], read_again[each.key]) for each in going_on]
        what += ", from the cache and read again"
    differing = sum(tuple(one.token_ids) != tuple(other.token_ids) for one, other in pairs)
    figures = {"compared": len(pairs), "differing": differing}
    what = f"{len(pairs) - differing} of {len(pairs)} completions equal: {what}"
    is_exact = getattr(engines.config.sampler, "exact", False)
    if differing and is_exact:
        advice = "This card, model and vLLM are not exact: set sampler.exact=false, which is faster, and promise less."
        return Finding("exact", "FAIL", what, advice, figures)
    if not is_exact:
        promise = (
            "servers promise nothing"
            if engines.config.sampler.servers is not None
            else "sampler.exact=false promises nothing"
        )
        what += f" ({promise}; what is committed is never sampled again either way)"
    return Finding("exact", "PASS", what, figures=figures)


def cache(engines: Engines) -> Finding:
    """Look how much of a continuation's prompt the prefix cache serves."""
    block = engines.config.sampler.cache_block_tokens or 16
    first = engines.requests(_PROMPTS, engines.size.tokens)
    done = drained(engines.sampler, first)
    going_on = [engines.continued(each, done[each.key], 1) for each in first]
    continued = drained(engines.sampler, going_on).values()
    prompt, cached = (sum(getattr(each, name) for each in continued) for name in ("prompt_tokens", "cached_tokens"))
    # The last block may not be full, and of a full one at least one token is computed again.
    expected = sum((each.prompt_tokens - 1) // block * block for each in continued)
    figures = {"prompt_tokens": prompt, "cached_tokens": cached, "whole_blocks": expected}
    what = f"the prefix cache served {cached / prompt:.0%} of the continuations' prompts; whole blocks are {expected / prompt:.0%}"
    if cached < 0.9 * expected:
        advice = "Each segment reads its trace again, which costs time: look whether this model's attention supports prefix caching."
        return Finding("cache", "WARN", what, advice, figures)
    return Finding("cache", "PASS", what, figures=figures)


def scores(engines: Engines) -> Finding:
    """Look at what methods and judges ask for beside tokens: confidences, and log-probabilities of two labels."""
    [request] = engines.requests(1, 8)
    words = tuple(engines.prompts.encode_text(word)[0] for word in ("same", "different"))
    label_key = PairKey(request.key.problem_id, 0, 1)
    labels = replace(request, key=label_key, max_tokens=1, decoding=Decoding(label_token_ids=words))
    confident = replace(request, decoding=replace(engines.decoding, has_confidence=True))
    done = drained(engines.sampler, [confident, labels])
    confidence, logprobs = done[request.key].confidence or (), done[label_key].label_logprobs or ()
    if not confidence or not all(math.isfinite(value) and value > 0.0 for value in confidence):
        advice = "Do not use methods that weigh by confidence."
        return Finding("scores", "FAIL", "confidences are not positive numbers", advice)
    if not logprobs or not all(math.isfinite(value) and value <= 0.0 for value in logprobs):
        return Finding("scores", "FAIL", f"scores of labels are {logprobs}", "Do not use judge=llm with this model.")
    what = f"confidences of {len(confidence)} tokens, {min(confidence):.1f} to {max(confidence):.1f}, and scores of two labels"
    return Finding("scores", "PASS", what)


def speed(engines: Engines) -> Finding:
    """Measure tokens per second at several widths."""
    figures = {}
    for width in [each for each in _WIDTHS if each <= engines.width] or [engines.width]:
        figures[f"tokens_per_s_{width}"] = round(_rate(engines, width), 1)
    what = ", ".join(f"{value:,.0f} tokens/s at {name.rpartition('_')[2]}" for name, value in figures.items())
    rates = list(figures.values())
    if len(rates) > 1 and rates[-1] < rates[-2]:
        return Finding(
            "speed", "WARN", what, "More traces at once are slower: lower sampler.max_running_traces.", figures
        )
    return Finding("speed", "PASS", f"{what}; for jobs.plan curve=", figures=figures)


def _rate(engines: Engines, width: int) -> float:
    """Return tokens per second with `width` traces at once. A trace that ends early is followed by another, so that as many as
    possible run until all have made their tokens."""
    context, sampler, wanted = engines.config.model.max_model_len, engines.sampler, engines.size.trace_tokens
    length = min(engines.config.sampler.segment_tokens or 256, wanted)

    def fitting(request: Request) -> list[Request]:
        room = context - len(request.prompt_token_ids)
        return [replace(request, max_tokens=min(request.max_tokens, room))] if room > 0 else []

    drained(sampler, engines.requests(_PROMPTS, 1))  # reading prompts is not what is measured
    running = {each.key: each for request in engines.requests(width, length) for each in fitting(request)}
    spare = (engines.request(number, length) for number in itertools.count(width))
    started, done = time.monotonic(), 0
    sampler.submit(list(running.values()))
    while running:
        for completion in sampler.step():
            request = running.pop(completion.key)
            done += completion.num_tokens
            if done + sum(each.max_tokens for each in running.values()) >= width * wanted:
                continue
            following = fitting(engines.continued(request, completion, length))
            if completion.finish_reason is not None or not following:
                following = fitting(next(spare))
            running |= {each.key: each for each in following}
            sampler.submit(following)
    return done / (time.monotonic() - started)


def beside(engines: Engines) -> Finding:
    """Let the judge's engine answer while the sampler's works."""
    judge = engines.judge
    assert judge is not None
    engines.sampler.submit(engines.requests(min(16, engines.width), engines.size.tokens))
    [request] = engines.requests(1, 1)
    started = time.monotonic()
    judge.submit([replace(request, key=PairKey(request.key.problem_id, 0, 1), decoding=Decoding())])
    while not judge.step():
        engines.sampler.step()
    took_s = time.monotonic() - started
    engines.sampler.abort()
    figures: Mapping[str, float] = {"answer_s": round(took_s, 2)}
    return Finding("judge", "PASS", f"its engine answers beside the sampler's, in {took_s:.1f} s", figures=figures)
