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
    """How a pair is put to a judge.

    Attributes:
        prompt: the user's message, with {question}, {left} and {right}.
        labels: the words for same and different.
        opening: what the judge is taken to have written before the label, e.g. the end of its thinking.

    Source: DeepPrune (arXiv 2510.08483) does not publish its prompt; ours is in conf/judge.
    """

    prompts: ChatPrompts
    prompt: str
    labels: tuple[str, ...]
    system: str | None = None
    opening: str = ""
    label_token_ids: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Raises InputError: the labels do not differ in their first token."""
        labels = tuple(self.prompts.encode_text(word)[0] for word in self.labels)
        if labels[0] == labels[1]:
            raise InputError(f"judge.labels: {list(self.labels)} begin with the same token. Choose other words.")
        object.__setattr__(self, "label_token_ids", labels)

    def encode(self, question: str, left: str, right: str) -> tuple[int, ...]:
        """Return the prompt's tokens, up to where the label is expected."""
        values: Mapping[str, str] = {"{question}": question, "{left}": left, "{right}": right}
        text = _FIELD.sub(lambda match: values[match.group()], self.prompt)
        system = [{"role": "system", "content": self.system}] if self.system else []
        prompt = self.prompts.encode_messages([*system, {"role": "user", "content": text}])
        return prompt + self.prompts.encode_text(self.opening) if self.opening else prompt
