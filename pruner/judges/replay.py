"""Judges and the prober of a replay: the recorded verdicts, the truth, or the truth with a given amount of noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar, Literal

from pydantic import Field

from pruner.errors import InputError
from pruner.judges.base import (
    JudgeConfig,
    JudgeContext,
    JudgedProblem,
    KeyOf,
    MakeProber,
    WithoutRequests,
    same_answer,
)
from pruner.recordings.replay import Replay
from pruner.records.traces import Fact, Key, PairKey, Probe, ProbeKey, Trace, Verdict, hash64
from pruner.samplers.base import Completion, Request
from pruner.settings.section import Natural, Share

_NORMAL = NormalDist()


@dataclass(frozen=True)
class RecordedProber:
    """Answers that were asked of the traces when they were recorded.

    A probe at a place where none was recorded is the last one before it; a trace's first tokens, before the first one was
    recorded, have no readable answer.

    Attributes:
        output_tokens, opening_tokens: what a probe costs where the recording does not say.
    """

    replay: Replay
    output_tokens: int
    opening_tokens: int

    def request(self, key: ProbeKey, prompt: tuple[int, ...], trace: Trace, priority: int) -> Request | None:
        return None  # there is no engine to ask

    def read(self, key: ProbeKey, completion: Completion | None) -> Probe:
        """Return the recorded probe.

        Raises:
            InputError: the trace was recorded without probes.
        """
        recorded = self.replay.probe(key)
        if recorded is not None:
            return recorded
        trace = self.replay.trace(key.problem_id, key.trace_index)
        if not trace.probes:
            raise InputError(
                f"sampler.source: trace {trace.trace_index} of problem {key.problem_id} was recorded without probes. Choose a "
                "method or a judge that asks for none, or record with one that does."
            )
        probe = trace.probe_at(key.num_tokens)
        answer = probe[1] if probe is not None else None
        shared = self.replay.source(key.problem_id).prompt_tokens + key.num_tokens
        return Probe(key, self.output_tokens, (), answer or "", answer, shared + self.opening_tokens, 0, shared)


class NoisyOracleJudgeConfig(JudgeConfig):
    """Replay only: a judge of a given quality. auroc: of its scores over pairs. prior: P(same) that it reckons with. correlation: the
    share of its errors' variance that is the two traces' own, so that it errs alike on all pairs of a trace; 0: every pair by itself.
    pair_tokens: of its prompt beside the two prefixes; null: it costs nothing."""

    name: Literal["noisy_oracle"]
    auroc: float = Field(ge=0.5, le=1.0)
    prior: float = Field(gt=0.0, lt=1.0)
    correlation: Share = 0.0
    pair_tokens: Natural | None
    reads_text: ClassVar[bool] = False
    needs_recording: ClassVar[bool] = True

    def tau(self) -> float:
        return 0.5

    def make(self, context: JudgeContext, make_prober: MakeProber) -> NoisyOracle:
        assert context.replay is not None
        return NoisyOracle(self, context.replay, context.key_of, context.seed)


class NoisyOracle(WithoutRequests):
    """A judge of a given quality: it sees whether two traces' final answers are equal through Gaussian noise.

    A pair's evidence is normal with mean +d/2 (same) or -d/2 (different) and unit variance, where d = sqrt(2) *
    inverse-Phi(AUROC), so that a same pair's is above a different one's with probability AUROC. The score is the
    posterior P(same) under `prior`. With AUROC 1 it is the truth. The noise is the pair's own and, as far as errors are correlated, the sum
    of what is each trace's own.

    Args:
        key_of: an answer's canonical key.
    """

    name = "noisy_oracle"

    def __init__(self, config: NoisyOracleJudgeConfig, replay: Replay, key_of: KeyOf, seed: int) -> None:
        self._config = config
        self._replay = replay
        self._key_of = key_of
        self._distance = math.sqrt(2.0) * _NORMAL.inv_cdf(config.auroc) if config.auroc < 1.0 else math.inf
        self._prior = math.log(config.prior / (1.0 - config.prior))
        self._seed = seed

    def verdict(self, pair: PairKey, judged: JudgedProblem, parts: Sequence[Fact]) -> Verdict:
        left, right = (self._replay.trace(pair.problem_id, i).answer for i in (pair.left_trace, pair.right_trace))
        score = self.score(pair, same_answer(left, right, self._key_of))
        tokens = self._config.pair_tokens
        if tokens is None:
            return Verdict(pair, score)
        head = tokens // 2 + judged.traces[pair.left_trace].prefix.num_tokens
        tail = tokens - tokens // 2 + judged.traces[pair.right_trace].prefix.num_tokens
        return Verdict(pair, score, prompt_tokens=head + tail, head_tokens=head, output_tokens=1)

    def score(self, pair: PairKey, is_same: bool) -> float:
        """Return P(same) as this judge sees it; the same pair always gets the same score."""
        if math.isinf(self._distance):
            return float(is_same)
        evidence = self._noise(pair) + (0.5 if is_same else -0.5) * self._distance
        return 1.0 / (1.0 + math.exp(-(self._distance * evidence + self._prior)))

    def _noise(self, pair: PairKey) -> float:
        """Return a draw from a standard normal, always the same for a pair."""
        shared = self._config.correlation
        of_pair = self._normal("noise", pair.problem_id, pair.left_trace, pair.right_trace)
        if not shared:
            return of_pair
        of_traces = sum(self._normal("trace noise", pair.problem_id, i) for i in (pair.left_trace, pair.right_trace))
        return math.sqrt(1.0 - shared) * of_pair + math.sqrt(shared / 2.0) * of_traces

    def _normal(self, *parts: int | str) -> float:
        return _NORMAL.inv_cdf((hash64(self._seed, *parts) + 0.5) / 2**63)


class RecordedJudgeConfig(JudgeConfig):
    """Replay only: the verdicts of the replayed run."""

    name: Literal["recorded"]
    reads_text: ClassVar[bool] = False
    needs_recording: ClassVar[bool] = True

    def make(self, context: JudgeContext, make_prober: MakeProber) -> RecordedJudge:
        assert context.replay is not None
        return RecordedJudge(context.replay)


class RecordedJudge:
    """The judge of the replayed run: its verdicts and probes, each at its recorded cost.

    The order in which a pair is put to it does not matter to what it says, so both recorded orders stand for the pair.
    """

    name = "recorded"

    def __init__(self, replay: Replay) -> None:
        """Raises InputError: the recording has no verdicts, or is resampled."""
        if replay.is_resampled:
            raise InputError(
                "judge: got recorded with sampler.resample; other orders have other pairs. Set it to null."
            )
        if not replay.recording.verdicts:
            raise InputError("judge: got recorded, but sampler.source is no run of a method with a judge.")
        self._recording = replay.recording

    def prepares(self, trace_index: int, judged: JudgedProblem) -> tuple[Key, ...]:
        key = ProbeKey(judged.problem.problem_id, trace_index, judged.traces[trace_index].prefix.num_tokens)
        return (key,) if key in self._recording.probes else ()

    def parts(self, pair: PairKey, judged: JudgedProblem) -> tuple[Key, ...]:
        probes = (*self.prepares(pair.left_trace, judged), *self.prepares(pair.right_trace, judged))
        reverse = PairKey(pair.problem_id, pair.right_trace, pair.left_trace)
        orders = tuple(key for key in (pair, reverse) if key in self._recording.verdicts) or (pair,)
        return (*probes, *orders)

    def verdict(self, pair: PairKey, judged: JudgedProblem, parts: Sequence[Fact]) -> Verdict:
        """Return the pair's verdict, the mean of both orders where both were recorded."""
        scores = [fact.score for fact in parts if isinstance(fact, Verdict) and fact.score is not None]
        return Verdict(pair, sum(scores) / len(scores) if scores else None)

    def request(self, key: Key, judged: JudgedProblem) -> Request | None:
        return None  # there is no engine to ask

    def read(self, key: Key, completion: Completion | None, judged: JudgedProblem) -> Probe | Verdict:
        """Raises InputError: the run did not judge this pair."""
        probes, verdicts = self._recording.probes, self._recording.verdicts
        fact: Probe | Verdict | None = None
        if isinstance(key, ProbeKey):
            fact = probes.get(key)
        elif isinstance(key, PairKey):
            fact = verdicts.get(key)
        if fact is None:
            raise InputError(
                f"sampler.source: the run has no verdict on {key}. Replay it with the method and settings that it had, or with "
                "another judge."
            )
        return fact
