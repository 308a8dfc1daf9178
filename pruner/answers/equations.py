"""Expressions in variables by their values at fixed points, and what an equation says of one variable. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from hashlib import blake2b
from typing import Any

from pruner.answers.expressions import Node, symbols
from pruner.answers.items import Item
from pruner.answers.latex import Unreadable
from pruner.answers.values import POINTS, divide, evaluate, is_zero, point, subtract, value_key

_DEPENDENT = ("y", "z", "w")


def valued(node: Node) -> Item:
    if not symbols(node):
        value = evaluate(node, _no_variables)
        return Item("value", value_key(value), value)
    return function_of(values_of(node))


def _no_variables(name: str) -> Fraction:
    raise Unreadable(f"variable {name}")


def values_of(node: Node, fixed: Mapping[str, Fraction] | None = None) -> list[Any]:
    """Return the values of an expression at all points, with some variables fixed."""
    known = fixed or {}
    return [evaluate(node, lambda name, j=j: known[name] if name in known else point(name, j)) for j in range(POINTS)]  # type: ignore[misc]


def function_of(values: Sequence[Any]) -> Item:
    """Return the item of an expression in variables, by its values."""
    keys = [value_key(value) for value in values]
    if len(set(keys)) == 1:
        return Item("value", keys[0], values[0])
    return Item("function", "f:" + digest(keys))


def digest(keys: Sequence[str]) -> str:
    return blake2b("\n".join(keys).encode(), digest_size=12).hexdigest()


def solved(left: Node, right: Node) -> Item:
    """Return what an equation says of the variable that it is linear in, or its values up to a factor."""
    difference = Node("add", (left, Node("negate", (right,))))
    names = sorted(symbols(difference))
    for name in _dependents(names):
        if (line := linear(difference, name)) is not None:
            item = function_of([divide(-constant, slope) for constant, slope in line])
            return Item("assignment", item.key, item.value, name=name)
    return Item("other", "eq:" + digest(scaled(values_of(difference))))


def _dependents(names: Sequence[str]) -> list[str]:
    """Return the variables that an equation may be solved for, in order: the only one, y, z, w, capitals."""
    if len(names) == 1:
        return list(names)
    plain = [name for name in _DEPENDENT if name in names]
    return plain + [name for name in names if name[0].isupper() or "_" in name or len(name.rstrip("'")) > 1]


def linear(difference: Node, name: str) -> list[tuple[Any, Any]] | None:
    """Return constant and slope at each point, if the expression is linear in the variable with a constant slope."""
    at_0, at_1, at_3 = (values_of(difference, {name: Fraction(value)}) for value in (0, 1, 3))
    slopes = [subtract(one, zero) for zero, one in zip(at_0, at_1, strict=True)]
    for zero, slope, three in zip(at_0, slopes, at_3, strict=True):
        if is_zero(slope) or not is_zero(subtract(subtract(three, zero), 3 * slope)):
            return None
        if not is_zero(subtract(slope, slopes[0])):
            return None
    return list(zip(at_0, slopes, strict=True))


def scaled(values: Sequence[Any], is_positive: bool = False) -> list[str]:
    """Return values up to a constant factor, or up to a positive one."""
    pivot = next((value for value in values if not is_zero(value)), None)
    if pivot is None:
        return ["0"] * len(values)
    if is_positive:
        pivot = abs(pivot)
    return [value_key(divide(value, pivot)) for value in values]
