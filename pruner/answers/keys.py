r"""The canonical key of an answer: two answers are equal exactly when their keys are. Pure, bounded by size, the same everywhere.

What is decided on purpose (each a test in tests/unit/test_answer_keys.py):

- numbers are exact; irrational constants agree in 30 digits; expressions in variables agree at fixed rational points;
- an equation is known up to a constant factor; one that is linear in its variable (or in y, z, w, or a capital) is what that is
  equal to, so `x=5` is `5`, `y=2x+3` is `2x+3`, but `x+y=5` is not `5`; of an equation of numbers the last side counts;
- an inequality of one variable is an interval; an open interval with two finite ends reads like a pair;
- `(1,2)` is a tuple, `\{1,2\}` and `1,2` are sets, a set of one element is its element, `\pm` gives a set of two;
- units, degrees and currency are dropped; a percentage is neither the number nor its hundredth;
- several capitals in a row are one name (`AC` is not `CA`); words compare without case; a base stays (`1011_2` is not `1011`);
- what cannot be read stands for itself, without spaces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import Any

from pruner.answers.expressions import Node, has_sign, in_degrees, parse, signed, symbols
from pruner.answers.extraction import last_boxed, option_letter
from pruner.answers.latex import Token, Unreadable, plain_signs, tokenize
from pruner.answers.values import POINTS, as_real, divide, evaluate, is_zero, point, subtract, value_key

MAX_CHARS = 1000
_MAX_KEY = 120
_MAX_PARTS = 200
_PLAIN = re.compile(r"-?(?:0|[1-9]\d{0,17})")
_UNITS = frozenset(
    ["mm", "cm", "dm", "km", "nm", "um", "mi", "ft", "yd", "in", "inch", "inches", "foot", "feet", "yard", "yards", "mile", "miles", "meter", "meters", "metre", "metres", "centimeter", "centimeters", "kilometer", "kilometers", "mg", "kg", "lb", "lbs", "oz", "gram", "grams", "kilogram", "kilograms", "pound", "pounds", "ml", "mL", "cl", "dl", "liter", "liters", "litre", "litres", "sec", "secs", "second", "seconds", "min", "mins", "minute", "minutes", "hr", "hrs", "hour", "hours", "day", "days", "week", "weeks", "month", "months", "year", "years", "mph", "kph", "Hz", "kHz", "rad", "radians", "radian", "deg", "degree", "degrees", "dollar", "dollars", "cent", "cents", "euro", "euros", "USD", "EUR", "unit", "units", "sq", "square", "cubic", "cm2", "m2", "per", "percent"]
)  # fmt: skip
_NO_UNITS = frozenset(("or", "and", "am", "pm", "a.m.", "p.m.", "a.m", "p.m"))
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_BASE_WORDS = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10", "twelve": "12", "sixteen": "16"}  # fmt: skip
_BASED = re.compile(
    r"[({\s]*([0-9A-Z]{0,60}[0-9][0-9A-Z]{0,60})[)}\s]*_\s*\{?\s*(?:\\text\s*\{)?\s*(?:base\s*\}?\s*)?(\d{1,2}|[a-z]{1,9})[}\s]*"
)
_OPENING = {"(": ")", "[": "]", "\\{": "\\}", "{": "}", "langle": "rangle", "lfloor": "rfloor", "lceil": "rceil"}
_CLOSING = frozenset(_OPENING.values())
_RELATIONS = ("=", "<", ">", "le", "ge", "ne", "approx", "in", "equiv")
_TURNED = {"<": ">", ">": "<", "le": "ge", "ge": "le"}
_DEPENDENT = ("y", "z", "w")
_WORDS = re.compile(r"[A-Za-z]+(?:['\s-][A-Za-z]+)*")
_LONG_WORD = re.compile(r"[A-Za-z]{3}")
_ORDINAL = re.compile(
    r"(?<=\d)\s*(?:\^?\s*\{?\s*\\(?:text|mathrm|textsuperscript|mbox)\s*\{\s*(?:st|nd|rd|th)\s*\}\s*\}?|(?:st|nd|rd|th)\b)"
)
_INTRODUCED = re.compile(r"\\text\s*\{[^{}]{0,80}\b(?:is|are|be|equals|=|:)\s*:?\s*\}(?=.)", re.IGNORECASE)
_STYLES = re.compile(
    r"\\(?:left|right|text|mathrm|mathbf|textbf|displaystyle|operatorname|[,;:!> ])(?![A-Za-z])|[\s$~]"
)


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


def plain_key(answer: str) -> str | None:
    """Return the key of a plain whole number, as most answers are, at next to no cost; None for anything else."""
    return answer if _PLAIN.fullmatch(answer) and answer != "-0" else None


@lru_cache(maxsize=100_000)
def cached_key(answer: str, kind: str) -> str:
    """Return `answer_key`, remembered: recordings repeat their answers."""
    return answer_key(answer, kind)


def answer_key(answer: str, kind: str = "math") -> str:
    """Return the canonical key of an answer, at most 120 characters.

    Args:
        kind: `math`, or `choice`, where an option's letter counts and nothing else.
    """
    if kind == "choice":
        letter = option_letter(answer)
        return letter if letter is not None else _limited("text:" + _bare(answer))
    return _limited(plain_key(answer) or _read(answer))


def _limited(key: str) -> str:
    if len(key) <= _MAX_KEY:
        return key
    digest = blake2b(key.encode(errors="surrogatepass"), digest_size=12).hexdigest()
    return f"{key.partition(':')[0][:12]}~{digest}"


def _bare(text: str) -> str:
    """Return what stands for itself: without spaces, dollars and the commands that only change its looks; words without case."""
    bare = _STYLES.sub("", text.strip()).rstrip(".!").replace("{", "").replace("}", "")
    return bare if "\\" in bare else bare.casefold()


def _read(answer: str) -> str:
    text = " ".join(answer.split())
    if len(text) > MAX_CHARS:
        return "text:" + _bare(text)
    if "boxed" in text and (inner := last_boxed(text)) is not None and text.startswith("\\boxed"):
        text = inner.strip()
    words = text.strip("$ .!")
    if _LONG_WORD.search(words) and _WORDS.fullmatch(words) and not _is_name(words):
        return "text:" + _bare(words)
    if based := _based(text.strip("$ .")):
        return based
    try:
        plain = plain_signs(_INTRODUCED.sub("", _ORDINAL.sub("", text))).strip()
        tokens = _trimmed(tokenize(plain))
        if (phrase := _all_words(tokens)) is not None:
            return "text:" + _bare(phrase)
        return _statement(tokens).key
    except MemoryError:
        raise
    except Exception:  # a model may write anything; what cannot be read, for whatever reason, stands for itself
        return "text:" + _bare(text)


def _is_name(words: str) -> bool:
    return words.isupper() and " " not in words


def _based(text: str) -> str | None:
    match = _BASED.fullmatch(text)
    if match is None:
        return None
    base = _BASE_WORDS.get(match[2], match[2])
    is_base = base.isdigit() and 2 <= int(base) <= 36 and all(int(digit, 36) < int(base) for digit in match[1])
    return f"base {base}:{match[1].lstrip('0') or '0'}" if is_base else None


def _trimmed(tokens: Sequence[Token]) -> tuple[Token, ...]:
    """Return the tokens without a final full stop and a leading sign of approximation."""
    kept = tuple(tokens)
    while kept and kept[-1].is_sign(".", ",", ";"):
        kept = kept[:-1]
    while kept and kept[0].is_sign("approx", "=", "therefore"):
        kept = kept[1:]
    if not kept:
        raise Unreadable("nothing")
    return kept


def _all_words(tokens: Sequence[Token]) -> str | None:
    """Return the words of an answer that is nothing but words; a name (`AC`) is none."""
    kept = [token for token in tokens if not token.is_sign("-", "'", ".", "{", "}")]
    is_wordy = all(token.kind in ("text", "word", "letter") for token in kept) and any(
        token.kind == "text" or (token.kind == "word" and len(token.text) > 2) for token in kept
    )
    if not is_wordy or (len(kept) == 1 and kept[0].text.isupper()):
        return None
    text = " ".join(" ".join(token.text for token in kept).split()).strip(" .!").casefold()
    return text or None


def _statement(tokens: Sequence[Token]) -> Item:
    """Read a whole answer."""
    tokens = _trimmed(tokens)
    if len(tokens) == 1 and tokens[0].is_sign("emptyset"):
        return _set(())
    if (found := _modular(tokens)) is not None:
        return found
    parts = _split(tokens, ",", ";", "or")
    if len(parts) > 1:
        return _list([_statement(part) for part in parts if part])
    if len(_split(tokens, "cup")) > 1:
        return _union([_statement(part) for part in _split(tokens, "cup")])
    if len(sides := _split(tokens, "setminus")) == 2:
        return _without(_statement(sides[0]), _statement(sides[1]))
    relations = [token.text for token in _top_level(tokens) if token.is_sign(*_RELATIONS)]
    if relations:
        return _relation(_split(tokens, *_RELATIONS), relations)
    if len(ratio := _split(tokens, ":")) > 1:
        return _ratio(ratio)
    return _single(tokens)


def _is_separator(token: Token, signs: Sequence[str]) -> bool:
    if token.kind in ("text", "word"):
        return "or" in signs and token.text.strip(" ,") in ("or", "and")
    return token.is_sign(*signs)


def _levels(tokens: Sequence[Token]) -> list[bool]:
    """Return for each token whether it stands outside all brackets.

    Raises:
        Unreadable: they do not match; half-open intervals may mix round and square ones.
    """
    open_signs: list[str] = []
    outside = []
    bars = 0
    for token in tokens:
        if token.is_sign(*_CLOSING) and open_signs:
            opened = open_signs.pop()
            if token.text != _OPENING[opened] and {opened, token.text} not in ({"(", "]"}, {"[", ")"}):
                raise Unreadable("brackets")
        elif token.is_sign(*_CLOSING):
            raise Unreadable("brackets")
        outside.append(not open_signs and bars % 2 == 0)
        if token.is_sign(*_OPENING):
            open_signs.append(token.text)
            outside[-1] = len(open_signs) == 1 and bars % 2 == 0
        elif token.is_sign("|"):
            bars += not open_signs
    if open_signs:
        raise Unreadable("brackets")
    return outside


def _top_level(tokens: Sequence[Token]) -> list[Token]:
    return [token for token, is_outside in zip(tokens, _levels(tokens), strict=True) if is_outside]


def _split(tokens: Sequence[Token], *signs: str) -> list[tuple[Token, ...]]:
    """Return the parts between these signs, where they stand outside brackets."""
    parts: list[list[Token]] = [[]]
    for token, is_outside in zip(tokens, _levels(tokens), strict=True):
        if is_outside and _is_separator(token, signs):
            parts.append([])
        else:
            parts[-1].append(token)
    if len(parts) > _MAX_PARTS:
        raise Unreadable("too many parts")
    return [tuple(part) for part in parts]


def _inside(tokens: Sequence[Token]) -> tuple[str, tuple[Token, ...], str] | None:
    """Return opening, content and closing of an answer that stands in one pair of brackets."""
    if len(tokens) < 2 or not tokens[0].is_sign(*_OPENING) or not tokens[-1].is_sign(*_CLOSING):
        return None
    levels = _levels(tokens)
    if any(levels[1:-1]) or tokens[0].text in ("lfloor", "lceil"):
        return None
    return tokens[0].text, tuple(tokens[1:-1]), tokens[-1].text


def _single(tokens: Sequence[Token]) -> Item:
    """Read what has no commas, unions or relations outside brackets."""
    if (bracketed := _inside(tokens)) is not None:
        opening, content, closing = bracketed
        if opening == "\\{":
            return _braced(content)
        parts = _split(content, ",", ";") if opening != "{" else [content]
        if len(parts) > 1:
            return _sequence(opening, [_statement(part) for part in parts], closing)
        if opening == "{" or (opening == "(" and closing == ")"):
            return _statement(content)
    if tokens and tokens[0].is_sign("begin"):
        return _matrix(tokens)
    if tokens and (infinity := _infinity(tokens)):
        return Item("value", infinity)
    if len(tokens) == 4 and tokens[0].is_sign("mathbb"):
        return _numbers(tokens[2].text)
    tokens, scale, is_percent = _without_unit(tokens)
    item = _expression(tokens, scale)
    return Item("percent", f"{item.key}%") if is_percent else item


def _infinity(tokens: Sequence[Token]) -> str | None:
    texts = [token.text for token in tokens]
    return {("infty",): "oo", ("+", "infty"): "oo", ("-", "infty"): "-oo"}.get(tuple(texts))


def _numbers(name: str) -> Item:
    low, high = Item("value", "-oo"), Item("value", "oo")
    return _interval(False, low, high, False) if name == "R" else Item("other", f"mathbb:{name}")


def _without_unit(tokens: Sequence[Token]) -> tuple[tuple[Token, ...], int, bool]:
    """Return the tokens without units at their end, a factor (million) and whether it is a percentage."""
    kept, scale, is_percent = tuple(tokens), 1, False
    if any(token.kind == "command" and in_degrees(token.text) for token in kept):
        return kept, scale, is_percent  # these degrees are an angle
    while len(kept) > 1:
        last = kept[-1]
        if last.is_sign("%") or (last.kind in ("text", "word") and last.text.casefold() in ("percent", "per cent")):
            kept, is_percent = kept[:-1], True
        elif len(kept) > 2 and kept[-2].is_sign("^") and last.is_sign("circ"):
            kept = kept[:-2]
        elif last.is_sign("circ"):
            kept = kept[:-1]
        elif len(kept) > 4 and [token.text for token in kept[-4:]] == ["^", "{", "circ", "}"]:
            kept = kept[:-4]
        elif last.kind in ("text", "word") and last.text.casefold() in _SCALES:
            kept, scale = kept[:-1], scale * _SCALES[last.text.casefold()]
        elif (width := _unit_width(kept)) and width < len(kept):
            kept = kept[:-width]
        else:
            break
    return kept, scale, is_percent


def _unit_width(tokens: Sequence[Token]) -> int:
    """Return how many tokens at the end are a unit, with its power: `cm`, `\\text{ m}^2`, `square meters`."""
    end = len(tokens)
    if end > 2 and tokens[-2].is_sign("^") and tokens[-1].text in ("2", "3"):
        end -= 2
    elif end > 4 and tokens[-4].is_sign("^") and tokens[-3].is_sign("{") and tokens[-1].is_sign("}"):
        end -= 4
    last = tokens[end - 1]
    is_word = last.kind == "word" and (
        last.text in _UNITS or (last.is_spaced and len(last.text) > 2 and last.text.islower())
    )
    if not (_is_unit_text(last) or is_word or (last.is_sign("/") and end < len(tokens))):
        return 0
    width = len(tokens) - end + 1
    if end > 2 and tokens[end - 2].is_sign("/") and (_is_unit_text(tokens[end - 3]) or tokens[end - 3].text in _UNITS):
        width += 1
    return width


def _is_unit_text(token: Token) -> bool:
    return token.kind == "text" and token.text.casefold() not in _NO_UNITS and not any(map(str.isdigit, token.text))


def _expression(tokens: Sequence[Token], scale: int = 1) -> Item:
    node = parse(tokens)
    if scale != 1:
        node = Node("multiply", (node, Node("number", value=Fraction(scale))))
    if has_sign(node):
        return _set((_valued(signed(node, 1)), _valued(signed(node, -1))))
    return _valued(node)


def _valued(node: Node) -> Item:
    if not symbols(node):
        value = evaluate(node, _no_variables)
        return Item("value", value_key(value), value)
    return _function(_values(node))


def _no_variables(name: str) -> Fraction:
    raise Unreadable(f"variable {name}")


def _values(node: Node, fixed: Mapping[str, Fraction] | None = None) -> list[Any]:
    """Return the values of an expression at all points, with some variables fixed."""
    known = fixed or {}
    return [evaluate(node, lambda name, j=j: known[name] if name in known else point(name, j)) for j in range(POINTS)]  # type: ignore[misc]


def _function(values: Sequence[Any]) -> Item:
    """Return the item of an expression in variables, by its values."""
    keys = [value_key(value) for value in values]
    if len(set(keys)) == 1:
        return Item("value", keys[0], values[0])
    return Item("function", "f:" + _digest(keys))


def _digest(keys: Sequence[str]) -> str:
    return blake2b("\n".join(keys).encode(), digest_size=12).hexdigest()


def _relation(sides: Sequence[tuple[Token, ...]], relations: Sequence[str]) -> Item:
    if not all(sides):
        raise Unreadable("an empty side")
    kinds = set(relations)
    if kinds == {"in"} and len(sides) == 2:
        return _statement(sides[1])
    if kinds <= {"=", "approx"}:
        return _equation(sides)
    if len(sides) == 2 and relations[0] == "ne":
        return _unequal(sides)
    if kinds <= {"<", "le"} or kinds <= {">", "ge"}:
        return _inequalities(sides, relations)
    raise Unreadable("mixed relations")


_CALL = re.compile(r"[A-Za-z]'{0,3}(?:\^\{?-1\}?|_[A-Za-z0-9]|\^\{?\(\d\)\}?)?\(.*\)", re.DOTALL)


def _is_call(side: Sequence[Token]) -> bool:
    """Say whether a side names a function's value, as in `f(x)` or `P(X=2)`."""
    text = "".join(token.text for token in side)
    if not _CALL.fullmatch(text) or (text[0].islower() and text[0] not in "fgh"):
        return False
    start = next(place for place, token in enumerate(side) if token.is_sign("("))
    return _inside(side[start:]) is not None


def _equation(sides: Sequence[tuple[Token, ...]]) -> Item:
    first, last = sides[0], sides[-1]
    if _is_call(first):
        return _single(last)
    if len(_split(last, ",")) == 1 and (_inside(last) or last[0].is_sign("begin")) and _is_several(last):
        return _statement(last)  # `(x,y) = (1,2)`
    try:
        left = parse(_without_unit(first)[0])
    except Unreadable:
        right = _single(last)
        if right.kind in ("value", "percent"):
            return right  # `\angle ABC = 30^\circ`
        raise
    kept, scale, is_percent = _without_unit(last)
    right_node = parse(kept) if _infinity(kept) is None else None
    if right_node is None or is_percent or scale != 1:
        return _single(last)
    if not symbols(left) and not symbols(right_node):
        return _single(last)
    if has_sign(right_node) and not has_sign(left):
        items = tuple(_solved(left, signed(right_node, sign)) for sign in (1, -1))
        return _set(tuple(Item(item.kind, item.key, item.value) for item in items))
    return _solved(left, right_node)


def _is_several(tokens: Sequence[Token]) -> bool:
    bracketed = _inside(tokens)
    return bracketed is None or bracketed[0] == "\\{" or len(_split(bracketed[1], ",", ";")) > 1


def _solved(left: Node, right: Node) -> Item:
    """Return what an equation says of the variable that it is linear in, or its values up to a factor."""
    difference = Node("add", (left, Node("negate", (right,))))
    names = sorted(symbols(difference))
    for name in _dependents(names):
        if (solved := _linear(difference, name)) is not None:
            item = _function([divide(-constant, slope) for constant, slope in solved])
            return Item("assignment", item.key, item.value, name=name)
    return Item("other", "eq:" + _digest(_scaled(_values(difference))))


def _dependents(names: Sequence[str]) -> list[str]:
    """Return the variables that an equation may be solved for, in order: the only one, y, z, w, capitals."""
    if len(names) == 1:
        return list(names)
    plain = [name for name in _DEPENDENT if name in names]
    return plain + [name for name in names if name[0].isupper() or "_" in name or len(name.rstrip("'")) > 1]


def _linear(difference: Node, name: str) -> list[tuple[Any, Any]] | None:
    """Return constant and slope at each point, if the expression is linear in the variable with a constant slope."""
    at_0, at_1, at_3 = (_values(difference, {name: Fraction(value)}) for value in (0, 1, 3))
    slopes = [subtract(one, zero) for zero, one in zip(at_0, at_1, strict=True)]
    for zero, slope, three in zip(at_0, slopes, at_3, strict=True):
        if is_zero(slope) or not is_zero(subtract(subtract(three, zero), 3 * slope)):
            return None
        if not is_zero(subtract(slope, slopes[0])):
            return None
    return list(zip(at_0, slopes, strict=True))


def _scaled(values: Sequence[Any], is_positive: bool = False) -> list[str]:
    """Return values up to a constant factor, or up to a positive one."""
    pivot = next((value for value in values if not is_zero(value)), None)
    if pivot is None:
        return ["0"] * len(values)
    if is_positive:
        pivot = abs(pivot)
    return [value_key(divide(value, pivot)) for value in values]


def _unequal(sides: Sequence[tuple[Token, ...]]) -> Item:
    item = _solved(parse(sides[0]), parse(sides[1]))
    if item.kind == "assignment" and item.value is not None:
        return _without(_numbers("R"), Item("value", item.key, item.value))
    return Item("other", "ne:" + item.key)


def _inequalities(sides: Sequence[tuple[Token, ...]], relations: Sequence[str]) -> Item:
    """Read a chain of inequalities: an interval where it is one of one variable."""
    bounds = [_bound(sides[j], relation, sides[j + 1]) for j, relation in enumerate(relations)]
    if len(bounds) == 1:
        return bounds[0]
    if len(bounds) != 2 or any(bound.kind != "interval" for bound in bounds):
        raise Unreadable("a chain of inequalities")
    lows = [bound.ends[0] for bound in bounds if bound.ends[0][1].key != "-oo"]
    highs = [bound.ends[1] for bound in bounds if bound.ends[1][1].key != "oo"]
    if len(lows) != 1 or len(highs) != 1 or bounds[0].name != bounds[1].name:
        raise Unreadable("a chain of inequalities")
    return _interval(lows[0][0], lows[0][1], highs[0][1], highs[0][0])


def _bound(left: tuple[Token, ...], relation: str, right: tuple[Token, ...]) -> Item:
    if relation in (">", "ge"):
        left, relation, right = right, _TURNED[relation], left
    # Now left < right, that is left - right < 0.
    is_closed = relation == "le"
    if _infinity(left) or _infinity(right):
        return _infinite_bound(left, right)
    difference = Node("add", (parse(left), Node("negate", (parse(_without_unit(right)[0]),))))
    names = sorted(symbols(difference))
    if len(names) == 1 and (solved := _linear(difference, names[0])) is not None:
        constant, slope = solved[0]
        value = divide(-constant, slope)
        rising = as_real(slope)
        end = Item("value", value_key(value), value)
        if rising is not None and as_real(value) is not None:
            whole = _numbers("R")
            low, high = (whole.ends[0], (is_closed, end)) if rising > 0 else ((is_closed, end), whole.ends[1])
            return _interval(low[0], low[1], high[1], high[0], names[0])
    kind = "le" if is_closed else "lt"
    return Item("other", f"{kind}:" + _digest(_scaled(_values(difference), is_positive=True)))


def _infinite_bound(left: tuple[Token, ...], right: tuple[Token, ...]) -> Item:
    named = right if _infinity(left) else left
    whole = _numbers("R")
    return Item(whole.kind, whole.key, name="".join(sorted(symbols(parse(named)))), ends=whole.ends)


def _interval(low_closed: bool, low: Item, high: Item, high_closed: bool, name: str = "") -> Item:
    key = f"{'[' if low_closed else '('}{low.key},{high.key}{']' if high_closed else ')'}"
    return Item("interval", key, name=name, ends=((low_closed, low), (high_closed, high)))


def _sequence(opening: str, parts: Sequence[Item], closing: str) -> Item:
    """Read what stands in round or square brackets with commas: a tuple, an interval, or a list."""
    keys = ",".join(part.key for part in parts)
    if len(parts) == 2 and (opening, closing) != ("langle", "rangle"):
        interval = _interval(opening == "[", parts[0], parts[1], closing == "]")
        return Item("interval", interval.key, parts=tuple(parts), ends=interval.ends)
    if opening != ("[") and closing != "]":
        return Item("tuple", f"({keys})", parts=tuple(parts))
    if (opening, closing) == ("[", "]"):
        return Item("other", f"[{keys}]")
    raise Unreadable("an interval of several ends")


def _braced(content: tuple[Token, ...]) -> Item:
    if not content:
        return _set(())
    for sign in ("|", ":"):
        named = _split(content, ":") if sign == ":" else _split_at_bar(content)
        if len(named) == 2 and named[1]:
            return _statement(named[1])  # `\{x : x > 5\}`
    parts = _split(content, ",", ";")
    return _set(tuple(_statement(part) for part in parts))


def _split_at_bar(tokens: Sequence[Token]) -> list[tuple[Token, ...]]:
    bars = [place for place, token in enumerate(tokens) if token.is_sign("|")]
    if len(bars) != 1:
        return [tuple(tokens)]
    return [tuple(tokens[: bars[0]]), tuple(tokens[bars[0] + 1 :])]


def _list(parts: Sequence[Item]) -> Item:
    """Read parts with commas between: assignments to several variables are a tuple, in the order of their names; intervals a union;
    anything else a set."""
    if not parts:
        raise Unreadable("nothing between commas")
    names = [part.name.partition("_")[0] for part in parts]
    if all(part.kind == "assignment" for part in parts) and len(set(names)) == len(parts):
        ordered = sorted(parts, key=lambda part: part.name)
        return _sequence("(", ordered, ")")
    if all(part.kind == "interval" and part.name for part in parts):
        return _union(parts)
    return _set(tuple(parts))


def _set(parts: Sequence[Item]) -> Item:
    flat = [each for part in parts for each in (part.parts if part.kind == "set" else (part,))]
    distinct = {part.key: part for part in flat}
    if len(distinct) == 1:
        return flat[0]
    ordered = tuple(distinct[key] for key in sorted(distinct))
    return Item("set", "{" + ",".join(part.key for part in ordered) + "}", parts=ordered)


def _union(parts: Sequence[Item]) -> Item:
    flat = [each for part in parts for each in (part.parts if part.kind in ("union", "set") else (part,))]
    if all(part.kind == "value" for part in flat):
        return _set(flat)
    keys = sorted({part.key for part in flat})
    return Item("union", "u" + "".join(keys), parts=tuple(flat)) if len(keys) > 1 else flat[0]


def _without(whole: Item, removed: Item) -> Item:
    """Return a set without some points: of all real numbers, the intervals between them."""
    points = list(removed.parts) if removed.kind == "set" else [removed]
    reals = [as_real(each.value) if each.value is not None else None for each in points]
    if whole.key != "(-oo,oo)" or any(real is None for real in reals):
        return Item("other", f"{whole.key} without {removed.key}")
    order: Callable[[int], Any] = lambda place: reals[place]  # noqa: E731
    ordered = [points[place] for place in sorted(range(len(points)), key=order)]
    ends = [Item("value", "-oo"), *ordered, Item("value", "oo")]
    return _union([_interval(False, low, high, False) for low, high in pairwise(ends)])


def _ratio(parts: Sequence[tuple[Token, ...]]) -> Item:
    items = [_expression(part) for part in parts]
    values = [item.value for item in items]
    if any(not isinstance(value, Fraction) or value <= 0 for value in values):
        return Item("other", ":".join(item.key for item in items))
    first = values[0]
    return Item("other", "ratio " + ":".join(value_key(value / first) for value in values))


def _modular(tokens: Sequence[Token]) -> Item | None:
    """Read `x \\equiv 3 \\pmod 7` as the class of 3 modulo 7; None if the answer has no modulus."""
    places = [place for place, token in enumerate(tokens) if token.is_sign("pmod", "bmod", "mod")]
    if len(places) != 1:
        return None
    head, modulus = tokens[: places[0]], tokens[places[0] + 1 :]
    while head and head[-1].is_sign("("):
        head, modulus = head[:-1], modulus[:-1]
    sides = _split(head, "equiv", "=")
    found, over = _statement(sides[-1]), _statement(modulus)
    if not isinstance(found.value, Fraction) or not isinstance(over.value, Fraction) or over.value <= 0:
        return Item("other", f"{found.key} mod {over.key}")
    return Item("other", f"{found.value % over.value} mod {over.value}")


def _matrix(tokens: Sequence[Token]) -> Item:
    """Read `\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}`."""
    texts = [token.text for token in tokens]
    name = texts[2] if len(texts) > 3 and texts[1] == "{" else ""
    if not name.endswith(("matrix", "array")) or texts[-4:] != ["end", "{", name, "}"]:
        raise Unreadable("an environment")
    body = tokens[4:-4]
    if name == "array" and body and body[0].is_sign("{"):
        body = body[[token.text for token in body].index("}") + 1 :]
    rows = [row for row in _split(body, "\\\\") if row]
    cells = [[_statement(cell).key for cell in _split(row, "&")] for row in rows]
    kind = "det" if name[0] in "vV" else "matrix"
    return Item("other", f"{kind}:" + ";".join(",".join(row) for row in cells))
