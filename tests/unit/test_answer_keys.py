"""Canonical keys: equal answers have equal keys, whatever a model writes, within bounded work."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruner.answers import answer_key, cached_key, extract_answer, plain_key
from tests.unit.answer_pairs import DEBATABLE, DIFFERENT, EQUAL

ATOMS = [r"\boxed{", r"{", r"}", r"(", r")", r"[", r"]", r"\frac", r"\sqrt", r"9", r"^", r"9^", r"_", r"!", r"+", r"-", r"=", r"<", r",", r"\text{", r"x", r"y", r"\pi", r"e", r"i", r"1234", r"\pm", r"|", r"\left(", r"\right)", r"\sin", r"\log", r"\binom", r"\begin{pmatrix}", r"&", r"\\", r"\end{pmatrix}", r"%", r"½", r"\{", r"\}", r"\cup", r"\in", r"\infty", r"^{", r"9!", r"\frac{1}{", r"999999", r".", r":", r"\circ", r"é", r"𝟙", r"cats", r"\mid", r"\setminus", r"\lfloor", r"\pmod", r"or", r"\text{or}", r"10^", r"\sqrt{", r"\ln(", r"m_", r"#", r"~", r"'", r'"', r"\mathbb{", r"\overline{", r"\over", r"1e9", r"0.", r"percent"]  # fmt: skip
ATOMS += [" ", "\n", "\x00", "\ud800"]


@pytest.mark.parametrize(("left", "right"), EQUAL)
def test_equal_answers_have_one_key(left, right):
    assert answer_key(left) == answer_key(right)


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_different_answers_have_two_keys(left, right):
    assert answer_key(left) != answer_key(right)


@pytest.mark.parametrize(("left", "right", "is_equal", "why"), DEBATABLE)
def test_what_graders_may_see_differently_is_decided(left, right, is_equal, why):
    assert (answer_key(left) == answer_key(right)) is is_equal, why


def test_numbers_are_written_as_they_are():
    assert [answer_key(text) for text in ("7", "-0.50", r"\frac{6}{4}", "1e3", "28%", "x>5", r"\{2,1\}")] == [
        *("7", "-1/2", "3/2", "1000", "28%", "(5,oo)", "{1,2}")
    ]


@given(st.integers(-(10**17), 10**17))
def test_a_plain_number_is_its_own_key_by_either_way(number):
    assert plain_key(str(number)) == answer_key(str(number)) == answer_key(f"${number}$")


@pytest.mark.parametrize("text", ["007", "-0", "1.0", "+7", "1,000", "", "x", "1" * 30])
def test_what_is_no_plain_number_is_read(text):
    assert plain_key(text) is None


@given(st.integers(-(10**6), 10**6), st.integers(1, 999))
def test_fractions_are_exact_however_they_are_written(top, bottom):
    assert (
        answer_key(f"{top}/{bottom}") == answer_key(f"\\frac{{{top}}}{{{bottom}}}") == answer_key(f"({top})/{bottom}")
    )


@settings(max_examples=60)
@given(st.lists(st.sampled_from([pair[0] for pair in EQUAL + DIFFERENT]), min_size=3, max_size=3))
def test_equality_is_transitive(triple):
    first, second, third = map(answer_key, triple)
    assert not (first == second and second == third) or first == third
    assert [answer_key(answer) for answer in triple] == [cached_key(answer, "math") for answer in triple]


def test_a_key_never_depends_on_what_was_read_before():
    answers = [answer for pair in EQUAL for answer in pair]
    before = {answer: answer_key(answer) for answer in answers}
    random.Random(1).shuffle(answers)
    assert all(answer_key(answer) == before[answer] for answer in answers)


def hostile(draw):
    """A text of up to 100,000 characters that a model might write at its worst."""
    kind, size = draw.randrange(6), draw.choice([5, 20, 60, 200, 400, 999, 100_000])
    if kind == 0:
        return "".join(draw.choice(ATOMS) for _ in range(min(size, 999)))[:999]
    if kind in (1, 2):
        piece = "".join(draw.choice(ATOMS) for _ in range(kind * draw.randrange(1, 3)))
        return (piece * (size // len(piece) + 1))[:size]
    if kind == 3:
        opening = draw.choice([r"\sqrt{", "9^{", "(", r"\frac{1}{", r"\sin(", "x^{", r"\ln(", r"\binom{9}{"])
        depth = draw.randrange(1, 60)
        return opening * depth + "2.5" + {"(": ")"}.get(opening[-1], "}") * depth
    if kind == 4:
        alphabet = draw.choice(["ab", "ab ", "ab'-", "1 \n", "a{}", "1,", "1_ }", "\\text{} is", "a.", "st1 ^{"])
        return "".join(draw.choice(alphabet) for _ in range(size)) + draw.choice(["", "!", "\\", "7"])
    terms = [
        r"\sin(x)",
        "9^{9^9}",
        "x^{0.37}",
        "(2.3x)!",
        r"\binom{x}{y}",
        r"\ln(x+y)",
        "99^{999}",
        "2000!",
        r"\sqrt[7]{x}",
    ]
    return "+".join(draw.choice(terms) for _ in range(min(size, 999)))[:999]


def test_hostile_texts_take_bounded_work():
    """10,000 of them: python -m tests.bench.hostile_answers."""
    draw = random.Random(3)
    started = time.process_time()
    for _ in range(300):
        text = hostile(draw)
        assert len(answer_key(text)) <= 120
        extract_answer(text)
    assert time.process_time() - started < 60.0


def test_options_are_keyed_by_letter():
    assert [answer_key(text, "choice") for text in ("B", "(B)", r"\text{B}", "B. because", "b")] == ["B"] * 5
    assert answer_key("Paris is", "choice") == answer_key("paris is", "choice") != answer_key("Paris", "choice")
