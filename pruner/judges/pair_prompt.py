"""The generative judge's prompt: one question, two prefixes, one of two words expected. Training and scoring share it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pruner.errors import InputError
from pruner.prompts import ChatPrompts

_FIELD = re.compile(r"\{(?:question|left|right)\}")


@dataclass(frozen=True)
class PairPrompt:
    """The prompt that puts a pair to a judge.

    Attributes:
        prompt: the user's message, with {left} and {right}, and mostly {question}.
        labels: the words for same and different. Tokens that both begin with are put behind the prompt; the first in which they differ
            tells them apart.
        opening: what the judge is taken to have written before the label, e.g. the end of its thinking.

    Source: DeepPrune (arXiv 2510.08483) does not publish its prompt; ours is in conf/judge.
    """

    prompts: ChatPrompts
    prompt: str
    labels: tuple[str, ...]
    system: str | None = None
    opening: str = ""
    label_token_ids: tuple[int, ...] = field(init=False)
    _behind: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Raises InputError: one label is the beginning of the other."""
        same, different = (tuple(self.prompts.encode_text(word)) for word in self.labels)
        shared = next((at for at, pair in enumerate(zip(same, different, strict=False)) if pair[0] != pair[1]), None)
        if shared is None:
            raise InputError(
                f"judge.labels: of {list(self.labels)} one is the beginning of the other. Choose other words, or lengthen it by what "
                "follows it."
            )
        object.__setattr__(self, "label_token_ids", (same[shared], different[shared]))
        object.__setattr__(self, "_behind", (*self.prompts.encode_text(self.opening), *same[:shared]))

    def encode(self, question: str, left: str, right: str) -> tuple[int, ...]:
        """Return the prompt's tokens, up to where the label is expected."""
        values: Mapping[str, str] = {"{question}": question, "{left}": left, "{right}": right}
        text = _FIELD.sub(lambda match: values[match.group()], self.prompt)
        system = [{"role": "system", "content": self.system}] if self.system else []
        return self.prompts.encode_messages([*system, {"role": "user", "content": text}]) + self._behind
