"""Exact text: labels, names, code. Only spaces around it and how many stand within are ignored."""

from __future__ import annotations

from typing import ClassVar

from pruner.answers.keys import limited
from pruner.answers.kinds.base import AnswerKind


class ExactAnswers(AnswerKind):
    name: ClassVar[str] = "exact"

    def key(self, answer: str) -> str:
        return limited("exact:" + " ".join(answer.split()))

    def grade(self, gold: str, answer: str) -> int:
        return int(" ".join(gold.split()) == " ".join(answer.split()))

    def plain_key(self, answer: str) -> str | None:
        return self.key(answer)

    def plain_grade(self, gold: str, answer: str) -> int | None:
        return self.grade(gold, answer)
