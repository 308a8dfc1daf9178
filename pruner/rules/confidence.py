"""Confidence: from tokens to groups to traces, and thresholds over traces. Pure: knows no model, method or disk.

A group is a window of `window` consecutive tokens, and its confidence their mean; a trace shorter than that is one group.

Source: DeepConf (arXiv 2508.15260), section 3; https://github.com/facebookresearch/deepconf.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from itertools import accumulate, chain, islice
from operator import sub

from pruner.errors import InputError
from pruner.records.traces import Segment, Trace

# Of the lowest groups, this share makes the bottom-10 % score.
_BOTTOM = 0.1


def segment_confidences(segment: Segment) -> array[float]:
    """Return a segment's confidences, one a token, as the checkpoint keeps them: in single precision.

    A decision must be the same before and after a resume, so nobody decides on more digits than are stored.

    Raises:
        InputError: the segment has none.
    """
    if segment.confidence is None and segment.num_tokens:
        key = segment.key
        raise InputError(
            f"problem {key.problem_id!r}, trace {key.trace_index}: got no confidences, expected one number a token. "
            "Sample it with this method, or replay traces that were recorded with them."
        )
    return array("f", segment.confidence or ())


def trace_confidences(trace: Trace) -> array[float]:
    """Return the confidences of a trace's tokens.

    Raises:
        InputError: they are not one a token.
    """
    found = array("f", chain.from_iterable(map(segment_confidences, trace.segments)))
    check_count(trace, len(found))
    return found


def check_count(trace: Trace, num_confidences: int) -> None:
    """Raises InputError: the trace has not one confidence a token."""
    if num_confidences != trace.num_tokens:
        raise InputError(
            f"problem {trace.problem_id!r}, trace {trace.trace_index}: got {num_confidences} confidences, expected "
            f"{trace.num_tokens}, one a token. Record the traces again."
        )


class LowestGroup:
    """The lowest group of a trace that is still sampled on. Keeps one window; each token costs a few operations.

    Args:
        window: tokens of a group.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._sums = [0.0]  # of all tokens up to one; only those that a group to come begins at
        self._lowest = math.inf
        self.num_tokens = 0

    def extend(self, confidences: Sequence[float]) -> None:
        """Take in the next tokens."""
        self._sums.extend(islice(accumulate(confidences, initial=self._sums[-1]), 1, None))
        self._lowest = min(self._lowest, min(_group_sums(self._sums, self._window), default=math.inf))
        del self._sums[: -self._window]
        self.num_tokens += len(confidences)

    def is_below(self, threshold: float) -> bool:
        """Return whether some complete group is below; a trace shorter than a group never is."""
        return self._lowest / self._window < threshold

    @property
    def confidence(self) -> float:
        """The lowest group's confidence, were the trace finished now; 0 without tokens."""
        if self.num_tokens >= self._window:
            return self._lowest / self._window
        return self._sums[-1] / self.num_tokens if self.num_tokens else 0.0


def group_confidences(confidences: Sequence[float], window: int) -> list[float]:
    """Return each group's confidence, first to last; one for a trace shorter than a group; none without tokens."""
    if 0 < len(confidences) < window:
        return [math.fsum(confidences) / len(confidences)]
    sums = list(accumulate(confidences, initial=0.0))
    return [total / window for total in _group_sums(sums, window)]


def _group_sums(sums: Sequence[float], window: int) -> Iterable[float]:
    return map(sub, islice(sums, window, None), sums)


def mean(confidences: Sequence[float], window: int) -> float:
    """Return the mean over all tokens; like all scores 0 for a trace without tokens."""
    return math.fsum(confidences) / len(confidences) if len(confidences) else 0.0


def tail(confidences: Sequence[float], window: int) -> float:
    """Return the mean over the last window."""
    return mean(confidences[-window:], window)


def bottom_10(confidences: Sequence[float], window: int) -> float:
    """Return the mean of the lowest tenth of the groups, of one at least."""
    groups = sorted(group_confidences(confidences, window))
    return mean(groups[: max(1, int(len(groups) * _BOTTOM))], window)


def lowest_group(confidences: Sequence[float], window: int) -> float:
    """Return the lowest group's confidence."""
    lowest = LowestGroup(window)
    lowest.extend(confidences)
    return lowest.confidence


SCORES: dict[str, Callable[[Sequence[float], int], float]] = {
    "mean": mean,
    "tail": tail,
    "bottom_10": bottom_10,
    "lowest_group": lowest_group,
}


def keep_threshold(scores: Sequence[float], keep: float) -> float:
    """Return the score from which on the top `keep` share lies: the (1 - keep) quantile, between two scores by proportion.

    Args:
        scores: one at least.
        keep: in (0, 1]; DeepConf's eta / 100.
    """
    # As written, not as stored: 0.7 of 11 scores means the fourth, not one a hair above it.
    place = (len(scores) - 1) * (1 - Fraction(repr(keep)))
    below = math.floor(place)
    ranked = sorted(scores)[below : below + 2]
    return ranked[0] + (ranked[-1] - ranked[0]) * float(place - below)
