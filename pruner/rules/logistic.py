"""Logistic regression on a handful of numbers, in plain arithmetic that does the same everywhere. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_STEPS = 60
_SMALL = 1e-9
# The intercept is held as weakly as nothing, so that labels of one kind have a fit too.
_INTERCEPT = 1e-4


@dataclass(frozen=True)
class Logistic:
    """A fitted model: P(label 1) = 1 / (1 + exp(-(intercept + sum of weight * (value - mean) / spread)))."""

    intercept: float
    weights: tuple[float, ...]
    means: tuple[float, ...]
    spreads: tuple[float, ...]

    def predict(self, row: Sequence[float]) -> float:
        """Return P(label 1) of one row of features."""
        return sigmoid(self.intercept + math.fsum(map(math.prod, zip(self.weights, self._scaled(row), strict=True))))

    def _scaled(self, row: Sequence[float]) -> list[float]:
        return [(x - mean) / spread for x, mean, spread in zip(row, self.means, self.spreads, strict=True)]


def sigmoid(z: float) -> float:
    return 1.0 / (1.0 + math.exp(-z)) if z >= 0 else math.exp(z) / (1.0 + math.exp(z))


def logit(p: float) -> float:
    """Return the log odds of a probability; of 0 and 1 those of 1e-7 off."""
    p = min(max(p, 1e-7), 1.0 - 1e-7)
    return math.log(p / (1.0 - p))


def fit(rows: Sequence[Sequence[float]], labels: Sequence[int], l2: float) -> Logistic:
    """Return the model that fits rows of features best, less l2 times the squared weights of the standardised features.

    Args:
        rows: [n, d], n at least 1.
        labels: [n], 0 or 1.
    """
    columns = list(zip(*rows, strict=True))
    means = tuple(math.fsum(column) / len(rows) for column in columns)
    spreads = tuple(
        max(math.sqrt(math.fsum((x - mean) ** 2 for x in column) / len(rows)), _SMALL)
        for column, mean in zip(columns, means, strict=True)
    )
    scaled = [
        (1.0, *((x - mean) / spread for x, mean, spread in zip(row, means, spreads, strict=True))) for row in rows
    ]
    penalties = (_INTERCEPT, *(2.0 * l2 for _ in columns))
    found = [0.0] * len(penalties)
    for _ in range(_STEPS):
        step = _newton_step(scaled, labels, found, penalties)
        longest = max(map(abs, step))
        scale = min(1.0, 4.0 / longest) if longest else 1.0
        found = [weight + scale * change for weight, change in zip(found, step, strict=True)]
        if longest < _SMALL:
            break
    return Logistic(found[0], tuple(found[1:]), means, spreads)


def _newton_step(
    rows: Sequence[Sequence[float]], labels: Sequence[int], weights: Sequence[float], penalties: Sequence[float]
) -> list[float]:
    """Return by how much Newton's method changes the weights."""
    chances = [sigmoid(math.fsum(map(math.prod, zip(weights, row, strict=True)))) for row in rows]
    places = range(len(weights))
    gradient = [
        math.fsum((label - p) * row[i] for row, label, p in zip(rows, labels, chances, strict=True))
        - penalties[i] * weights[i]
        for i in places
    ]
    curvature = [
        [
            math.fsum(p * (1.0 - p) * row[i] * row[j] for row, p in zip(rows, chances, strict=True))
            + (penalties[i] if i == j else 0.0)
            for j in places
        ]
        for i in places
    ]
    return _solved(curvature, gradient)


def _solved(matrix: list[list[float]], right: Sequence[float]) -> list[float]:
    """Return x with matrix x = right, by Gaussian elimination; the matrix is symmetric and positive."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    size = len(rows)
    for at in range(size):
        pivot = max(range(at, size), key=lambda i: (abs(rows[i][at]), -i))
        rows[at], rows[pivot] = rows[pivot], rows[at]
        for below in range(at + 1, size):
            factor = rows[below][at] / rows[at][at]
            rows[below] = [x - factor * y for x, y in zip(rows[below], rows[at], strict=True)]
    found = [0.0] * size
    for at in reversed(range(size)):
        rest = math.fsum(rows[at][j] * found[j] for j in range(at + 1, size))
        found[at] = (rows[at][size] - rest) / rows[at][at]
    return found
