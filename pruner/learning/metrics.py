"""Quality of a judge's scores, overall and within problems, with bootstrap intervals over problems. Owns scikit-learn's metrics.

Pairs of one problem share its difficulty, so a score that only knows the problem looks good when all pairs are pooled. What
clustering needs is to distinguish pairs of one problem: the within-problem AUROC, a mean over problems with both kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from pruner.statistics.intervals import Interval, interval, resamplings

Floats = NDArray[np.float64]
_BINS = 10
# A missing verdict counts as half in a ranking.
_MISSING = 0.5
# Share of different pairs that a judge's own threshold may take for the same.
_MOST_MERGED = 0.1


@dataclass(frozen=True)
class Quality:
    """A row of the table.

    Attributes:
        problems_mixed: those with both kinds of pairs, over which `auroc_within` is a mean.
        missing: pairs without a verdict; they count as 0.5.
        tnr_at_fnr20: share of different pairs kept apart where 20 % of same pairs are. Source: DeepPrune's TNR@0.2.
        ece: expected calibration error, 10 bins; None for scores that are no probabilities.
    """

    pairs: int
    problems: int
    problems_mixed: int
    same_share: float
    missing: int
    auroc_within: Interval
    auroc_pooled: Interval
    tnr_at_fnr20: Interval
    ece: Interval


def quality(
    scores: Sequence[float | None],
    labels: Sequence[int],
    problems: Sequence[str],
    is_probability: bool,
    bootstrap: int,
    seed: int,
) -> Quality:
    """Return the quality of one judge's scores.

    Args:
        scores: [pairs], P(same) or any score that grows with it; None is a missing verdict.
        labels: [pairs], 1 for same.
        problems: [pairs], which problem each is of.
        bootstrap: resamplings of the problems.
    """
    s = filled(scores)
    y = np.asarray(labels)
    names, problem = np.unique(np.asarray(problems), return_inverse=True)
    draws = resamplings(len(names), bootstrap, seed)
    within = _aurocs(y, s, problem)

    def of_pairs(metric: Callable[[NDArray[np.int_], Floats, Floats], float | None]) -> Interval:
        values = [metric(y, s, draw[problem].astype(float)) for draw in draws]
        return interval(metric(y, s, np.ones(len(y))), values)

    return Quality(
        pairs=len(y),
        problems=len(names),
        problems_mixed=len(within),
        same_share=float(y.mean()),
        missing=sum(score is None for score in scores),
        auroc_within=_mean(within, draws),
        auroc_pooled=of_pairs(auroc),
        tnr_at_fnr20=of_pairs(tnr_at_fnr20),
        ece=of_pairs(calibration_error) if is_probability else Interval(None),
    )


def within_difference(
    one: Sequence[float | None],
    other: Sequence[float | None],
    labels: Sequence[int],
    problems: Sequence[str],
    bootstrap: int,
    seed: int,
) -> Interval:
    """Return how much higher the within-problem AUROC of `one` is than that of `other`, paired by problem."""
    y = np.asarray(labels)
    names, problem = np.unique(np.asarray(problems), return_inverse=True)
    left, right = (_aurocs(y, filled(scores), problem) for scores in (one, other))
    return _mean({k: left[k] - right[k] for k in left}, resamplings(len(names), bootstrap, seed))


def cautious_threshold(scores: Sequence[float | None], labels: Sequence[int], problems: Sequence[str]) -> float | None:
    """Return the least threshold above which at most a tenth of the different pairs lie; None without problems that have both kinds.

    A pair that is wrongly taken for the same turns a vote, one that is wrongly kept apart costs tokens. Shares are means over problems, since
    only pairs of one problem are ever told apart. Halfway between two scores.
    """
    s, y = filled(scores), np.asarray(labels)
    _, problem = np.unique(np.asarray(problems), return_inverse=True)
    num_same, num_all = np.bincount(problem, y), np.bincount(problem)
    is_mixed = ((num_same > 0) & (num_same < num_all))[problem]
    different = is_mixed & (y == 0)
    if not different.any():
        return None
    weights = 1.0 / (num_all - num_same)[problem[different]]
    order = np.argsort(-s[different], kind="stable")
    ranked, above = s[different][order], np.cumsum(weights[order]) / weights.sum()
    # The highest score of a different pair that has to stay below.
    held = float(ranked[int(np.argmax(above > _MOST_MERGED))])
    higher = s[s > held]
    return (held + float(higher.min())) / 2 if len(higher) else held


def filled(scores: Sequence[float | None]) -> Floats:
    return np.array([_MISSING if score is None else score for score in scores], dtype=float)


def auroc(labels: NDArray[np.int_], scores: Floats, weights: Floats | None = None) -> float | None:
    """Return the chance that a same pair scores above a different one; None without both kinds."""
    if not _has_both(labels, weights):
        return None
    return float(roc_auc_score(labels, scores, sample_weight=weights))


def tnr_at_fnr20(labels: NDArray[np.int_], scores: Floats, weights: Floats) -> float | None:
    if not _has_both(labels, weights):
        return None
    false_rate, true_rate, _ = roc_curve(labels, scores, sample_weight=weights, drop_intermediate=False)
    reached = int(np.argmax(true_rate >= 0.8 - 1e-12))
    before = max(0, reached - 1)
    return float(1.0 - np.interp(0.8, true_rate[[before, reached]], false_rate[[before, reached]]))


def calibration_error(labels: NDArray[np.int_], scores: Floats, weights: Floats) -> float | None:
    """Return the expected calibration error: by bins of the score, |mean score - share of same pairs|, weighed by size."""
    total = weights.sum()
    if not total:
        return None
    place = np.minimum((scores * _BINS).astype(int), _BINS - 1)
    gap = np.bincount(place, weights=weights * (scores - labels), minlength=_BINS)
    return float(np.abs(gap).sum() / total)


def _has_both(labels: NDArray[np.int_], weights: Floats | None) -> bool:
    kept = labels if weights is None else labels[weights > 0]
    return bool(kept.size) and kept.min() != kept.max()


def _aurocs(labels: NDArray[np.int_], scores: Floats, problem: NDArray[np.int_]) -> dict[int, float]:
    """Return the AUROC within each problem that has both kinds of pairs, by its number."""
    values = {k: auroc(labels[problem == k], scores[problem == k]) for k in range(int(problem.max()) + 1)}
    return {k: value for k, value in values.items() if value is not None}


def _mean(values: dict[int, float], draws: NDArray[np.int_]) -> Interval:
    """Return the mean over problems, with its interval. values: by the problem's number. draws: [count, problems]."""
    known = np.array(list(values.values()))
    if not len(known):
        return Interval(None)
    drawn = draws[:, list(values)]
    drawn = drawn[drawn.sum(axis=1) > 0]
    return interval(float(known.mean()), drawn @ known / drawn.sum(axis=1))
