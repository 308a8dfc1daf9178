"""The probe: force an answer out of a trace as it stands. As a judge, two traces with equal probed answers are predicted equal.

It needs no trained judge and works with any model: an answer opening is appended to the trace so far, a few greedy tokens
are decoded and discarded. The same sampler model serves it, and what it reads stands in the sampler's cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pruner.answers import balanced, last_boxed
from pruner.judges.base import JudgeConfig, JudgeContext, JudgedProblem, MakeProber, Prober
from pruner.records.traces import Fact, Key, PairKey, Probe, ProbeKey, TokenIds, Trace, Verdict
from pruner.samplers.base import Completion, Decoding, Request
from pruner.settings.section import Positive

_GREEDY = Decoding(temperature=0.0, stop=())


class ProbeJudgeConfig(JudgeConfig):
    """max_tokens: of a probed answer."""

    name: Literal["probe"]
    max_tokens: Positive
    reads_text: ClassVar[bool] = False

    def tau(self) -> float:
        return 0.5

    def make(self, context: JudgeContext, make_prober: MakeProber) -> ProbeJudge:
        return ProbeJudge(make_prober(self.max_tokens))


@dataclass(frozen=True)
class EngineProber:
    """Writes a probe's request and reads what came of it.

    Attributes:
        opening: text that is appended to a trace, up to and with the brace of the box.
        opening_ids: its tokens.
        max_tokens: of the answer.

    Source: answer probing as in Dynasor and Parallel-Probe (arXiv 2602.03845).
    """

    opening: str
    opening_ids: tuple[int, ...]
    max_tokens: int
    max_model_len: int

    def request(self, key: ProbeKey, prompt: tuple[int, ...], trace: Trace, priority: int) -> Request | None:
        """Return the request for a probe of the trace's first tokens; None if it would not fit the context."""
        ids = TokenIds.join((prompt, trace.token_ids[: key.num_tokens], self.opening_ids))
        if len(ids) + self.max_tokens > self.max_model_len:
            return None
        return Request(key, ids, self.max_tokens, 0, priority, _GREEDY)

    def read(self, key: ProbeKey, completion: Completion | None) -> Probe:
        """Return the fact that a completion gives, or the missing one for a request that could not be made."""
        if completion is None:
            return Probe(key, 0, (), "", None, 0, 0, 0)
        return Probe(
            key=key,
            output_tokens=completion.num_tokens,
            token_ids=completion.token_ids,
            text=completion.text,
            answer=read_answer(self.opening, completion.text),
            prompt_tokens=completion.prompt_tokens,
            cached_tokens=completion.cached_tokens,
            # The sampler has computed the prompt and the trace so far for the trace itself.
            shared_tokens=completion.prompt_tokens - len(self.opening_ids),
        )


class ProbeJudge:
    """A judge of 0 and 1: equal probed answers or not; a pair with an unreadable probe has no verdict.

    Each trace is probed once, at the end of its prefix, however many pairs it is in.
    """

    name = "probe"

    def __init__(self, prober: Prober) -> None:
        self._prober = prober

    def prepares(self, trace_index: int, judged: JudgedProblem) -> tuple[Key, ...]:
        return (self._probe_key(trace_index, judged),)

    def parts(self, pair: PairKey, judged: JudgedProblem) -> tuple[Key, ...]:
        return self._probe_key(pair.left_trace, judged), self._probe_key(pair.right_trace, judged)

    def verdict(self, pair: PairKey, judged: JudgedProblem, parts: Sequence[Fact]) -> Verdict:
        left, right = [probe.final_answer for probe in parts if isinstance(probe, Probe)]
        if left is None or right is None:
            return Verdict(pair, None)
        return Verdict(pair, 1.0 if left.key == right.key else 0.0)

    def request(self, key: Key, judged: JudgedProblem) -> Request | None:
        assert isinstance(key, ProbeKey)
        return self._prober.request(key, judged.prompt_token_ids, judged.traces[key.trace_index].trace, judged.priority)

    def read(self, key: Key, completion: Completion | None, judged: JudgedProblem) -> Probe:
        assert isinstance(key, ProbeKey)
        return self._prober.read(key, completion)

    def _probe_key(self, trace_index: int, judged: JudgedProblem) -> ProbeKey:
        return ProbeKey(judged.problem.problem_id, trace_index, judged.traces[trace_index].prefix.num_tokens)


def read_answer(opening: str, text: str) -> str | None:
    """Return the answer that a probe's completion gives: up to the brace that closes the opening's box, else its first
    line as far as it goes; None if that is empty."""
    if opening.rstrip().endswith("{"):
        content = balanced(text, 0)
        answer = content if content is not None else text.split("\n")[0]
    else:
        answer = last_boxed(opening + text) or text.split("\n")[0]
    return answer.strip() or None
