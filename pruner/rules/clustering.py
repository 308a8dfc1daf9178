"""Greedy clustering of one problem's traces. Pure: knows no model, disk or clock.

Traces are placed in index order. `place` is asked again and again about the same trace, each time with more verdicts,
until they fix the decision; comparisons that cannot change it are never asked for.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from pruner.records.traces import hash64

Pair = tuple[int, int]
Verdicts = Mapping[Pair, float | None]


@dataclass(frozen=True)
class Cluster:
    """Traces predicted to end in one answer.

    Attributes:
        members: trace indexes, ascending; the first one founded it.
        is_overflow: True once a trace joined it only because no further cluster was allowed.
    """

    members: tuple[int, ...]
    is_overflow: bool = False


@dataclass(frozen=True)
class ClusterRule:
    """tau in [0, 1]: a trace joins only above it. max_clusters: K. num_compared: K1, the members a newcomer is compared
    with. assign: `best` (the most similar cluster), `first` (the first over tau, largest cluster first) or `oldest` (the first over tau,
    oldest cluster first)."""

    tau: float
    max_clusters: int
    num_compared: int
    assign: str


@dataclass(frozen=True)
class Joins:
    cluster_index: int
    is_overflow: bool = False


@dataclass(frozen=True)
class Opens:
    pass


@dataclass(frozen=True)
class Undecided:
    """The decision is open until these pairs (member, newcomer) are judged."""

    pairs: tuple[Pair, ...]


def representatives(seed: int, problem_id: str, cluster: Cluster, num_compared: int) -> tuple[int, ...]:
    """Return the min(num_compared, |cluster|) members that a newcomer is compared with.

    A uniform random sample of the members, drawn by the hash of each: it hardly changes as the cluster grows, so the
    judge reads the same members again and its prefix cache serves them.

    Source: DeepPrune (arXiv 2510.08483): p = min(K1, |c|) members at random.
    """
    founder = cluster.members[0]
    drawn = heapq.nsmallest(num_compared, cluster.members, key=lambda i: (_rank(seed, problem_id, founder, i), i))
    return tuple(sorted(drawn))


@lru_cache(maxsize=1 << 16)
def _rank(seed: int, problem_id: str, founder: int, member: int) -> int:
    return hash64(seed, "representative", problem_id, founder, member)


def greatest_similarity(pairs: tuple[Pair, ...], verdicts: Verdicts) -> tuple[float, bool]:
    """Return the greatest mean that the pairs' verdicts can still reach, and whether it is the mean: all are known.

    Missing verdicts (None) do not count; where all are missing the mean is 0.
    """
    known = [verdicts[pair] for pair in pairs if pair in verdicts]
    scores = [score for score in known if score is not None]
    num_open = len(pairs) - len(known)
    count = len(scores) + num_open
    return ((sum(scores) + num_open) / count if count else 0.0), num_open == 0


def _fewest(pairs: tuple[Pair, ...], verdicts: Verdicts, similarity: float, to_beat: float) -> tuple[Pair, ...]:
    """Return the first open pairs, as many as could show that the cluster cannot win: all of them scored 0."""
    unknown = [pair for pair in pairs if pair not in verdicts]
    missing = sum(pair in verdicts and verdicts[pair] is None for pair in pairs)
    enough = math.ceil((similarity - to_beat) * (len(pairs) - missing))
    return tuple(unknown[: max(1, enough)])


def place(
    clusters: tuple[Cluster, ...],
    trace_index: int,
    verdicts: Verdicts,
    rule: ClusterRule,
    members: tuple[tuple[int, ...], ...],
) -> Joins | Opens | Undecided:
    """Decide where a trace belongs, or say which pairs must be judged first.

    Args:
        clusters: m clusters, oldest first.
        verdicts: scores in [0, 1] of pairs (member, trace_index); None is a missing verdict.
        members: members[j] are the representatives of cluster j.

    Raises:
        ValueError: not one tuple of representatives per cluster.

    Source: DeepPrune (arXiv 2510.08483), online pruning: join argmax_j sim(t_i, c_j) if above tau, else open a cluster
    while fewer than K exist. With K reached (not published) the trace joins the most similar one.
    """
    if len(members) != len(clusters):
        raise ValueError(f"trace {trace_index}: {len(members)} representative sets for {len(clusters)} clusters")
    if not clusters:
        return Opens()
    is_full = len(clusters) >= rule.max_clusters
    order = sorted(range(len(clusters)), key=lambda j: (-len(clusters[j].members), clusters[j].members[0]))
    if rule.assign == "oldest":
        order.sort()
    best, best_similarity = order[0], -1.0
    for j in order:
        pairs = tuple((member, trace_index) for member in members[j])
        similarity, is_known = greatest_similarity(pairs, verdicts)
        to_beat = best_similarity if is_full else max(best_similarity, rule.tau)
        if similarity <= to_beat:
            continue
        if not is_known:
            return Undecided(_fewest(pairs, verdicts, similarity, to_beat))
        if rule.assign != "best" and similarity > rule.tau:
            return Joins(j)
        best, best_similarity = j, similarity
    if best_similarity > rule.tau:
        return Joins(best)
    return Joins(best, is_overflow=True) if is_full else Opens()


def apply(clusters: tuple[Cluster, ...], trace_index: int, placement: Joins | Opens) -> tuple[Cluster, ...]:
    """Return the clusters with the trace in its place."""
    if isinstance(placement, Opens):
        return (*clusters, Cluster((trace_index,)))
    joined = clusters[placement.cluster_index]
    joined = replace(
        joined,
        members=(*joined.members, trace_index),
        is_overflow=joined.is_overflow or placement.is_overflow,
    )
    return (*clusters[: placement.cluster_index], joined, *clusters[placement.cluster_index + 1 :])


def largest(clusters: tuple[Cluster, ...]) -> int:
    """Return the index of the largest cluster; ties go to the oldest."""
    return max(range(len(clusters)), key=lambda j: (len(clusters[j].members), -j))


def cluster_sizes(clusters: tuple[Cluster, ...]) -> tuple[int, ...]:
    return tuple(sorted((len(cluster.members) for cluster in clusters), reverse=True))
