"""Units, degrees and percent signs at the end of an answer. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pruner.answers.expressions import in_degrees
from pruner.answers.latex import Token

_UNIT_WORDS = """
    mm cm dm km nm um mi ft yd in inch inches foot feet yard yards mile miles meter meters metre metres centimeter centimeters
    kilometer kilometers mg kg lb lbs oz gram grams kilogram kilograms pound pounds ml mL cl dl liter liters litre litres sec
    secs second seconds min mins minute minutes hr hrs hour hours day days week weeks month months year years mph kph Hz kHz rad
    radians radian deg degree degrees dollar dollars cent cents euro euros USD EUR unit units sq square cubic cm2 m2 per percent
"""
_UNITS = frozenset(_UNIT_WORDS.split())
_NO_UNITS = frozenset(("or", "and", "am", "pm", "a.m.", "p.m.", "a.m", "p.m"))
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}


def without_unit(tokens: Sequence[Token]) -> tuple[tuple[Token, ...], int, bool]:
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
    if token.kind == "text letter":
        return True
    return token.kind == "text" and token.text.casefold() not in _NO_UNITS and not any(map(str.isdigit, token.text))
