"""pass@k and maj@k of a problem's traces, averaged over all choices of k; exact and unbiased. Pure.

All traces of a problem must have been sampled whatever their answers, so that any k of them are as good as the first k.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import comb

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# Beyond it, the number of choices is no floating-point number.
MOST_TRACES = 1000


def pass_at_k(num_traces: int, num_right: int, k: int) -> float:
    """Return the chance that at least one of k traces is right: 1 - C(n - c, k) / C(n, k).

    Raises:
        ValueError: k is not from 1 to num_traces.

    Source: Chen et al. 2021 (arXiv 2107.03374).
    """
    if not 1 <= k <= num_traces:
        raise ValueError(f"k: got {k}, expected 1 to {num_traces}")
    return 1.0 - comb(num_traces - num_right, k) / comb(num_traces, k)


def maj_at_k(counts: Sequence[int], right: Sequence[bool], num_traces: int, k: int) -> float:
    """Return how often the plain vote of k traces is right; of t answers that lead together each counts 1/t.

    Args:
        counts: how many traces gave each answer.
        right: whether each answer is right.
        num_traces: all of them; those beyond the counts gave no answer.

    Raises:
        ValueError: k is not from 1 to num_traces, or there are more than MOST_TRACES traces.
    """
    if not 1 <= k <= num_traces <= MOST_TRACES:
        raise ValueError(
            f"k: got {k} of {num_traces} traces, expected 1 to the number of traces, and at most {MOST_TRACES}"
        )
    order = sorted(range(len(counts)), key=lambda j: counts[j])
    found = _credits(tuple(counts[j] for j in order), tuple(bool(right[j]) for j in order), num_traces)
    return float(found[k] / comb(num_traces, k))


@lru_cache(maxsize=4096)
def _credits(counts: tuple[int, ...], right: tuple[bool, ...], num_traces: int) -> Floats:
    """Return the credit summed over all choices of k traces, for k = 0..num_traces.

    For every number of votes that may lead, the choices are counted by polynomials whose exponent is the number of chosen traces: an answer that
    leads takes exactly that many of its traces, another one fewer.
    """
    total = np.zeros(num_traces + 1)
    for leading in range(1, max(counts, default=0) + 1):
        total += _led_by(leading, counts, right, num_traces)
    return total


def _led_by(leading: int, counts: tuple[int, ...], right: tuple[bool, ...], num_traces: int) -> Floats:
    """Return the credit of choices in which the answers that lead have `leading` votes.

    ways[a, b] counts choices in which a right and b wrong answers lead.
    """
    able = [j for j, count in enumerate(counts) if count >= leading]
    # Answers that are too rare to lead, and traces without an answer, are chosen in any way.
    ways = {(0, 0): _choices(num_traces - sum(counts[j] for j in able))}
    for j in able:
        fewer = _choices(counts[j])[:leading]
        more: dict[tuple[int, int], Floats] = {}
        for (a, b), before in ways.items():
            _add(more, (a, b), np.convolve(before, fewer).astype(np.float64))
            led = np.concatenate([np.zeros(leading), before * float(comb(counts[j], leading))])
            _add(more, (a + 1, b) if right[j] else (a, b + 1), led)
        ways = more
    total = np.zeros(num_traces + 1)
    for (a, b), found in ways.items():
        if a:
            total[: len(found)] += found[: num_traces + 1] * (a / (a + b))
    return total


def _choices(count: int) -> Floats:
    """Return C(count, i) for i = 0..count."""
    return np.array([comb(count, i) for i in range(count + 1)], dtype=np.float64)


def _add(ways: dict[tuple[int, int], Floats], key: tuple[int, int], found: Floats) -> None:
    before = ways.get(key)
    if before is None:
        ways[key] = found
        return
    longer, shorter = (before, found) if len(before) >= len(found) else (found, before)
    longer = longer.copy()
    longer[: len(shorter)] += shorter
    ways[key] = longer
