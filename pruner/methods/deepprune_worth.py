"""DeepPrune that spends little: a prefix that the judge takes for an answer which is there votes for it and goes no further.

Our own method. Traces start a few at a time, as long as one more vote is worth its tokens (worth.py). The first ones finish. Each later
trace is judged, once its prefix is complete, against finished traces of every answer so far: if it is similar enough to those of one, it is
pruned, and its vote counts for that answer; else it goes on to an answer of its own. So a trace that brings nothing new costs its
prefix and a few pairs, and one that seems to differ is heard in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Literal

from pydantic import Field

from pruner.methods.base import Action, Answer, Compare, Extend, Guess, MethodConfig, MethodContext, Prepare, Prune
from pruner.methods.deepprune import Tau, known_tau
from pruner.methods.wave_method import Finished
from pruner.methods.worth import look_ahead
from pruner.records.traces import FinalAnswer, Probe, Trace, Verdict
from pruner.rules.clustering import Cluster, representatives
from pruner.rules.voting import majority_vote, winner
from pruner.settings.section import Positive

# So many traces finish whatever the judge would say of them: the rule needs two votes.
_FIRST = 2


class DeepPruneWorthConfig(MethodConfig):
    """The settings.

    Attributes:
        price: stop once a typical trace raises the answer's share by less; a smaller price costs more tokens.
        tau: a prefix that is more similar than this to an answer's traces votes for it; `auto`: the judge's own threshold.
        k1: finished traces of each answer that a prefix is compared with.
        step: traces started at once after the first two.
        typical_tokens: of a trace; see worth.
    """

    name: Literal["deepprune_worth"]
    price: float = Field(gt=0.0, le=1.0)
    tau: Tau
    k1: Positive
    step: Positive
    typical_tokens: Positive | None

    @property
    def uses_judge(self) -> bool:
        return True

    @property
    def uses_typical_tokens(self) -> bool:
        return self.typical_tokens is None

    def make(self, context: MethodContext) -> DeepPruneWorth:
        return DeepPruneWorth(context, self)


class DeepPruneWorth:
    """The state of one problem.

    Prefixes are judged against traces of earlier steps only, so the order in which traces of one step are heard cannot matter.
    """

    def __init__(self, context: MethodContext, config: DeepPruneWorthConfig) -> None:
        self._context = context
        self._config = config
        self._tau = known_tau(config.tau)
        self._price = Fraction(repr(config.price))
        self._typical_tokens = config.typical_tokens or context.typical_tokens
        self._heard = Finished()
        self._texts: dict[str, FinalAnswer] = {}  # an answer by its key, as the lowest trace spelled it
        self._comparable: dict[
            str, list[int]
        ] = {}  # finished traces of earlier steps that have a prefix, by the key of their answer
        self._pruned: set[int] = set()
        self._leader: str | None = None  # after the last step
        self._prefixes: dict[int, Trace] = {}
        self._prepared: set[int] = set()
        self._pairs: dict[
            int, dict[str, tuple[int, ...]]
        ] = {}  # of a trace that is judged: members compared with, by answer
        self._verdicts: dict[tuple[int, int], float | None] = {}
        self._step = range(0)

    @property
    def clusters(self) -> tuple[Cluster, ...]:
        """The traces of each answer, those that were taken for it included, by their first one."""
        members: dict[str, list[int]] = {}
        for index, answer in self._heard.answers.items():
            if answer is not None:
                members.setdefault(answer.key, []).append(index)
        return tuple(sorted((Cluster(tuple(sorted(each))) for each in members.values()), key=lambda each: each.members))

    def prefix_tokens(self, trace: Trace) -> int:
        prefix = self._prefixes.get(trace.trace_index)
        return trace.num_tokens if prefix is None else prefix.num_tokens

    def guesses(self, limit: int) -> Sequence[Guess]:
        """Return the next traces in order, up to their prefixes: most will not be wanted beyond."""
        first, until = self._step.stop, self._context.truncation.max_tokens
        end = min(first + limit, self._context.budget)
        return [Guess(index, 1.0 / (1 + index - first), until) for index in range(first, end)]

    def begin(self) -> list[Action]:
        return self._start(_FIRST)

    def on_segment(self, trace: Trace) -> list[Action]:
        index = trace.trace_index
        if trace.is_finished:
            self._heard.add(trace)
            return self._end_step()
        if index in self._prefixes:
            return [Extend(index)]
        if self._context.truncation.prefix(trace) is None:
            return [Extend(index, self._context.truncation.max_tokens)]
        self._prefixes[index] = trace
        return self._judge(index)

    def on_verdicts(self, verdicts: Sequence[Verdict]) -> list[Action]:
        actions: list[Action] = []
        for verdict in verdicts:
            self._verdicts[verdict.key.left_trace, verdict.key.right_trace] = verdict.score
            actions += self._place(verdict.key.right_trace)
        return actions

    def on_probe(self, probe: Probe) -> list[Action]:
        raise AssertionError("deepprune_worth leaves probes to its judge")

    def _start(self, count: int) -> list[Action]:
        first = self._step.stop
        self._step = range(first, min(self._context.budget, first + count))
        return [Extend(index, self._context.truncation.max_tokens) for index in self._step]

    def _judge(self, index: int) -> list[Action]:
        """Compare a complete prefix with some traces of every answer; let it go on if there are none."""
        found = {
            key: representatives(self._context.seed, self._context.problem_id, Cluster(tuple(members)), self._config.k1)
            for key, members in self._comparable.items()
        }
        if not found:
            return [Extend(index)]
        self._pairs[index] = found
        compared = sorted(member for members in found.values() for member in members)
        fresh = tuple(each for each in (*compared, index) if each not in self._prepared)
        self._prepared.update(fresh)
        pairs = tuple((member, index) for member in compared)
        return [Prepare(fresh), Compare(pairs)]

    def _place(self, index: int) -> list[Action]:
        """Once all pairs of a prefix are judged, prune it or let it go on."""
        found = self._pairs[index]
        if any((member, index) not in self._verdicts for members in found.values() for member in members):
            return []
        similar = {key: self._similarity(index, members) for key, members in found.items()}
        # Of answers that are equally similar, that of the lowest trace.
        best = max(found, key=lambda key: (similar[key], -self._comparable[key][0]))
        if similar[best] <= self._tau:
            return [Extend(index)]
        self._pruned.add(index)
        self._heard.add(replace(self._prefixes[index], answer=self._texts[best]))
        return [Prune(index, "redundant" if best == self._leader else "minority"), *self._end_step()]

    def _similarity(self, index: int, members: tuple[int, ...]) -> float:
        scores = [self._verdicts[member, index] for member in members]
        known = [score for score in scores if score is not None]
        return sum(known) / len(known) if known else 0.0

    def _end_step(self) -> list[Action]:
        """Once every trace of the step is heard, start more or answer."""
        answers = self._heard.answers
        if any(index not in answers for index in self._step):
            return []
        for index in self._step:
            answer = answers[index]
            if answer is not None and index not in self._pruned:
                self._texts.setdefault(answer.key, answer)
                if index in self._prefixes:
                    self._comparable.setdefault(answer.key, []).append(index)
        votes = majority_vote(answers.items())
        leader = winner(votes)
        self._leader = None if leader is None else leader.key
        budget = self._context.budget
        if self._step.stop < budget and look_ahead(self._heard, budget, self._price, self._typical_tokens):
            return self._start(self._config.step)
        return [Answer(leader, votes, tuple(range(self._step.stop)))]
