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
from collections.abc import Sequence
from fractions import Fraction
from hashlib import blake2b

from pruner.answers.equations import digest, linear, scaled, solved, valued, values_of
from pruner.answers.expressions import Node, has_sign, parse, signed, symbols
from pruner.answers.extraction import last_boxed
from pruner.answers.items import Item, as_set, interval, listed, numbers, sequence, union, without
from pruner.answers.latex import Token, Unreadable, plain_signs, tokenize
from pruner.answers.structure import infinity, inside, split, split_at_bar, top_level, trimmed
from pruner.answers.units import without_unit
from pruner.answers.values import as_real, divide, value_key

MAX_CHARS = 1000
_MAX_KEY = 120
_PLAIN = re.compile(r"-?(?:0|[1-9]\d{0,17})")
_BASE_WORDS = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10", "twelve": "12", "sixteen": "16"}  # fmt: skip
_BASED = re.compile(
    r"[({\s]*([0-9A-Z]{0,60}[0-9][0-9A-Z]{0,60})[)}\s]*_\s*\{?\s*(?:\\text\s*\{)?\s*(?:base\s*\}?\s*)?(\d{1,2}|[a-z]{1,9})[}\s]*"
)
_RELATIONS = ("=", "<", ">", "le", "ge", "ne", "approx", "in", "equiv")
_TURNED = {"<": ">", ">": "<", "le": "ge", "ge": "le"}
_WORDS = re.compile(r"[A-Za-z]+(?:['\s-][A-Za-z]+)*")
_LONG_WORD = re.compile(r"[A-Za-z]{3}")
_ORDINAL = re.compile(
    r"(?<=\d)\s*(?:\^?\s*\{?\s*\\(?:text|mathrm|textsuperscript|mbox)\s*\{\s*(?:st|nd|rd|th)\s*\}\s*\}?|(?:st|nd|rd|th)\b)"
)
_INTRODUCED = re.compile(r"\\text\s*\{[^{}]{0,80}\b(?:is|are|be|equals|=|:)\s*:?\s*\}(?=.)", re.IGNORECASE)
_STYLES = re.compile(
    r"\\(?:left|right|text|mathrm|mathbf|textbf|displaystyle|operatorname|[,;:!> ])(?![A-Za-z])|[\s$~]"
)


def plain_key(answer: str) -> str | None:
    """Return the key of a plain whole number, as most answers are, at next to no cost; None for anything else."""
    return answer if _PLAIN.fullmatch(answer) and answer != "-0" else None


def math_key(answer: str) -> str:
    """Return the canonical key of an answer in mathematics, at most 120 characters."""
    return limited(plain_key(answer) or _read(answer))


def limited(key: str) -> str:
    """Return a key, or what stands for one that is too long."""
    if len(key) <= _MAX_KEY:
        return key
    digest = blake2b(key.encode(errors="surrogatepass"), digest_size=12).hexdigest()
    return f"{key.partition(':')[0][:12]}~{digest}"


def bare(text: str) -> str:
    """Return what stands for itself: without spaces, dollars and the commands that only change its looks; words without case."""
    bare = _STYLES.sub("", text.strip()).rstrip(".!").replace("{", "").replace("}", "")
    return bare if "\\" in bare else bare.casefold()


def _read(answer: str) -> str:
    text = " ".join(answer.split())
    if len(text) > MAX_CHARS:
        return "text:" + bare(text)
    if "boxed" in text and (inner := last_boxed(text)) is not None and text.startswith("\\boxed"):
        text = inner.strip()
    words = text.strip("$ .!")
    if (_LONG_WORD.search(words) or words.casefold() == "no") and _WORDS.fullmatch(words) and not _is_name(words):
        return "text:" + bare(words)
    if based := _based(text.strip("$ .")):
        return based
    try:
        plain = plain_signs(_INTRODUCED.sub("", _ORDINAL.sub("", text))).strip()
        tokens = trimmed(tokenize(plain))
        if (phrase := _all_words(tokens)) is not None:
            return "text:" + bare(phrase)
        return _statement(tokens).key
    except MemoryError:
        raise
    except Exception:  # a model may write anything; what cannot be read, for whatever reason, stands for itself
        return "text:" + bare(text)


def _is_name(words: str) -> bool:
    return words.isupper() and " " not in words


def _based(text: str) -> str | None:
    match = _BASED.fullmatch(text)
    if match is None:
        return None
    base = _BASE_WORDS.get(match[2], match[2])
    is_base = base.isdigit() and 2 <= int(base) <= 36 and all(int(digit, 36) < int(base) for digit in match[1])
    return f"base {base}:{match[1].lstrip('0') or '0'}" if is_base else None


def _all_words(tokens: Sequence[Token]) -> str | None:
    """Return the words of an answer that is nothing but words; a name (`AC`) is none."""
    kept = [token for token in tokens if not token.is_sign("-", "'", ".", "{", "}")]
    is_wordy = all(token.kind in ("text", "word", "letter", "text letter") for token in kept) and any(
        token.kind == "text" or (token.kind == "word" and len(token.text) > 2) for token in kept
    )
    if not is_wordy or (len(kept) == 1 and kept[0].text.isupper()):
        return None
    text = " ".join(" ".join(token.text for token in kept).split()).strip(" .!").casefold()
    return text or None


def _statement(tokens: Sequence[Token]) -> Item:
    """Read a whole answer."""
    tokens = trimmed(tokens)
    if len(tokens) == 1 and tokens[0].is_sign("emptyset"):
        return as_set(())
    if (found := _modular(tokens)) is not None:
        return found
    parts = split(tokens, ",", ";", "or")
    if len(parts) > 1:
        return listed([_statement(part) for part in parts if part])
    if len(split(tokens, "cup")) > 1:
        return union([_statement(part) for part in split(tokens, "cup")])
    if len(sides := split(tokens, "setminus")) == 2:
        return without(_statement(sides[0]), _statement(sides[1]))
    relations = [token.text for token in top_level(tokens) if token.is_sign(*_RELATIONS)]
    if relations:
        return _relation(split(tokens, *_RELATIONS), relations)
    if len(ratio := split(tokens, ":")) > 1:
        return _ratio(ratio)
    return _single(tokens)


def _single(tokens: Sequence[Token]) -> Item:
    """Read what has no commas, unions or relations outside brackets."""
    if (bracketed := inside(tokens)) is not None:
        opening, content, closing = bracketed
        if opening == "\\{":
            return _braced(content)
        parts = split(content, ",", ";") if opening != "{" else [content]
        if len(parts) > 1:
            return sequence(opening, [_statement(part) for part in parts], closing)
        if opening == "{" or (opening == "(" and closing == ")"):
            return _statement(content)
    if tokens and tokens[0].is_sign("begin"):
        return _matrix(tokens)
    if tokens and (endless := infinity(tokens)):
        return Item("value", endless)
    if len(tokens) == 4 and tokens[0].is_sign("mathbb"):
        return numbers(tokens[2].text)
    tokens, scale, is_percent = without_unit(tokens)
    item = _expression(tokens, scale)
    return Item("percent", f"{item.key}%") if is_percent else item


def _expression(tokens: Sequence[Token], scale: int = 1) -> Item:
    node = parse(tokens)
    if scale != 1:
        node = Node("multiply", (node, Node("number", value=Fraction(scale))))
    if has_sign(node):
        return as_set((valued(signed(node, 1)), valued(signed(node, -1))))
    return valued(node)


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
    return inside(side[start:]) is not None


def _equation(sides: Sequence[tuple[Token, ...]]) -> Item:
    first, last = sides[0], sides[-1]
    if _is_call(first):
        return _single(last)
    if len(split(last, ",")) == 1 and (inside(last) or last[0].is_sign("begin")) and _is_several(last):
        return _statement(last)  # `(x,y) = (1,2)`
    try:
        left = parse(without_unit(first)[0])
    except Unreadable:
        right = _single(last)
        if right.kind in ("value", "percent"):
            return right  # `\angle ABC = 30^\circ`
        raise
    kept, scale, is_percent = without_unit(last)
    right_node = parse(kept) if infinity(kept) is None else None
    if right_node is None or is_percent or scale != 1:
        return _single(last)
    if not symbols(left) and not symbols(right_node):
        return _single(last)
    if has_sign(right_node) and not has_sign(left):
        items = tuple(solved(left, signed(right_node, sign)) for sign in (1, -1))
        return as_set(tuple(Item(item.kind, item.key, item.value) for item in items))
    return solved(left, right_node)


def _is_several(tokens: Sequence[Token]) -> bool:
    bracketed = inside(tokens)
    return bracketed is None or bracketed[0] == "\\{" or len(split(bracketed[1], ",", ";")) > 1


def _unequal(sides: Sequence[tuple[Token, ...]]) -> Item:
    item = solved(parse(sides[0]), parse(sides[1]))
    if item.kind == "assignment" and item.value is not None:
        return without(numbers("R"), Item("value", item.key, item.value))
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
    return interval(lows[0][0], lows[0][1], highs[0][1], highs[0][0])


def _bound(left: tuple[Token, ...], relation: str, right: tuple[Token, ...]) -> Item:
    if relation in (">", "ge"):
        left, relation, right = right, _TURNED[relation], left
    # Now left < right, that is left - right < 0.
    is_closed = relation == "le"
    if infinity(left) or infinity(right):
        return _infinite_bound(left, right)
    difference = Node("add", (parse(left), Node("negate", (parse(without_unit(right)[0]),))))
    names = sorted(symbols(difference))
    if len(names) == 1 and (line := linear(difference, names[0])) is not None:
        constant, slope = line[0]
        value = divide(-constant, slope)
        rising = as_real(slope)
        end = Item("value", value_key(value), value)
        if rising is not None and as_real(value) is not None:
            whole = numbers("R")
            low, high = (whole.ends[0], (is_closed, end)) if rising > 0 else ((is_closed, end), whole.ends[1])
            return interval(low[0], low[1], high[1], high[0], names[0])
    kind = "le" if is_closed else "lt"
    return Item("other", f"{kind}:" + digest(scaled(values_of(difference), is_positive=True)))


def _infinite_bound(left: tuple[Token, ...], right: tuple[Token, ...]) -> Item:
    named = right if infinity(left) else left
    whole = numbers("R")
    return Item(whole.kind, whole.key, name="".join(sorted(symbols(parse(named)))), ends=whole.ends)


def _braced(content: tuple[Token, ...]) -> Item:
    if not content:
        return as_set(())
    for sign in ("|", ":"):
        named = split(content, ":") if sign == ":" else split_at_bar(content)
        if len(named) == 2 and named[1]:
            return _statement(named[1])  # `\{x : x > 5\}`
    parts = split(content, ",", ";")
    return as_set(tuple(_statement(part) for part in parts))


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
    sides = split(head, "equiv", "=")
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
    rows = [row for row in split(body, "\\\\") if row]
    cells = [[_statement(cell).key for cell in split(row, "&")] for row in rows]
    kind = "det" if name[0] in "vV" else "matrix"
    return Item("other", f"{kind}:" + ";".join(",".join(row) for row in cells))
