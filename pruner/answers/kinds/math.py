"""Mathematics: numbers, expressions, sets, intervals, words; graded by math-verify."""

from __future__ import annotations

import contextlib
from typing import ClassVar

from pruner.answers.grading import MAX_CHARS, bare_words, grade
from pruner.answers.keys import math_key, plain_key
from pruner.answers.kinds.base import AnswerKind


class MathAnswers(AnswerKind):
    name: ClassVar[str] = "math"

    def key(self, answer: str) -> str:
        return math_key(answer)

    def grade(self, gold: str, answer: str) -> int:
        return grade(gold, answer)

    def plain_key(self, answer: str) -> str | None:
        return plain_key(answer)

    def plain_grade(self, gold: str, answer: str) -> int | None:
        if plain_key(gold) is not None and plain_key(answer) is not None:
            return 0
        words = [bare_words(text) for text in (gold, answer)]
        if all(words):
            # To algebra a word is a product of letters, and `listen` would equal `silent`.
            return int(words[0] == words[1])
        return 0 if max(len(gold), len(answer)) > MAX_CHARS else None

    def prepare(self) -> None:
        with contextlib.suppress(Exception):
            grade("1", "2")
