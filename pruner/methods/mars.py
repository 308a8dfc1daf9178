"""MARS: ask all traces for their answer at a beat; stop when the leader's margin survives the switches that are to be expected.

Warm-up traces run to their end and are asked on the way. From them a logistic model learns how likely a running trace is to end
in another answer than it gives now, and how much of the worst case has to be feared (gamma). Then the other traces run side by side.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from pruner.methods.base import Action, Answer, Ask, Extend, Guess, MethodConfig, MethodContext, Prune, WithoutJudge
from pruner.records.traces import FinalAnswer, Probe, Trace
from pruner.rules import logistic
from pruner.rules.voting import majority_vote, winner
from pruner.settings.section import Positive

_L2 = 0.01
_GRID = tuple(step / 10 for step in range(11))
# With fewer warm-up traces that answered, the worst case is feared.
_FEWEST = 4


class MarsConfig(MethodConfig):
    """The settings of MARS. A beat is one round of probes.

    Attributes:
        every_tokens: tokens that each trace makes between two beats.
        warmup: traces that run to their end first.
        ucb_z: what is added to gamma, over the root of the number of warm-up traces, since these are few.
        gamma_min: the least gamma.
        uses_confidence: whether the chance of a switch also rests on the confidence of a trace's last tokens.
        probe_tokens: the most tokens of an answer that is asked for.
    """

    name: Literal["mars"]
    every_tokens: Positive
    warmup: Positive
    ucb_z: float = Field(ge=0.0, le=10.0)
    gamma_min: float = Field(ge=0.0, le=1.0)
    uses_confidence: bool
    probe_tokens: Positive

    @property
    def asked_tokens(self) -> int:
        return self.probe_tokens

    @property
    def needs_confidence(self) -> bool:
        return self.uses_confidence

    def make(self, context: MethodContext) -> Mars:
        return Mars(context.budget, self)


@dataclass(frozen=True)
class Beat:
    """What a trace said when it was asked. confidence: mean of its last tokens' confidences; 0 where they are not used."""

    num_tokens: int
    answer: FinalAnswer | None
    confidence: float

    @property
    def key(self) -> str | None:
        return None if self.answer is None else self.answer.key


@dataclass(frozen=True)
class Voice:
    """A trace in the vote. switches: how likely it is to end in another answer; 0 once it has ended."""

    key: str | None
    switches: float


class Mars(WithoutJudge):
    """The state of one problem.

    Source: MARS (arXiv 2606.12935), its calibrated variant without the Hoeffding term, as in all its tables. Ours: warm-up traces
    are part of the budget and vote; the model learns from the beats of running traces only, and a trace that has ended cannot switch.
    """

    def __init__(self, budget: int, config: MarsConfig) -> None:
        self._config = config
        self._budget = budget
        self._num_warmup = min(config.warmup, budget)
        self._beats: dict[int, list[Beat]] = {}  # of each trace, in order
        self._confidence: dict[int, float] = {}  # of a trace that is being asked
        self._ended: dict[int, FinalAnswer | None] = {}
        self._running: set[int] = set()
        self._waiting: set[int] = set()  # of these, who was not heard in this beat
        self._beat = 0
        self._switches: Switches | None = None
        self._gamma = 1.0

    def guesses(self, limit: int) -> Sequence[Guess]:
        """Return, during the warm-up, the traces that start after it, up to their first beat."""
        if self._switches is not None:
            return ()
        every, first = self._config.every_tokens, self._num_warmup
        return [Guess(index, 1.0 / (1 + index), every) for index in range(first, min(first + limit, self._budget))]

    def begin(self) -> list[Action]:
        self._running = set(range(self._num_warmup))
        return [self._extend(index) for index in sorted(self._running)]

    def on_segment(self, trace: Trace) -> list[Action]:
        index = trace.trace_index
        if trace.is_finished:
            self._ended[index] = trace.answer
            self._running.remove(index)
            return self._heard(index)
        if trace.num_tokens < self._next_beat(index):
            return [self._extend(index)]
        self._confidence[index] = self._mean_confidence(trace)
        return [Ask(index)]

    def on_probe(self, probe: Probe) -> list[Action]:
        index, answer = probe.key.trace_index, probe.final_answer
        self._beats.setdefault(index, []).append(Beat(probe.key.num_tokens, answer, self._confidence.pop(index)))
        return self._heard(index)

    def _next_beat(self, index: int) -> int:
        return (len(self._beats.get(index, ())) + 1) * self._config.every_tokens

    def _extend(self, index: int) -> Extend:
        return Extend(index, self._next_beat(index))

    def _mean_confidence(self, trace: Trace) -> float:
        if not self._config.uses_confidence:
            return 0.0
        values = [value for segment in trace.segments for value in segment.confidence or ()]
        last = values[-self._config.every_tokens :]
        return math.fsum(last) / len(last)

    def _heard(self, index: int) -> list[Action]:
        if self._switches is None:
            if self._running:
                return [] if index in self._ended else [self._extend(index)]
            return self._begin_beats()
        self._waiting.remove(index)
        return [] if self._waiting else self._end_beat()

    def _begin_beats(self) -> list[Action]:
        """Learn from the warm-up traces, and start all others."""
        if self._budget == self._num_warmup:
            return self._decide()
        self._switches = Switches.learned(self._beats, self._ended)
        self._gamma = calibrated_gamma(self._beats, self._ended, self._config.ucb_z, self._config.gamma_min)
        self._running = set(range(self._num_warmup, self._budget))
        return self._go_on()

    def _go_on(self) -> list[Action]:
        self._beat += 1
        self._waiting = set(self._running)
        return [self._extend(index) for index in sorted(self._running)]

    def _end_beat(self) -> list[Action]:
        if not self._running or (self._is_as_expected() and is_safe(self._voices(), self._gamma)):
            return self._decide()
        return self._go_on()

    def _is_as_expected(self) -> bool:
        """Return whether the first beat's leader is that of the warm-up traces: early on, many traces say the same that mean nothing."""
        if self._beat > 1:
            return True
        warm = winner(majority_vote((index, self._ended[index]) for index in range(self._num_warmup)))
        now = winner(majority_vote(self._answers().items()))
        return warm is None or (now is not None and now.key == warm.key)

    def _voices(self) -> list[Voice]:
        assert self._switches is not None
        ended = [Voice(None if answer is None else answer.key, 0.0) for answer in self._ended.values()]
        running = [(self._beats[index][-1].key, self._beats[index]) for index in sorted(self._running)]
        return [*ended, *(Voice(key, self._switches.chance(beats)) for key, beats in running)]

    def _answers(self) -> dict[int, FinalAnswer | None]:
        return {**self._ended, **{index: self._beats[index][-1].answer for index in self._running}}

    def _decide(self) -> list[Action]:
        answers = self._answers()
        votes = majority_vote(answers.items())
        decided = [Prune(index, "decided") for index in sorted(self._running)]
        return [*decided, Answer(winner(votes), votes, tuple(sorted(answers)))]


class Switches:
    """How likely a running trace is to end in another answer than it gives now.

    Args:
        model: on position, flips, streak, confidence and its trend.
        scale: Platt's, on the model's log odds. None of both: nothing was learned, so every trace is taken to switch.
    """

    def __init__(self, model: logistic.Logistic | None, scale: logistic.Logistic | None) -> None:
        self._model = model
        self._scale = scale

    @classmethod
    def learned(cls, beats: Mapping[int, Sequence[Beat]], ended: Mapping[int, FinalAnswer | None]) -> Switches:
        """Learn from traces that ended with an answer: from each beat, whether another answer came of it."""
        rows, labels = [], []
        for index, answer in sorted(ended.items()):
            own = beats.get(index, ())
            if answer is None:
                continue
            rows += [features(own[: place + 1]) for place in range(len(own))]
            labels += [int(beat.key != answer.key) for beat in own]
        if not rows:
            return cls(None, None)
        model = logistic.fit(rows, labels, _L2)
        odds = [(logistic.logit(model.predict(row)),) for row in rows]
        return cls(model, logistic.fit(odds, labels, _L2))

    def chance(self, beats: Sequence[Beat]) -> float:
        """Return the chance that the trace of these beats switches, to nine places: no rounding of the last bits decides."""
        if self._model is None or self._scale is None:
            return 1.0
        return round(self._scale.predict((logistic.logit(self._model.predict(features(beats))),)), 9)


def features(beats: Sequence[Beat]) -> tuple[float, ...]:
    """Return position, flips, streak, confidence and the trend of the confidence after the last of a trace's beats."""
    keys = [beat.key for beat in beats]
    flips = sum(a != b for a, b in itertools.pairwise(keys))
    streak = 1
    while streak < len(keys) and keys[-streak - 1] == keys[-1]:
        streak += 1
    last = beats[-1]
    trend = last.confidence - beats[-2].confidence if len(beats) > 1 else 0.0
    return (float(last.num_tokens), float(flips), float(streak), last.confidence, trend)


def is_safe(voices: Iterable[Voice], gamma: float) -> bool:
    """Return whether the leader keeps its place against every other answer, and one not given yet, if traces switch as is to be expected.

    Against an answer k its margin has to be larger than the sum of what traces cost it times their chance to switch: 2 gamma for a
    voter of the leader, -1 for one of k, gamma for one of others. A trace without an answer votes for nobody.
    """
    known = [voice for voice in voices if voice.key is not None]
    counts: dict[str, int] = {}
    for voice in known:
        assert voice.key is not None
        counts[voice.key] = counts.get(voice.key, 0) + 1
    if not counts:
        return False
    leader = min(counts, key=lambda key: (-counts[key], key))
    challengers = [None, *(key for key in counts if key != leader)]
    return all(
        counts[leader] - (0 if key is None else counts[key])
        > math.fsum(voice.switches * _cost(voice.key, leader, key, gamma) for voice in known)
        for key in challengers
    )


def _cost(key: str | None, leader: str, challenger: str | None, gamma: float) -> float:
    if key == leader:
        return 2.0 * gamma
    return -1.0 if key == challenger else gamma


def calibrated_gamma(
    beats: Mapping[int, Sequence[Beat]], ended: Mapping[int, FinalAnswer | None], ucb_z: float, gamma_min: float
) -> float:
    """Return the smallest gamma with which the warm-up traces alone would have been stopped at the same answer as with gamma 1.

    It is the last of those on the grid, counted down from 1 as long as the answer stays, plus ucb_z / sqrt(traces that answered then).
    """
    known = {index: answer for index, answer in ended.items() if answer is not None}
    if len(known) < _FEWEST:
        return 1.0
    stops = {gamma: _stop(beats, known, gamma) for gamma in _GRID}
    expected, num_answers = stops[1.0]
    least = 1.0
    for gamma in reversed(_GRID):
        if stops[gamma][0] != expected:
            break
        least = gamma
    least = min(1.0, least + ucb_z / math.sqrt(max(1, num_answers)))
    return round(max(least, gamma_min), 2)


def _stop(
    beats: Mapping[int, Sequence[Beat]], ended: Mapping[int, FinalAnswer], gamma: float
) -> tuple[str | None, int]:
    """Return the answer at which these traces are stopped, when it is known who will switch, and how many had answered."""
    for place in range(max(len(beats.get(index, ())) for index in ended)):
        voices = []
        for index, answer in ended.items():
            own = beats.get(index, ())
            said = own[place].key if place < len(own) else answer.key
            voices.append(Voice(said, float(said != answer.key)))
        if is_safe(voices, gamma):
            counts = [voice.key for voice in voices if voice.key is not None]
            return min(set(counts), key=lambda key: (-counts.count(key), key)), len(counts)
    last = winner(majority_vote(ended.items()))
    return (None if last is None else last.key), len(ended)
