"""Features of a prefix by which two can be compared: numbers, equations, words. Pure text arithmetic.

A prefix is read once, into a Reading; a pair of readings gives a row of features. Nothing here is fitted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
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
        values: the terms behind equality signs; last_value is the last of them.
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


def pair_features(left: Reading, right: Reading) -> tuple[float, ...]:
    """Return one number for each of FEATURES; the order of the two plays no part."""
    return tuple(feature(left, right) for feature in _FEATURES.values())


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


# In the order of the weights in every trained judge's file: new features go to the end.
_FEATURES: dict[str, Callable[[Reading, Reading], float]] = {
    "same_text": lambda a, b: float(a.text == b.text),
    "numbers_shared": lambda a, b: _shared(a.numbers.keys(), b.numbers.keys()),
    "long_numbers_shared": lambda a, b: _shared(_long(a.numbers), _long(b.numbers)),
    "numbers_cosine": lambda a, b: _cosine(a.numbers, b.numbers),
    "last_numbers_shared": lambda a, b: _shared(frozenset(a.last_numbers), frozenset(b.last_numbers)),
    "last_number_equal": lambda a, b: float(bool(a.last_numbers) and a.last_numbers[-1:] == b.last_numbers[-1:]),
    "last_number_found": lambda a, b: _found(a.last_numbers[-1:], b.numbers) + _found(b.last_numbers[-1:], a.numbers),
    "values_shared": lambda a, b: _shared(a.values, b.values),
    "last_value_equal": lambda a, b: _equal(a.last_value, b.last_value),
    "last_value_found": lambda a, b: _found((a.last_value,), b.values) + _found((b.last_value,), a.values),
    "last_value_differs": lambda a, b: _differs(a.last_value, b.last_value),
    "conclusions_shared": lambda a, b: _shared(a.conclusions, b.conclusions),
    "last_conclusion_equal": lambda a, b: _equal(a.last_conclusion, b.last_conclusion),
    "last_conclusion_found": lambda a, b: (
        _found((a.last_conclusion,), b.conclusions) + _found((b.last_conclusion,), a.conclusions)
    ),
    "last_conclusion_differs": lambda a, b: _differs(a.last_conclusion, b.last_conclusion),
    "words_cosine": lambda a, b: _cosine(a.words, b.words),
    "tokens_cosine": lambda a, b: _cosine(a.tokens, b.tokens),
    "bigrams_shared": lambda a, b: _shared(a.bigrams, b.bigrams),
    "tail_words_shared": lambda a, b: _shared(a.tail_words, b.tail_words),
    "expressions_shared": lambda a, b: _shared(a.expressions, b.expressions),
    "ended_thinking": lambda a, b: float(a.has_ended_thinking + b.has_ended_thinking),
    "hedges_least": lambda a, b: log1p(min(a.hedges, b.hedges)),
    "hedges_most": lambda a, b: log1p(max(a.hedges, b.hedges)),
    "length_differs": lambda a, b: abs(log((1 + a.length) / (1 + b.length))),
    "num_numbers_least": lambda a, b: log1p(min(a.num_numbers, b.num_numbers)),
    "num_numbers_differs": lambda a, b: abs(log((1 + a.num_numbers) / (1 + b.num_numbers))),
    "new_numbers_least": lambda a, b: log1p(min(len(a.numbers), len(b.numbers))),
    "values_least": lambda a, b: log1p(min(len(a.values), len(b.values))),
}
FEATURES = tuple(_FEATURES)
