"""The oracle: it knows the final answers of the same traces from a run that finished them. An upper bound, not a method.

A run of `method=cons` with the same seed, model and segments samples the very same traces, as far as a method's segment
boundaries lie on the same grid; its answers are looked up here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pruner.errors import InputError
from pruner.judges.base import (
    Judge,
    JudgeConfig,
    JudgeContext,
    JudgedProblem,
    KeyOf,
    MakeProber,
    WithoutRequests,
    same_answer,
)
from pruner.judges.replay import NoisyOracle, NoisyOracleJudgeConfig
from pruner.recordings.recording import Recording, ReplayColumns, read_recording
from pruner.records.traces import Fact, PairKey, Verdict
from pruner.results.run_tables import Cuts, cuts_of, run_fingerprint
from pruner.samplers.base import SamplerConfig
from pruner.settings.section import FilePath, local_path


class OracleJudgeConfig(JudgeConfig):
    """source: the folder of a run of method=cons over the same traces; null with sampler=replay, which knows them."""

    name: Literal["oracle"]
    source: FilePath | None = None
    not_identity: ClassVar[tuple[str, ...]] = ("source",)
    reads_text: ClassVar[bool] = False

    def tau(self) -> float:
        return 0.5

    def fault(self, sampler: SamplerConfig) -> str | None:
        if sampler.has_recording or self.source is not None:
            return None
        return "judge.source: got null, expected the folder of a run of method=cons over the same traces"

    def check(self, context: JudgeContext) -> None:
        if self.source is not None and context.sampler.has_engine:
            sampler = context.sampler
            mine = Cuts(sampler.segment_tokens, sampler.cache_block_tokens, sampler.align_tokens)
            check_cuts(context.prefix.make().max_tokens, mine, local_path(self.source))

    def fingerprints(self, known: Mapping[str, str]) -> dict[str, str]:
        return {} if self.source is None else {"judge": run_fingerprint(local_path(self.source))}

    def make(self, context: JudgeContext, make_prober: MakeProber) -> Judge:
        if self.source is None:
            assert context.replay is not None
            exact = NoisyOracleJudgeConfig(name="noisy_oracle", auroc=1.0, prior=0.5, pair_tokens=None)
            return NoisyOracle(exact, context.replay, context.key_of, context.seed)
        return OracleJudge(read_recording(self.source, ReplayColumns()), context.key_of)


class OracleJudge(WithoutRequests):
    """1 for two traces with equal final answers, 0 for others; free of charge."""

    name = "oracle"

    def __init__(self, recording: Recording, key_of: KeyOf) -> None:
        """Raises InputError: the recording has no texts. key_of: an answer's canonical key."""
        if not recording.has_text:
            raise InputError("judge.source: its traces have no text. Run it with results.text=true.")
        self._recording = recording
        self._key_of = key_of

    def verdict(self, pair: PairKey, judged: JudgedProblem, parts: Sequence[Fact]) -> Verdict:
        left, right = (self._answer(index, judged) for index in (pair.left_trace, pair.right_trace))
        return Verdict(pair, float(same_answer(left, right, self._key_of)))

    def _answer(self, index: int, judged: JudgedProblem) -> str | None:
        problem_id, prefix = judged.problem.problem_id, judged.traces[index].prefix.text
        recorded = self._recording.problems.get(problem_id)
        trace = None if recorded is None else recorded.traces.get(index)
        if trace is None or trace.finish_reason is None or not trace.text.startswith(prefix):
            is_other = trace is not None and trace.finish_reason is not None
            reason = "has another trace there" if is_other else "has no such trace"
            raise InputError(
                f"judge.source: {reason} (problem {problem_id}, trace {index}). It must be a run of method=cons with the "
                "same seed, model and budget, and with sampler.segment_tokens such that prefixes end on it."
            )
        return trace.answer


def check_cuts(prefix_tokens: int, mine: Cuts, source: Path) -> None:
    """Refuse a run whose traces are others: each segment has a seed of its own, so traces are the same only if they are cut at the
    same places, and methods cut at the prefix.

    Raises:
        InputError: with what to set.
    """
    theirs, segment_tokens = cuts_of(source), mine.segment_tokens
    assert segment_tokens is not None
    if (
        theirs.segment_tokens != segment_tokens
        or prefix_tokens % segment_tokens
        or theirs.align_tokens
        or mine.align_tokens
    ):
        raise InputError(
            f"judge.source: {source} has segments of {theirs.segment_tokens} tokens, this run has {segment_tokens} and prefixes of "
            f"{prefix_tokens}, so its traces are not these. Set sampler.segment_tokens={prefix_tokens}, or a divisor of it, and "
            "sampler.aligned=false in both runs."
        )
