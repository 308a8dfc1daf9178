"""Where an answer's tokens part: brackets, and what is outside of them. Pure; knows no mathematics."""

from __future__ import annotations

from collections.abc import Sequence

from pruner.answers.latex import Token, Unreadable

OPENING = {"(": ")", "[": "]", "\\{": "\\}", "{": "}", "langle": "rangle", "lfloor": "rfloor", "lceil": "rceil"}
_CLOSING = frozenset(OPENING.values())
_MAX_PARTS = 200


def _is_separator(token: Token, signs: Sequence[str]) -> bool:
    if token.kind in ("text", "word"):
        return "or" in signs and token.text.strip(" ,") in ("or", "and")
    return token.is_sign(*signs)


def _levels(tokens: Sequence[Token]) -> list[bool]:
    """Return for each token whether it is outside all brackets.

    Raises:
        Unreadable: they do not match; half-open intervals may mix round and square ones.
    """
    open_signs: list[str] = []
    outside = []
    bars = 0
    for token in tokens:
        if token.is_sign(*_CLOSING) and open_signs:
            opened = open_signs.pop()
            if token.text != OPENING[opened] and {opened, token.text} not in ({"(", "]"}, {"[", ")"}):
                raise Unreadable("brackets")
        elif token.is_sign(*_CLOSING):
            raise Unreadable("brackets")
        outside.append(not open_signs and bars % 2 == 0)
        if token.is_sign(*OPENING):
            open_signs.append(token.text)
            outside[-1] = len(open_signs) == 1 and bars % 2 == 0
        elif token.is_sign("|"):
            bars += not open_signs
    if open_signs:
        raise Unreadable("brackets")
    return outside


def top_level(tokens: Sequence[Token]) -> list[Token]:
    return [token for token, is_outside in zip(tokens, _levels(tokens), strict=True) if is_outside]


def split(tokens: Sequence[Token], *signs: str) -> list[tuple[Token, ...]]:
    """Return the parts between these signs, where they are outside brackets."""
    parts: list[list[Token]] = [[]]
    for token, is_outside in zip(tokens, _levels(tokens), strict=True):
        if is_outside and _is_separator(token, signs):
            parts.append([])
        else:
            parts[-1].append(token)
    if len(parts) > _MAX_PARTS:
        raise Unreadable("too many parts")
    return [tuple(part) for part in parts]


def inside(tokens: Sequence[Token]) -> tuple[str, tuple[Token, ...], str] | None:
    """Return opening, content and closing of an answer that is in one pair of brackets."""
    if len(tokens) < 2 or not tokens[0].is_sign(*OPENING) or not tokens[-1].is_sign(*_CLOSING):
        return None
    levels = _levels(tokens)
    if any(levels[1:-1]) or tokens[0].text in ("lfloor", "lceil"):
        return None
    return tokens[0].text, tuple(tokens[1:-1]), tokens[-1].text


def split_at_bar(tokens: Sequence[Token]) -> list[tuple[Token, ...]]:
    bars = [place for place, token in enumerate(tokens) if token.is_sign("|")]
    if len(bars) != 1:
        return [tuple(tokens)]
    return [tuple(tokens[: bars[0]]), tuple(tokens[bars[0] + 1 :])]


def infinity(tokens: Sequence[Token]) -> str | None:
    texts = [token.text for token in tokens]
    return {("infty",): "oo", ("+", "infty"): "oo", ("-", "infty"): "-oo"}.get(tuple(texts))


def trimmed(tokens: Sequence[Token]) -> tuple[Token, ...]:
    """Return the tokens without a final full stop and a leading sign of approximation."""
    kept = tuple(tokens)
    while kept and kept[-1].is_sign(".", ",", ";"):
        kept = kept[:-1]
    while kept and kept[0].is_sign("approx", "=", "therefore"):
        kept = kept[1:]
    if not kept:
        raise Unreadable("nothing")
    return kept
