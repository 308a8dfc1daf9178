"""Truncation: which part of an unfinished trace the judge sees. Pure: knows no tokenizer, model or disk."""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol

from pydantic import Field

from pruner.records.traces import Trace
from pruner.settings.section import Choice, Positive


@dataclass(frozen=True)
class Prefix:
    """The truncated part of a trace: its text, and the number of tokens that it was cut from (>= those of the text)."""

    text: str
    num_tokens: int


class Truncation(Protocol):
    """How far a trace is sampled until its prefix is complete, and what the prefix is."""

    @property
    def max_tokens(self) -> int:
        """The most tokens that a prefix may take."""

    def prefix(self, trace: Trace) -> Prefix | None:
        """Return the trace's prefix, or None while it is incomplete."""


@dataclass(frozen=True)
class FixedTruncation:
    """The first `max_tokens` tokens of a trace. Source: DeepPrune (arXiv 2510.08483), truncation 1."""

    max_tokens: int

    def prefix(self, trace: Trace) -> Prefix | None:
        if trace.num_tokens < self.max_tokens:
            return None
        return _whole_segments(trace, self.max_tokens)


@dataclass(frozen=True)
class ReasoningWordsTruncation:
    """The text up to and with the `count`-th reasoning word, but at most `max_tokens` tokens.

    Words match case-insensitively as whole words. A prefix ends inside a segment, so its text is cut there; its
    num_tokens are those of the segments that hold it, since they were sampled.

    Source: DeepPrune (arXiv 2510.08483), truncation 2.
    """

    words: tuple[str, ...]
    count: int
    max_tokens: int
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        pattern = r"\b(?:" + "|".join(re.escape(word) for word in self.words) + r")\b"
        object.__setattr__(self, "_pattern", re.compile(pattern, re.IGNORECASE))

    def prefix(self, trace: Trace) -> Prefix | None:
        end = word_end(self._pattern, trace.text, self.count)
        if end is None:
            return _whole_segments(trace, self.max_tokens) if trace.num_tokens >= self.max_tokens else None
        num_chars, num_tokens = 0, 0
        for segment in trace.segments:
            num_chars += len(segment.text)
            num_tokens += segment.num_tokens
            if num_chars >= end:
                break
        return Prefix(trace.text[:end], num_tokens)


def word_end(pattern: re.Pattern[str], text: str, count: int) -> int | None:
    """Return where the `count`-th match ends, or None if the text has fewer; a match at the very end may still grow."""
    for number, match in enumerate(pattern.finditer(text), start=1):
        if number == count:
            return match.end() if match.end() < len(text) else None
    return None


def _whole_segments(trace: Trace, num_tokens: int) -> Prefix:
    texts, total = [], 0
    for segment in trace.segments:
        if total >= num_tokens:
            break
        texts.append(segment.text)
        total += segment.num_tokens
    return Prefix("".join(texts), total)


class PrefixConfig(Choice):
    """Which truncation; conf/prefix holds the values."""

    @abstractmethod
    def make(self) -> Truncation:
        """Return the truncation."""


class FixedPrefixConfig(PrefixConfig):
    name: Literal["fixed"]
    max_tokens: Positive

    @property
    def unused_keys(self) -> tuple[str, ...]:
        return ("model.prefix_tokens",)  # max_tokens is what counts

    def make(self) -> Truncation:
        return FixedTruncation(self.max_tokens)


class ReasoningWordsPrefixConfig(PrefixConfig):
    name: Literal["reasoning_words"]
    words: Annotated[tuple[str, ...], Field(min_length=1)]
    count: Positive
    max_tokens: Positive

    def make(self) -> Truncation:
        return ReasoningWordsTruncation(self.words, self.count, self.max_tokens)


AnyPrefix = Annotated[
    FixedPrefixConfig | ReasoningWordsPrefixConfig,
    Field(discriminator="name"),
]
