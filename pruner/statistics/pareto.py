"""The Pareto front of accuracy and cost. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def pareto_front(points: Sequence[T], cost: Callable[[T], float], worth: Callable[[T], float]) -> list[T]:
    """Return the points that no other one beats, cheapest first.

    One point beats another if it costs no more and is worth no less, and differs in one of them. Points that are equal
    in both are all kept.
    """
    best, front = float("-inf"), list[T]()
    for point in sorted(points, key=lambda each: (cost(each), -worth(each))):
        is_equal = bool(front) and (cost(point), worth(point)) == (cost(front[-1]), worth(front[-1]))
        if worth(point) > best or is_equal:
            best = worth(point)
            front.append(point)
    return front
