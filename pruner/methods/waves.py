"""Waves: start few traces, start more only while the outcome is open, and stop what runs once it is not.

Our own method. Pure: it sees lengths and answers of one problem's traces, and nothing of other problems.

The rule. V1 >= V2 are the votes of the two leading answers among V votes so far. With B ~ Beta(V1 + 1, V2 + 1), the share of
the leader among the two, answering now is expected to lose

    regret = (V1 + V2 + 2) / (V + 2) * E[max(0, 1 - 2 B)]

of agreement: the posterior mean by which the runner-up's share of all traces is above the leader's. Scattered votes make it
small, since the two that lead then stand for little: more traces would not settle such a problem, and it is given up.

What may be lost is weighed against what was spent. W is all tokens sampled so far, in lengths of the shortest trace that
answered. The problem is answered as soon as

    regret <= (1 - confidence) * (W / spend_unit) ** spend_power

so `confidence` says: once a problem has cost spend_unit of its shortest traces, an expected loss in agreement of
1 - confidence is accepted; less before, more after. It is not the probability that the answer is right.

The answer is a vote weighted by (shortest / length) ** brevity: of a problem's traces the short ones are more often right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb
from typing import Literal

from pydantic import Field

from pruner.clustering import Cluster
from pruner.methods.base import Action, Answer, Ask, Extend, MethodConfig, MethodContext, Prune
from pruner.settings.section import Positive
from pruner.traces import FinalAnswer, Probe, Trace, Verdict
from pruner.voting import Vote, majority_vote, winner


class WavesConfig(MethodConfig):
    """The settings of waves.

    Attributes:
        confidence: see the module.
        every_tokens: traces are advanced in rounds of so many tokens; a decision is made when all of a round are done.
        width: the most traces that run at once.
        asks: ask running traces for their answer while all finished ones agree, and count who agrees with them.
        probe_tokens: the most tokens of such an answer.
        spend_unit, spend_power, brevity: see the module.
    """

    name: Literal["waves"]
    confidence: float = Field(ge=0.5, lt=1.0)
    every_tokens: Positive
    width: Positive
    asks: bool
    probe_tokens: Positive
    spend_unit: float = Field(gt=0.0, le=1e9)
    spend_power: float = Field(ge=0.0, le=100.0)
    brevity: float = Field(ge=0.0, le=100.0)

    @property
    def asked_tokens(self) -> int | None:
        return self.probe_tokens if self.asks else None

    def accepted(self, spend: float) -> float:
        """Return the regret that is accepted after so much was spent, in lengths of the shortest answered trace."""
        return (1.0 - self.confidence) * (spend / self.spend_unit) ** self.spend_power

    def make(self, context: MethodContext) -> Waves:
        return Waves(context.budget, self)


@lru_cache(maxsize=65536)
def regret(first: int, second: int, votes: int) -> float:
    """Return the posterior mean of what the runner-up's share may be above the leader's.

    Args:
        first, second: votes for the leading two answers.
        votes: all votes.
    """
    a, b = first + 1, second + 1
    lost = half_tail(a, b) - 2 * a / (a + b) * half_tail(a + 1, b)
    return lost * (a + b) / (votes + 2)


def half_tail(a: int, b: int) -> float:
    """Return P(B < 1/2) for B ~ Beta(a, b) with whole a, b: a fair coin shows at least a heads in a + b - 1 throws."""
    throws = a + b - 1
    return sum(comb(throws, heads) for heads in range(a, throws + 1)) / 2**throws


@dataclass(frozen=True)
class Tally:
    """What the finished traces say. first, second: votes of the leading two; shortest: tokens of the shortest with an answer."""

    first: int = 0
    second: int = 0
    votes: int = 0
    leader: FinalAnswer | None = None
    shortest: int = 0


class Waves:
    """The state of one problem.

    A round ends when every running trace has made its step or has finished; only then is anything decided, so the order in
    which traces arrive does not matter.
    """

    clusters: tuple[Cluster, ...] = ()

    def __init__(self, budget: int, config: WavesConfig) -> None:
        self._budget = budget
        self._config = config
        self._started = 0
        self._running: dict[int, int] = {}  # tokens so far
        self._targets: dict[int, int] = {}  # of those that are still on their way in this round
        self._finished: dict[int, Trace] = {}
        self._asking: dict[int, FinalAnswer | None] | None = (
            None  # what running traces answered; None: not asked in this round
        )

    def prefix_tokens(self, trace: Trace) -> int:
        return 0

    def begin(self) -> list[Action]:
        count = 1
        while count < min(self._config.width, self._budget) and regret(count, 0, count) > self._config.accepted(count):
            count += 1
        return self._start(count)

    def on_segment(self, trace: Trace) -> list[Action]:
        index = trace.trace_index
        self._running[index] = trace.num_tokens
        if trace.is_finished:
            self._finished[index] = trace
            del self._running[index]
        elif trace.num_tokens < self._targets[index]:
            return [Extend(index, self._targets[index])]
        del self._targets[index]
        return [] if self._targets else self._decide()

    def on_probe(self, probe: Probe) -> list[Action]:
        assert self._asking is not None
        self._asking[probe.key.trace_index] = probe.final_answer
        return self._decide_with_asked() if len(self._asking) == len(self._running) else []

    def on_verdicts(self, verdicts: Sequence[Verdict]) -> list[Action]:
        raise AssertionError("waves compares no traces")

    def _decide(self) -> list[Action]:
        tally = self._tally()
        if tally.votes and regret(tally.first, tally.second, tally.votes) <= self._accepted(tally):
            return self._answer()
        # Asked answers confirm, they do not contest: they count only as long as the finished traces agree.
        if self._config.asks and self._running and tally.votes and tally.first == tally.votes:
            self._asking = {}
            return [Ask(index) for index in sorted(self._running)]
        return self._go_on(tally)

    def _decide_with_asked(self) -> list[Action]:
        tally, asked = self._tally(), self._asking
        self._asking = None
        assert asked is not None and tally.leader is not None
        backing = sum(answer is not None and answer.key == tally.leader.key for answer in asked.values())
        if regret(tally.first + backing, 0, tally.first + backing) <= self._accepted(tally):
            return self._answer()
        return self._go_on(tally)

    def _go_on(self, tally: Tally) -> list[Action]:
        fresh = self._wave(tally)
        if not fresh and not self._running:
            return self._answer()
        return [*(self._extend(index) for index in sorted(self._running)), *self._start(fresh)]

    def _wave(self, tally: Tally) -> int:
        """Return the fewest new traces that would settle the outcome if they and all that run backed the leader."""
        live = len(self._running)
        room = min(self._budget - self._started, self._config.width - live)
        rest = tally.votes - tally.first - tally.second
        accepted = self._accepted(tally)
        count = 0
        while count < room:
            first = tally.first + live + count
            spend = (1 + count / self._started) ** self._config.spend_power
            if regret(first, tally.second, first + tally.second + rest) <= accepted * spend:
                break
            count += 1
        return max(count, 1) if room > 0 and live == 0 else max(count, 0)

    def _accepted(self, tally: Tally) -> float:
        if not tally.shortest:
            return self._config.accepted(self._started)
        spent = sum(trace.num_tokens for trace in self._finished.values()) + sum(self._running.values())
        return self._config.accepted(spent / tally.shortest)

    def _tally(self) -> Tally:
        votes = majority_vote(self._answers())
        if not votes:
            return Tally()
        first, second = [*(len(vote.traces) for vote in votes), 0][:2]
        voters = [index for vote in votes for index in vote.traces]
        return Tally(first, second, len(voters), votes[0].answer, self._shortest(voters))

    def _answer(self) -> list[Action]:
        votes = self._weighted_votes()
        prunes = [Prune(index, "decided") for index in sorted(self._running)]
        return [*prunes, Answer(winner(votes), votes, tuple(sorted(self._finished)))]

    def _weighted_votes(self) -> tuple[Vote, ...]:
        answers = self._answers()
        voters = [index for index, answer in answers if answer is not None]
        if not voters:
            return ()
        shortest = self._shortest(voters)
        weights = {index: (shortest / self._finished[index].num_tokens) ** self._config.brevity for index in voters}
        return majority_vote(answers, weights)

    def _answers(self) -> list[tuple[int, FinalAnswer | None]]:
        return [(index, trace.answer) for index, trace in self._finished.items()]

    def _shortest(self, voters: Sequence[int]) -> int:
        return min(max(1, self._finished[index].num_tokens) for index in voters)

    def _start(self, count: int) -> list[Action]:
        fresh = range(self._started, self._started + count)
        self._started = fresh.stop
        self._running |= dict.fromkeys(fresh, 0)
        return [self._extend(index) for index in fresh]

    def _extend(self, index: int) -> Extend:
        self._targets[index] = self._running[index] + self._config.every_tokens
        return Extend(index, self._targets[index])
