"""ESC: a window that agrees ends it."""

from hypothesis import given
from hypothesis import strategies as st

from pruner.methods.esc import Esc
from tests.unit.drive import assert_order_does_not_matter, drive, futures, plain


def esc(budget, window=3):
    return Esc(budget, window)


def started_by_the_paper(answers, window):
    """The paper's rule, restated: windows one after the other until one has a single answer."""
    for start in range(0, len(answers), window):
        part = answers[start : start + window]
        if None not in part and len(set(part)) == 1:
            return start + len(part)
    return len(answers)


@given(futures(), st.integers(2, 9), st.integers())
def test_it_starts_what_the_paper_says_in_whatever_order_traces_end(traces, window, salt):
    outcome = assert_order_does_not_matter(lambda: esc(len(traces), window), traces, salt)
    assert len(outcome.tokens) == started_by_the_paper([trace.answer for trace in traces], window)
    assert not outcome.pruned


def test_the_first_window_that_agrees_ends_it_and_all_vote():
    outcome = drive(esc(30), plain(*"aba", *"aab", *"bbb", *"c" * 21))
    assert len(outcome.tokens) == 9
    assert [(vote.answer, vote.weight) for vote in outcome.answer.votes] == [("b", 5), ("a", 4)]


def test_a_window_may_agree_on_what_loses_the_vote():
    outcome = drive(esc(30, window=2), plain("a", "c", "a", "d", "a", "e", "b", "b", *"a" * 22))
    assert len(outcome.tokens) == 8 and outcome.answer.answer == "a"


def test_agreement_across_windows_does_not_count():
    assert len(drive(esc(9), plain(*"baa", *"aab", *"aac")).tokens) == 9


def test_a_window_with_a_trace_without_an_answer_does_not_agree():
    outcome = drive(esc(9), plain("a", "a", None, None, None, None, "a", "a", "a"))
    assert len(outcome.tokens) == 9 and outcome.answer.answer == "a"


def test_the_last_window_may_be_shorter():
    assert len(drive(esc(7), plain(*"abababa")).tokens) == 7
    assert len(drive(esc(2), plain(*"aa")).tokens) == 2


def test_it_ends_without_an_answer_where_no_trace_has_one():
    outcome = drive(esc(5), plain(*[None] * 5))
    assert outcome.answer.answer is None and len(outcome.tokens) == 5
