"""What an answer, or a part of one, was read as, and how parts make tuples, sets, intervals and unions. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pruner.answers.latex import Unreadable
from pruner.answers.values import as_real


@dataclass(frozen=True)
class Item:
    """What an answer, or a part of one, was read as.

    kind: value, tuple, closed, interval, union, set, assignment, percent or other.
    value: of a number. parts: of a tuple, set or union. ends: of an interval: (is closed, key, value) low and high.
    """

    kind: str
    key: str
    value: Any = None
    parts: tuple[Item, ...] = ()
    name: str = ""
    ends: tuple[tuple[bool, Item], ...] = ()


def interval(low_closed: bool, low: Item, high: Item, high_closed: bool, name: str = "") -> Item:
    key = f"{'[' if low_closed else '('}{low.key},{high.key}{']' if high_closed else ')'}"
    return Item("interval", key, name=name, ends=((low_closed, low), (high_closed, high)))


def numbers(name: str) -> Item:
    low, high = Item("value", "-oo"), Item("value", "oo")
    return interval(False, low, high, False) if name == "R" else Item("other", f"mathbb:{name}")


def sequence(opening: str, parts: Sequence[Item], closing: str) -> Item:
    """Read the content of round or square brackets with commas: a tuple, an interval, or a list."""
    keys = ",".join(part.key for part in parts)
    if len(parts) == 2 and (opening, closing) != ("langle", "rangle"):
        found = interval(opening == "[", parts[0], parts[1], closing == "]")
        return Item("interval", found.key, parts=tuple(parts), ends=found.ends)
    if opening != ("[") and closing != "]":
        return Item("tuple", f"({keys})", parts=tuple(parts))
    if (opening, closing) == ("[", "]"):
        return Item("other", f"[{keys}]")
    raise Unreadable("an interval of several ends")


def listed(parts: Sequence[Item]) -> Item:
    """Read parts with commas between: assignments to several variables are a tuple, in the order of their names; intervals a union;
    anything else a set."""
    if not parts:
        raise Unreadable("nothing between commas")
    names = [part.name.partition("_")[0] for part in parts]
    if all(part.kind == "assignment" for part in parts) and len(set(names)) == len(parts):
        ordered = sorted(parts, key=lambda part: part.name)
        return sequence("(", ordered, ")")
    if all(part.kind == "interval" and part.name for part in parts):
        return union(parts)
    return as_set(tuple(parts))


def as_set(parts: Sequence[Item]) -> Item:
    flat = [each for part in parts for each in (part.parts if part.kind == "set" else (part,))]
    distinct = {part.key: part for part in flat}
    if len(distinct) == 1:
        return flat[0]
    ordered = tuple(distinct[key] for key in sorted(distinct))
    return Item("set", "{" + ",".join(part.key for part in ordered) + "}", parts=ordered)


def union(parts: Sequence[Item]) -> Item:
    flat = [each for part in parts for each in (part.parts if part.kind in ("union", "set") else (part,))]
    if all(part.kind == "value" for part in flat):
        return as_set(flat)
    keys = sorted({part.key for part in flat})
    return Item("union", "u" + "".join(keys), parts=tuple(flat)) if len(keys) > 1 else flat[0]


def without(whole: Item, removed: Item) -> Item:
    """Return a set without some points: of all real numbers, the intervals between them."""
    points = list(removed.parts) if removed.kind == "set" else [removed]
    reals = [as_real(each.value) if each.value is not None else None for each in points]
    if whole.key != "(-oo,oo)" or any(real is None for real in reals):
        return Item("other", f"{whole.key} without {removed.key}")
    order: Callable[[int], Any] = lambda place: reals[place]  # noqa: E731
    ordered = [points[place] for place in sorted(range(len(points)), key=order)]
    ends = [Item("value", "-oo"), *ordered, Item("value", "oo")]
    return union([interval(False, low, high, False) for low, high in pairwise(ends)])
