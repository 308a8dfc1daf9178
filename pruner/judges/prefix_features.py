"""What a prefix says, in a form in which two can be compared: numbers, equations, words. Pure text arithmetic.

A prefix is read once, into a Reading; a pair of readings gives a row of features. Nothing here is fitted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import fsum, log, log1p, sqrt

_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_VALUE = re.compile(r"=\s*\$?\\?[(\[]?\s*(-?\s*\\?(?:d?frac\{[^{}]*\}\{[^{}]*\}|sqrt\{[^{}]*\}|[\d.,/]+(?:\s*\\?pi)?))")
_WORD = re.compile(r"[a-zA-Z]+")
_TOKEN = re.compile(r"\d+(?:\.\d+)?|\\[a-z]+|[a-z]+")
_EXPRESSION = re.compile(r"[^\s.,;:]*[=^/+*][^\s.,;:]*")
_CONCLUSION = re.compile(
    r"(?:answer is|is equal to|equals|is|so|gives|get|are|to)\s*\$?\\?\(?(?:boxed\{)?\s*(-?\d[\d.,/]*)"
)
_HEDGES = ("wait", "hmm", "maybe", "but", "alternatively", "actually", "perhaps")
_LAST_NUMBERS = 5
_TAIL_WORDS = 60


@dataclass(frozen=True)
class Reading:
    """One prefix, read.

    Attributes:
        numbers: those that the question does not contain, with how often they stand there.
        last_numbers: the last few, oldest first, the question's own included.
        values: what stands behind equality signs; last_value is the last of them.
        conclusions: numbers behind words such as `is`; last_conclusion is the last of them.
        words, tokens: how often; tokens are words, numbers and LaTeX commands.
        hedges: number of words such as `wait`.
    """

    text: str
    length: int
    numbers: Mapping[str, int]
    num_numbers: int
    last_numbers: tuple[str, ...]
    values: frozenset[str]
    last_value: str | None
    conclusions: frozenset[str]
    last_conclusion: str | None
    words: Mapping[str, int]
    tokens: Mapping[str, int]
    bigrams: frozenset[tuple[str, str]]
    tail_words: frozenset[str]
    expressions: frozenset[str]
    has_ended_thinking: bool
    hedges: int


def read_prefix(text: str, question: str) -> Reading:
    """Read a prefix of a trace."""
    asked = set(_NUMBER.findall(question))
    numbers = _NUMBER.findall(text)
    values = [value for match in _VALUE.findall(text) if (value := re.sub(r"\s", "", match).strip(".,"))]
    conclusions = [value for match in _CONCLUSION.findall(text) if (value := match.strip(".,/"))]
    words = [word.lower() for word in _WORD.findall(text)]
    counted = Counter(words)
    return Reading(
        text=" ".join(text.split()),
        length=len(text),
        numbers=Counter(number for number in numbers if number not in asked),
        num_numbers=len(numbers),
        last_numbers=tuple(numbers[-_LAST_NUMBERS:]),
        values=frozenset(values),
        last_value=values[-1] if values else None,
        conclusions=frozenset(conclusions),
        last_conclusion=conclusions[-1] if conclusions else None,
        words=counted,
        tokens=Counter(_TOKEN.findall(text.lower())),
        bigrams=frozenset(pairwise(words)),
        tail_words=frozenset(words[-_TAIL_WORDS:]),
        expressions=frozenset(_EXPRESSION.findall(text)),
        has_ended_thinking="</think>" in text,
        hedges=sum(counted[word] for word in _HEDGES),
    )


FEATURES = (
    "same_text",
    "numbers_shared",
    "long_numbers_shared",
    "numbers_cosine",
    "last_numbers_shared",
    "last_number_equal",
    "last_number_found",
    "values_shared",
    "last_value_equal",
    "last_value_found",
    "last_value_differs",
    "conclusions_shared",
    "last_conclusion_equal",
    "last_conclusion_found",
    "last_conclusion_differs",
    "words_cosine",
    "tokens_cosine",
    "bigrams_shared",
    "tail_words_shared",
    "expressions_shared",
    "ended_thinking",
    "hedges_least",
    "hedges_most",
    "length_differs",
    "num_numbers_least",
    "num_numbers_differs",
    "new_numbers_least",
    "values_least",
)


def pair_features(left: Reading, right: Reading) -> tuple[float, ...]:
    """Return one number for each of FEATURES; the order of the two plays no part."""
    return (
        float(left.text == right.text),
        _shared(left.numbers.keys(), right.numbers.keys()),
        _shared(_long(left.numbers), _long(right.numbers)),
        _cosine(left.numbers, right.numbers),
        _shared(frozenset(left.last_numbers), frozenset(right.last_numbers)),
        float(bool(left.last_numbers) and left.last_numbers[-1:] == right.last_numbers[-1:]),
        _found(left.last_numbers[-1:], right.numbers) + _found(right.last_numbers[-1:], left.numbers),
        _shared(left.values, right.values),
        _equal(left.last_value, right.last_value),
        _found((left.last_value,), right.values) + _found((right.last_value,), left.values),
        _differs(left.last_value, right.last_value),
        _shared(left.conclusions, right.conclusions),
        _equal(left.last_conclusion, right.last_conclusion),
        _found((left.last_conclusion,), right.conclusions) + _found((right.last_conclusion,), left.conclusions),
        _differs(left.last_conclusion, right.last_conclusion),
        _cosine(left.words, right.words),
        _cosine(left.tokens, right.tokens),
        _shared(left.bigrams, right.bigrams),
        _shared(left.tail_words, right.tail_words),
        _shared(left.expressions, right.expressions),
        float(left.has_ended_thinking + right.has_ended_thinking),
        log1p(min(left.hedges, right.hedges)),
        log1p(max(left.hedges, right.hedges)),
        abs(log((1 + left.length) / (1 + right.length))),
        log1p(min(left.num_numbers, right.num_numbers)),
        abs(log((1 + left.num_numbers) / (1 + right.num_numbers))),
        log1p(min(len(left.numbers), len(right.numbers))),
        log1p(min(len(left.values), len(right.values))),
    )


def _long(numbers: Mapping[str, int]) -> frozenset[str]:
    return frozenset(number for number in numbers if len(number) > 1)


def _equal(left: str | None, right: str | None) -> float:
    return float(left is not None and left == right)


def _differs(left: str | None, right: str | None) -> float:
    return float(left is not None and right is not None and left != right)


def _found(wanted: tuple[str | None, ...], among: Collection[str]) -> float:
    return float(any(each in among for each in wanted))


def _shared(left: Collection, right: Collection) -> float:  # type: ignore[type-arg]
    """Return the Jaccard index; a half where both are empty."""
    union = len(set(left) | set(right))
    return len(set(left) & set(right)) / union if union else 0.5


def _cosine(left: Mapping[str, int], right: Mapping[str, int]) -> float:
    """Return the cosine of two counts, each dampened to 1 + log; 0 where one is empty."""
    if not left or not right:
        return 0.0
    # Sets of texts come in another order in each process, which only an exact sum does not show.
    shared = fsum((1 + log(left[key])) * (1 + log(right[key])) for key in left.keys() & right.keys())
    return shared / (_norm(left) * _norm(right))


def _norm(counts: Mapping[str, int]) -> float:
    return sqrt(fsum((1 + log(count)) ** 2 for count in counts.values()))
