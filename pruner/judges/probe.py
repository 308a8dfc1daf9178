"""The probe: force an answer out of each prefix; two traces whose probed answers are equal are predicted equal.

It needs no trained judge and works with any model: an answer opening is appended to the prefix, a few greedy tokens are
decoded and discarded. Each trace is probed once, however many pairs it is in. The same sampler model serves it, and the
prefix stands in its cache.
"""

from __future__ import annotations

from collections.abc import Mapping

from pruner.answers import balanced, last_boxed
from pruner.judges.base import Bench
from pruner.samplers.base import Completion, Decoding, Request
from pruner.traces import Fact, Key, PairKey, Probe, ProbeKey, Verdict
from pruner.voting import Equivalent


class ProbeJudge:
    """A judge of 0 and 1: equal probed answers or not; a pair with an unreadable probe has no verdict.

    Source: answer probing as in Dynasor and Parallel-Probe (arXiv 2602.03845), used here as a pair judge.
    """

    name = "probe"

    def __init__(
        self, opening: str, opening_ids: tuple[int, ...], max_tokens: int, max_model_len: int, equivalent: Equivalent
    ) -> None:
        """Args: opening: text that is appended to a prefix, up to and with the brace of the box."""
        self._opening = opening
        self._opening_ids = opening_ids
        self._max_tokens = max_tokens
        self._max_model_len = max_model_len
        self._equivalent = equivalent
        self._decoding = Decoding(temperature=0.0, stop=())

    def prepares(self, trace_index: int, bench: Bench) -> tuple[Key, ...]:
        return (self._probe_key(trace_index, bench),)

    def needs(self, pair: PairKey, bench: Bench, known: Mapping[Key, Fact]) -> tuple[Key, ...]:
        if pair in known:
            return ()
        return tuple(key for key in self._probe_keys(pair, bench) if key not in known)

    def verdict(self, pair: PairKey, bench: Bench, known: Mapping[Key, Fact]) -> Verdict:
        recorded = known.get(pair)
        if isinstance(recorded, Verdict):
            return recorded
        answers = []
        for key in self._probe_keys(pair, bench):
            probe = known[key]
            assert isinstance(probe, Probe)
            answers.append(probe.answer)
        left, right = answers
        if left is None or right is None:
            return Verdict(pair, None)
        return Verdict(pair, 1.0 if self._equivalent(left, right) else 0.0)

    def request(self, key: Key, bench: Bench) -> Request | None:
        assert isinstance(key, ProbeKey)
        trace_ids = bench.traces[key.trace_index].trace.token_ids[: key.num_tokens]
        prompt = (*bench.prompt_token_ids, *trace_ids, *self._opening_ids)
        if len(prompt) + self._max_tokens > self._max_model_len:
            return None
        return Request(key, prompt, self._max_tokens, 0, bench.priority, self._decoding)

    def read(self, key: Key, completion: Completion | None, bench: Bench) -> Probe:
        assert isinstance(key, ProbeKey)
        if completion is None:
            return Probe(key, (), "", None, 0, 0, 0)
        return Probe(
            key=key,
            token_ids=completion.token_ids,
            text=completion.text,
            answer=read_answer(self._opening, completion.text),
            prompt_tokens=completion.prompt_tokens,
            cached_tokens=completion.cached_tokens,
            # The sampler has computed the prompt and the prefix for the trace itself.
            shared_tokens=completion.prompt_tokens - len(self._opening_ids),
        )

    def _probe_keys(self, pair: PairKey, bench: Bench) -> tuple[ProbeKey, ProbeKey]:
        return self._probe_key(pair.left_trace, bench), self._probe_key(pair.right_trace, bench)

    def _probe_key(self, trace_index: int, bench: Bench) -> ProbeKey:
        return ProbeKey(bench.problem.problem_id, trace_index, bench.traces[trace_index].prefix.num_tokens)


def read_answer(opening: str, text: str) -> str | None:
    """Return the answer that a probe's completion gives: up to the brace that closes the opening's box, else its first
    line as far as it goes; None if that is empty."""
    if opening.rstrip().endswith("{"):
        content = balanced(text, 0)
        answer = content if content is not None else text.split("\n")[0]
    else:
        answer = last_boxed(opening + text) or text.split("\n")[0]
    return answer.strip() or None
