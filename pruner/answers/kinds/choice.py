"""Multiple choice: an option's letter counts and nothing else."""

from __future__ import annotations

from typing import ClassVar

from pruner.answers.extraction import option_letter
from pruner.answers.keys import bare, limited
from pruner.answers.kinds.base import AnswerKind


class ChoiceAnswers(AnswerKind):
    name: ClassVar[str] = "choice"

    def key(self, answer: str) -> str:
        letter = option_letter(answer)
        return letter if letter is not None else limited("text:" + bare(answer))

    def grade(self, gold: str, answer: str) -> int:
        letter = option_letter(answer)
        return int(letter is not None and letter == option_letter(gold))

    def plain_grade(self, gold: str, answer: str) -> int | None:
        return self.grade(gold, answer)
