"""One number: an integer, a decimal or a fraction, with signs of currency, percent, thousands and units around it ignored.

Numbers are compared exactly. An answer with no number in it, or with several, is equal to the same text only.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import ClassVar

from pruner.answers.keys import bare, limited
from pruner.answers.kinds.base import AnswerKind

_MAX_CHARS = 400
_FRACTION = re.compile(r"\\[dt]?frac\s*\{\s*(-?\d{1,40})\s*\}\s*\{\s*(\d{1,40})\s*\}")
_NUMBER = re.compile(
    r"(?<![\w.])[+-]?\s*(?:\d{1,3}(?:,\d{3}){1,12}(?!\d)|\d{1,60})?(?:\.\d{1,60})?(?:[eE][+-]?\d{1,3})?(?:\s*/\s*\d{1,40})?(?![\d.]\d)"
)
_IGNORED = re.compile(r"\\(?:text|mathrm|mbox)\s*\{[^{}]*\}|\\(?:left|right|[,;!% $])|[$€£¥%]|\{,\}")


class NumberAnswers(AnswerKind):
    name: ClassVar[str] = "number"

    def key(self, answer: str) -> str:
        value = number(answer)
        return limited("text:" + bare(answer)) if value is None else limited(str(value))

    def grade(self, gold: str, answer: str) -> int:
        return int(self.key(gold) == self.key(answer))

    def plain_key(self, answer: str) -> str | None:
        return self.key(answer)

    def plain_grade(self, gold: str, answer: str) -> int | None:
        return self.grade(gold, answer)


def number(answer: str) -> Fraction | None:
    """Return the only number in an answer, None if there is none or more than one."""
    if len(answer) > _MAX_CHARS:
        return None
    text = _FRACTION.sub(r"\1/\2", answer.replace("{,}", ","))
    text = _IGNORED.sub(" ", text.replace("\u2212", "-"))
    found = [
        each for each in (match.group() for match in _NUMBER.finditer(text)) if any(sign.isdigit() for sign in each)
    ]
    if len(found) != 1:
        return None
    whole, _, below = re.sub(r"[\s,+]", "", found[0]).partition("/")
    try:
        return Fraction(whole) / Fraction(below or 1)
    except (ValueError, ZeroDivisionError):
        return None
