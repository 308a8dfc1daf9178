"""Fit the lexical judge: logistic regression over features of pairs. Owns scikit-learn's linear models."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from pruner.judges.lexical import LexicalWeights

# A problem with fewer pairs of its rarer label than this counts for less: its pairs say little.
_ENOUGH_PAIRS = 40
# Weight decay of the problems' intercepts, which are nearly free.
_INTERCEPT_L2 = 1e-3
_MAX_STEPS = 1000
_TOLERANCE = 1e-8


def fit(
    l2: float, features: Sequence[Sequence[float]], labels: Sequence[int], problems: Sequence[str]
) -> LexicalWeights:
    """Fit the weights, then a slope and a bias that make the scores probabilities.

    Each problem gets an intercept of its own, which is then forgotten: the weights keep only what distinguishes pairs of one problem.

    Args:
        l2: weight decay.
        features: [pairs, features].
        labels: [pairs], 1 for same.
        problems: [pairs], which problem each is of.
    """
    y = np.asarray(labels)
    _, problem = np.unique(np.asarray(problems), return_inverse=True)
    scaler = StandardScaler().fit(features)
    x = scaler.transform(features)
    weights = _weights(l2, x, y, problem)
    # Platt scaling: the logistic curve through the scores, problems alike.
    curve = _regression(np.inf).fit((x @ weights)[:, None], y, 1.0 / np.bincount(problem)[problem])
    return LexicalWeights(
        mean=tuple(scaler.mean_.tolist()),
        scale=tuple(scaler.scale_.tolist()),
        weights=tuple((curve.coef_[0, 0] * weights).tolist()),
        bias=float(curve.intercept_[0]),
    )


def _weights(l2: float, x: NDArray[np.float64], y: NDArray[np.int_], problem: NDArray[np.int_]) -> NDArray[np.float64]:
    """Return [features] weights, fitted beside an intercept for each problem."""
    total, same = np.bincount(problem), np.bincount(problem, y)
    # Problems count alike, but for those that hardly have both kinds.
    counts = np.minimum(np.minimum(same, total - same) / _ENOUGH_PAIRS, 1.0) / total
    # One penalty for all columns: a larger column stands for a smaller penalty.
    intercepts = OneHotEncoder().fit_transform(problem[:, None]) * math.sqrt(l2 / _INTERCEPT_L2)
    model = _regression(1.0 / (2.0 * l2), fit_intercept=False)
    weights = model.fit(sparse.hstack([x, intercepts]).tocsr(), y, counts[problem]).coef_[0, : x.shape[1]]
    return np.asarray(weights)


def _regression(c: float, fit_intercept: bool = True) -> LogisticRegression:
    return LogisticRegression(C=c, fit_intercept=fit_intercept, solver="newton-cg", max_iter=_MAX_STEPS, tol=_TOLERANCE)
