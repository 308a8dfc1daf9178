"""What an expression is worth: exactly where that is a rational number, else to many digits; at fixed points where it has variables.

Equal expressions have equal values, and different ones differ somewhere: the test is that of polynomial identity testing. All is
bounded by size and digits. What would be too large (a tower of powers) stands for itself: it gets a number drawn from its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from hashlib import blake2b
from typing import Any

import mpmath

from pruner.answers.expressions import Node, in_degrees
from pruner.answers.latex import SMOOTH, Unreadable
from pruner.records.traces import hash64

POINTS = 4
_DIGITS = 80  # computed with
_TOLD = 30  # compared by
_MAX_BITS = 20_000  # of an exact number
_MAX_MAGNITUDE = 1e9  # of a logarithm
_MAX_FACTORIAL = 2000
_MAX_GAMMA = 1e4

_mp = mpmath.MPContext()
_mp.dps = _DIGITS
_NOTHING = _mp.mpf(10) ** -55

Number = Any  # Fraction, or mpmath's mpf or mpc of 80 digits
Point = Mapping[str, Fraction]


def point(name: str, place: int) -> Fraction:
    """Return a variable's value at one of the points: between 1/4 and 4 at the first two, between -4 and -1/4 at the third, of either
    sign at the last."""
    drawn = hash64("point", name, place)
    value = Fraction(drawn % 943 + 64, 251)
    return -value if place == 2 or (place > 2 and drawn >> 40 & 1) else value


def evaluate(node: Node, at: Callable[[str], Fraction], is_angle: bool = False) -> Number:
    """Return the value of a tree.

    Raises:
        Unreadable: it has none: a division by zero, an infinity within an expression.
    """
    if node.kind == "number":
        return node.value
    if node.kind == "symbol":
        return at(node.name)
    if node.kind == "constant":
        return _constant(node.name)
    if node.kind == "degrees":
        angle = evaluate(node.parts[0], at)
        return _multiply(_inexact(angle), _mp.pi / 180) if is_angle else angle
    parts = [evaluate(part, at, is_angle or in_degrees(node.kind)) for part in node.parts]
    rule = _RULES.get(node.kind)
    if rule is None:
        return drawn(node.name or node.kind, *parts)
    try:
        return rule(*parts)
    except (ZeroDivisionError, ValueError, OverflowError, ArithmeticError, TypeError, mpmath.NoConvergence):
        raise Unreadable(f"no value of {node.kind}") from None


def drawn(name: str, *parts: Number) -> Fraction:
    """Return a number for what is not computed: the same for the same parts, another for others."""
    return Fraction(hash64("drawn", name, *[value_key(part) for part in parts]) % 10**15 + 1, 10**9)


def value_key(value: Number) -> str:
    """Return a value's spelling: `n` or `n/d` where it is rational, else 30 digits, `a+bi` where it is complex."""
    value = _recognized(value)
    if isinstance(value, Fraction):
        return _exact_key(value)
    if isinstance(value, _mp.mpc):
        return f"{value_key(value.real)}+{value_key(value.imag)}i"
    return str(_mp.nstr(value, _TOLD, strip_zeros=False, min_fixed=1, max_fixed=0))


def _exact_key(value: Fraction) -> str:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > 200:
        digest = blake2b(f"{value.numerator:x}/{value.denominator:x}".encode(), digest_size=10).hexdigest()
        return f"~{digest}"
    return str(value)


def is_zero(value: Number) -> bool:
    found = _recognized(value)
    return isinstance(found, Fraction) and found == 0


def as_real(value: Number) -> Number | None:
    """Return a value for comparing by size; None if it is complex."""
    found = _recognized(value)
    return None if isinstance(found, _mp.mpc) else found


def divide(left: Number, right: Number) -> Number:
    return _divide(left, right)


def subtract(left: Number, right: Number) -> Number:
    return _add(left, _negate(right))


def _recognized(value: Number) -> Number:
    """Return a value as a fraction where it is one of a small denominator, as real where it is real."""
    if isinstance(value, Fraction):
        return value
    if isinstance(value, _mp.mpc):
        scale = abs(value)
        if abs(value.imag) <= scale * _NOTHING:
            return _recognized(value.real)
        if abs(value.real) <= scale * _NOTHING:
            return _mp.mpc(0, value.imag)
        return value
    if not _mp.isfinite(value):
        raise Unreadable("not finite")
    if value == 0:
        return Fraction(0)
    sign, man, exponent, bits = value._mpf_
    if abs(exponent) > 1000 or bits + exponent > 200:
        return value
    near = (Fraction(int(man)) * Fraction(2) ** exponent * (-1 if sign else 1)).limit_denominator(1_000_000)
    if near and abs(_inexact(near) - value) <= abs(value) * _NOTHING:
        return near
    return value


def _constant(name: str) -> Number:
    if name == "oo":
        raise Unreadable("an infinity within an expression")
    return {"pi": +_mp.pi, "e": +_mp.e, "i": _mp.mpc(0, 1)}[name]


def _inexact(value: Number) -> Number:
    return _mp.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def _bounded(value: Fraction) -> Number:
    is_small = max(value.numerator.bit_length(), value.denominator.bit_length()) <= _MAX_BITS
    return value if is_small else _inexact(value)


def _add(*terms: Number) -> Number:
    total = terms[0]
    for term in terms[1:]:
        if isinstance(total, Fraction) and isinstance(term, Fraction):
            total = _bounded(total + term)
            continue
        left, right = _inexact(total), _inexact(term)
        total = left + right
        if abs(total) <= max(abs(left), abs(right)) * _NOTHING:
            total = Fraction(0)
    return total


def _negate(value: Number) -> Number:
    return -value


def _multiply(left: Number, right: Number) -> Number:
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return _bounded(left * right)
    return Fraction(0) if left == 0 or right == 0 else _inexact(left) * _inexact(right)


def _divide(left: Number, right: Number) -> Number:
    if is_zero(right):
        raise ZeroDivisionError
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return _bounded(left / right)
    return Fraction(0) if left == 0 else _inexact(left) / _inexact(right)


def _power(base: Number, exponent: Number) -> Number:
    base, exponent = _recognized(base), _recognized(exponent)
    if isinstance(base, Fraction) and base == 0:
        if isinstance(exponent, Fraction) and exponent > 0:
            return Fraction(0)
        raise ZeroDivisionError
    if isinstance(base, Fraction) and abs(base) == 1 and isinstance(exponent, Fraction) and exponent.denominator == 1:
        return base if exponent.numerator % 2 else Fraction(1)
    size = abs(_log_size(base) * float(_mp.re(abs(_inexact(exponent)))))
    if size > _MAX_MAGNITUDE or _mp.mag(_inexact(exponent)) > 60:
        return drawn("power", base, exponent)
    if isinstance(exponent, Fraction):
        return _rational_power(base, exponent, size)
    return _mp.power(_inexact(base), _inexact(exponent))


def _log_size(value: Number) -> float:
    """Return the natural logarithm of a value's size, and at least 1."""
    return max(1.0, abs(float(_mp.log(abs(_inexact(value))))))


def _rational_power(base: Number, exponent: Fraction, size: float) -> Number:
    if exponent.denominator == 1:
        is_exact = isinstance(base, Fraction) and size / math.log(2) <= 2 * _MAX_BITS
        return _bounded(base**exponent.numerator) if is_exact else _inexact(base) ** exponent.numerator
    if isinstance(base, Fraction) and (root := _exact_root(base, exponent.denominator)) is not None:
        return _power(root, Fraction(exponent.numerator))
    if isinstance(base, Fraction | _mp.mpf) and base < 0 and exponent.denominator % 2:
        # The real root, as in school.
        found = _mp.power(-_inexact(base), _inexact(exponent))
        return -found if exponent.numerator % 2 else found
    return _mp.power(_inexact(base), _inexact(exponent))


def _exact_root(value: Fraction, degree: int) -> Fraction | None:
    if degree > 64 or (value < 0 and degree % 2 == 0):
        return None
    roots = [_integer_root(abs(part), degree) for part in (value.numerator, value.denominator)]
    if roots[0] is None or roots[1] is None:
        return None
    return Fraction(roots[0], roots[1]) * (-1 if value < 0 else 1)


def _integer_root(value: int, degree: int) -> int | None:
    if degree == 2:
        root = math.isqrt(value)
    else:
        low, high = 0, 1 << (value.bit_length() // degree + 1)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if middle**degree <= value else (low, middle - 1)
        root = low
    return root if root**degree == value else None


def _root(radicand: Number, degree: Number) -> Number:
    return _power(radicand, _divide(Fraction(1), degree))


def _whole(value: Number) -> int | None:
    found = _recognized(value)
    return found.numerator if isinstance(found, Fraction) and found.denominator == 1 else None


def _factorial(value: Number) -> Number:
    whole = _whole(value)
    if whole is not None:
        return Fraction(math.factorial(whole)) if 0 <= whole <= _MAX_FACTORIAL else drawn("factorial", value)
    return _mp.gamma(_inexact(value) + 1) if abs(_inexact(value)) < _MAX_GAMMA else drawn("factorial", value)


def _binom(top: Number, bottom: Number) -> Number:
    n, k = _whole(top), _whole(bottom)
    if n is not None and k is not None:
        return Fraction(math.comb(n, k)) if 0 <= n <= _MAX_FACTORIAL and k >= 0 else drawn("binom", top, bottom)
    if max(abs(_inexact(top)), abs(_inexact(bottom))) > _MAX_GAMMA:
        return drawn("binom", top, bottom)
    return _mp.binomial(_inexact(top), _inexact(bottom))


def _rounded(rule: Callable[[Number], Any]) -> Callable[[Number], Number]:
    def apply(value: Number) -> Number:
        found = _recognized(value)
        if isinstance(found, Fraction):
            return Fraction(rule(found))
        if isinstance(found, _mp.mpc) or _mp.mag(found) > 200:
            return drawn(rule.__name__, found)
        return Fraction(int((_mp.floor if rule is math.floor else _mp.ceil)(found)))

    return apply


def _log(value: Number, base: Number = Fraction(10)) -> Number:
    if is_zero(value) or is_zero(base):
        raise ZeroDivisionError
    return _mp.log(_inexact(value)) / _mp.log(_inexact(base))


def _ln(value: Number) -> Number:
    return _mp.log(_inexact(value))


def _of_wholes(rule: Callable[..., int]) -> Callable[..., Number]:
    def apply(*values: Number) -> Number:
        wholes = [_whole(value) for value in values]
        if any(whole is None for whole in wholes):
            return drawn(rule.__name__, *values)
        return Fraction(rule(*wholes))

    return apply


def _extreme(rule: Callable[..., Any]) -> Callable[..., Number]:
    def apply(*values: Number) -> Number:
        reals = [as_real(value) for value in values]
        if any(real is None for real in reals):
            raise ValueError
        return rule(reals, key=_inexact)

    return apply


def _smooth(name: str) -> Callable[[Number], Number]:
    """Return mpmath's function of that name, for arguments that it can reduce."""

    def apply(value: Number) -> Number:
        inexact = _inexact(value)
        if inexact != 0 and _mp.mag(inexact) > 30:
            return drawn(name, value)
        found = getattr(_mp, name)(inexact)
        # The sine of a multiple of pi is 0, not what is left of its digits.
        return Fraction(0) if abs(found) <= _NOTHING else found

    return apply


def _absolute(value: Number) -> Number:
    return abs(value)


_RULES: dict[str, Callable[..., Number]] = {
    "add": _add,
    "negate": _negate,
    "multiply": _multiply,
    "divide": _divide,
    "power": _power,
    "root": _root,
    "factorial": _factorial,
    "binom": _binom,
    "abs": _absolute,
    "floor": _rounded(math.floor),
    "ceil": _rounded(math.ceil),
    "log": _log,
    "ln": _ln,
    "exp": lambda value: _power(_constant("e"), value),
    "gcd": _of_wholes(math.gcd),
    "lcm": _of_wholes(math.lcm),
    "max": _extreme(max),
    "min": _extreme(min),
    **{name: _smooth(name) for name in (*SMOOTH, "asinh", "acosh", "atanh")},
}
