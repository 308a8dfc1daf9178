"""DeepPrune: judge prefixes, cluster greedily, finish a few traces of the largest cluster, vote.

Pure: verdicts come in as facts, and nothing here knows what made them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, PlainValidator

from pruner.methods.base import Action, Answer, Compare, Extend, Guess, MethodConfig, MethodContext, Prepare, Prune
from pruner.records.traces import FinalAnswer, Probe, Trace, Verdict
from pruner.rules.clustering import Cluster, ClusterRule, Joins, Undecided, apply, largest, place, representatives
from pruner.rules.voting import majority_vote, winner
from pruner.settings.section import Positive

_HALF = 0.5


def _tau(given: object) -> object:
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if given == "auto" or (is_number and 0.0 <= float(given) <= 1.0):  # type: ignore[arg-type]
        return given
    raise ValueError(f"got {given!r}, expected a number from 0 to 1, or auto")


# A similarity, or the judge's own threshold, which is looked up when the judge is known; see Config.
Tau = Annotated[float | Literal["auto"], PlainValidator(_tau)]


def known_tau(tau: float | Literal["auto"]) -> float:
    """Return a threshold that was looked up; see Config."""
    assert tau != "auto", "the judge's threshold was not looked up"
    return tau


class DeepPruneConfig(MethodConfig):
    """DeepPrune's settings.

    Attributes:
        tau: a trace joins a cluster only above this similarity; `auto`: the judge's own threshold.
        k: K, the most clusters.
        k1: K1, the members of a cluster that a newcomer is compared with.
        k2: K2, the most traces of the largest cluster that finish.
        k3: K3, how many traces finish when every cluster is a singleton.
        finish_share: at most this share of the budget finishes, so that K2 of a large budget still prunes a small one;
            at the paper's N = 512 and K2 = 20 it does not bind.
        similarity: to a cluster: the mean of the judge's `probabilities`, or of its `decisions`, probabilities above one half.
        assign: see ClusterRule.
        answer: `vote` (finish traces of the largest cluster and vote) or `representatives` (finish one trace of every
            cluster; its answer weighs as much as its cluster has members).
    """

    name: Literal["deepprune"]
    tau: Tau
    k: Positive
    k1: Positive
    k2: Positive
    k3: Positive
    finish_share: float = Field(gt=0.0, le=1.0)
    similarity: Literal["probabilities", "decisions"]
    assign: Literal["best", "first", "oldest"]
    answer: Literal["vote", "representatives"]

    @property
    def uses_judge(self) -> bool:
        return True

    def make(self, context: MethodContext) -> DeepPrune:
        return DeepPrune(context, self)


class DeepPrune:
    """The state of one problem.

    Traces that finish before their prefix is complete need no judge: they are in no cluster and vote with their real
    answer. All others are placed in index order, trace i once 0..i-1 are.

    Source: DeepPrune (arXiv 2510.08483), sections on online greedy clustering and majority voting.
    """

    def __init__(self, context: MethodContext, config: DeepPruneConfig) -> None:
        self._problem_id = context.problem_id
        self._budget = context.budget
        self._seed = context.seed
        self._truncation = context.truncation
        self._config = config
        self._cluster_rule = ClusterRule(known_tau(config.tau), config.k, config.k1, config.assign)
        self._answers: dict[int, FinalAnswer | None] = {}
        self._prefix_tokens: dict[int, int] = {}
        self._verdicts: dict[tuple[int, int], float | None] = {}
        self._asked: set[tuple[int, int]] = set()
        self._next_index = 0
        self._finishing: frozenset[int] | None = None
        self._is_answered = False
        self._members: tuple[tuple[int, ...], ...] = ()
        self.clusters: tuple[Cluster, ...] = ()

    def prefix_tokens(self, trace: Trace) -> int:
        return self._prefix_tokens.get(trace.trace_index, trace.num_tokens)

    def guesses(self, limit: int) -> Sequence[Guess]:
        return ()

    def begin(self) -> list[Action]:
        return [Extend(i, self._truncation.max_tokens) for i in range(self._budget)]

    def on_segment(self, trace: Trace) -> list[Action]:
        index = trace.trace_index
        if trace.is_finished:
            self._answers[index] = trace.answer
            return self._advance()
        if index in self._prefix_tokens:
            return [Extend(index)]
        prefix = self._truncation.prefix(trace)
        if prefix is None:
            return [Extend(index, self._truncation.max_tokens)]
        self._prefix_tokens[index] = trace.num_tokens
        return [*self._prepare(index), *self._advance()]

    def on_verdicts(self, verdicts: Sequence[Verdict]) -> list[Action]:
        for verdict in verdicts:
            self._verdicts[verdict.key.left_trace, verdict.key.right_trace] = self._score(verdict)
        return self._advance()

    def on_probe(self, probe: Probe) -> list[Action]:
        raise AssertionError("deepprune leaves probes to its judge")

    def _score(self, verdict: Verdict) -> float | None:
        if verdict.score is None or self._config.similarity == "probabilities":
            return verdict.score
        return float(verdict.score > _HALF)

    def _prepare(self, index: int) -> list[Action]:
        """Prepare the judge for a complete prefix; for the first one only when there is a second to compare it with."""
        count = len(self._prefix_tokens)
        if count == 1:
            return []
        return [Prepare((index,) if count > 2 else tuple(self._prefix_tokens))]

    def _advance(self) -> list[Action]:
        """Place whichever traces can be placed; once all are, choose who finishes; once they have, vote."""
        if self._finishing is not None:
            return self._conclude()
        while self._next_index < self._budget:
            index = self._next_index
            if index in self._prefix_tokens:
                needed = self._place(index)
                if needed:
                    fresh = tuple(pair for pair in needed if pair not in self._asked)
                    self._asked.update(fresh)
                    return [Compare(fresh)] if fresh else []
            elif index not in self._answers:
                return []
            self._next_index += 1
        return self._choose_finishers()

    def _place(self, index: int) -> tuple[tuple[int, int], ...]:
        placement = place(self.clusters, index, self._verdicts, self._cluster_rule, self._members)
        if isinstance(placement, Undecided):
            return placement.pairs
        self.clusters = apply(self.clusters, index, placement)
        changed = placement.cluster_index if isinstance(placement, Joins) else len(self.clusters) - 1
        drawn = representatives(self._seed, self._problem_id, self.clusters[changed], self._config.k1)
        self._members = (*self._members[:changed], drawn, *self._members[changed + 1 :])
        return ()

    def _choose_finishers(self) -> list[Action]:
        self._finishing = self._finishers()
        actions: list[Action] = [Extend(i) for i in sorted(self._finishing)]
        leader = self.clusters[largest(self.clusters)].members if self.clusters else ()
        for index in sorted(self._prefix_tokens):
            if index not in self._finishing:
                actions.append(Prune(index, "redundant" if index in leader else "minority"))
        return actions + self._conclude()

    def _finishers(self) -> frozenset[int]:
        if not self.clusters:
            return frozenset()
        if self._config.answer == "representatives":
            return frozenset(cluster.members[0] for cluster in self.clusters)
        share = math.ceil(self._config.finish_share * self._budget)
        if all(len(cluster.members) == 1 for cluster in self.clusters):
            everyone = sorted(cluster.members[0] for cluster in self.clusters)
            return frozenset(everyone[: min(self._config.k3, share)])
        leader = self.clusters[largest(self.clusters)].members
        return frozenset(leader[: min(self._config.k2, share)])

    def _conclude(self) -> list[Action]:
        assert self._finishing is not None
        # A verdict may come after the answer: its pair was asked for, but the others of its cluster decided.
        if self._is_answered or not self._finishing <= self._answers.keys():
            return []
        self._is_answered = True
        weights = dict.fromkeys(self._answers, 1.0)
        if self._config.answer == "representatives":
            weights |= {cluster.members[0]: float(len(cluster.members)) for cluster in self.clusters}
        votes = majority_vote(self._answers.items(), weights)
        return [Answer(winner(votes), votes, tuple(sorted(self._answers)))]
