"""What a kind of answers decides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar


class AnswerKind(ABC):
    """How answers of a problem set compare. A kind has no state, and is the same in every process.

    Attributes:
        name: what `problems.answers` calls it.
    """

    name: ClassVar[str]

    @abstractmethod
    def key(self, answer: str) -> str:
        """Return the canonical key: answers are equal exactly when their keys are. At most 120 characters (keys.limited), in bounded time."""

    @abstractmethod
    def grade(self, gold: str, answer: str) -> int:
        """Return 1 if the answer is right, else 0. It runs in the worker process and is stopped after answer_time_limit_s."""

    def plain_key(self, answer: str) -> str | None:
        """Return the key where that costs next to nothing; None leaves it to the worker process."""
        return None

    def plain_grade(self, gold: str, answer: str) -> int | None:
        """Return the grade where that costs next to nothing, else None."""
        return None

    def prepare(self) -> None:
        """Import what grading needs, so that it is not the first answer's time."""
        return
