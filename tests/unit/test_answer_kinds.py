"""The kinds of answers beside mathematics, and what holds of each kind."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruner.answers import answer_key
from pruner.answers.reader import AnswerReader
from pruner.answers.readings import Reading
from pruner.answers.registry import KINDS
from pruner.errors import InputError
from pruner.records.traces import TraceKey
from tests.composed import config


def test_there_are_the_kinds_that_the_documents_name():
    assert list(KINDS) == ["choice", "exact", "math", "number"]


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=60)
@given(st.text(max_size=300))
def test_a_key_is_short_and_the_same_each_time_and_what_is_at_once_is_what_the_worker_says(kind, text):
    found = KINDS[kind]
    key = found.key(text)
    assert len(key) <= 120 and key == found.key(text) and found.plain_key(text) in (None, key)
    if kind != "math":
        assert found.grade(text, text) in (0, 1) and found.plain_grade(text, "x") in (None, found.grade(text, "x"))


@pytest.mark.parametrize(
    ("kind", "same", "other"),
    [
        ("exact", ["Paris", " Paris ", "Paris\n"], ["paris", "Paris."]),
        ("exact", ["a b", "a  b"], ["ab"]),
        ("exact", ["1,000"], ["1000", "1000.0"]),
        ("number", ["1000", "1,000", "1000.0", "$1,000", "1e3", "1000 apples", "x = 1000", "1{,}000", "\\$1000\\text{ dollars}"], ["1001", "-1000", "1000, 2"]),
        ("number", ["0.5", "1/2", "\\frac{1}{2}", ".5", "0.50%"], ["0.05", "5"]),
        ("number", ["-3", "\u22123", "- 3"], ["3", "none"]),
        ("number", ["12.50", "12.5 m"], ["1250", "12,50"]),
        ("number", ["none", " none "], ["none at all", "0"]),
    ],
)  # fmt: skip
def test_what_is_one_answer_and_what_is_not(kind, same, other):
    keys = {answer_key(text, kind) for text in same}
    assert len(keys) == 1, {text: answer_key(text, kind) for text in same}
    assert keys.isdisjoint(answer_key(text, kind) for text in other), other
    assert all(KINDS[kind].grade(same[0], text) == 1 for text in same) and not any(
        KINDS[kind].grade(same[0], text) for text in other
    )


@pytest.mark.parametrize(
    ("kind", "text", "key"), [("exact", "\\boxed{Paris}", "exact:Paris"), ("number", "so \\boxed{1,200 m}", "1200")]
)
def test_a_reader_reads_them_without_a_worker(kind, text, key):
    with AnswerReader(kind) as reader:
        reader.submit(Reading(TraceKey("p", 0), text=text, gold="1200"))
        [read] = reader.take()
    assert read.answer is not None and read.answer.key == key and read.answer.correct == int(kind == "number")


def test_a_kind_that_is_not_there_is_one_line():
    with pytest.raises(InputError, match=r"problems.answers: got 'maths'.*expected one of choice, exact, math, number"):
        config("problems.answers=maths")
