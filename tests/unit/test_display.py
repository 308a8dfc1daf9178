"""What a shard's progress display shows, and when."""

from dataclasses import replace
from datetime import datetime

import pytest

from pruner.records.progress import NOTHING
from pruner.shard import display
from pruner.shard.display import ProgressDisplay, line

STATUS = replace(
    NOTHING,
    problems=8,
    problems_done=4,
    traces_running=3,
    traces_finished=20,
    traces_pruned=5,
    traces_cut=2,
    traces_unanswered=4,
    tokens=2800,
    tokens_in_flight=200,
    tokens_saved=12_345,
).after(60.0)


@pytest.fixture
def clock(monkeypatch):
    """The time, as a list of one number."""
    now = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    return now


def without_time(shown):
    day, clock_time, rest = shown.rstrip("\n").split(" ", 2)
    datetime.strptime(f"{day} {clock_time}", "%Y-%m-%d %H:%M:%S")
    return rest


def test_a_line_has_counts_rate_and_the_time_that_is_left():
    assert line(STATUS) == (
        "problems 4/8, traces 3 running / 20 finished (2 cut, 4 without an answer) / 5 pruned, tokens 2,800 + 200 under way, 50 tok/s, "
        "about 12,345 tokens saved, ETA 0:01:00"
    )


def test_the_rate_and_the_time_left_are_those_of_all_attempts():
    earlier = replace(NOTHING, problems=8, problems_done=4, tokens=600, work_s=12.0).after()
    assert (earlier.tokens_per_s, earlier.eta_s) == (50.0, 12.0)


def test_the_time_left_is_unknown_until_a_problem_is_finished():
    assert line(replace(NOTHING, problems=8).after(60.0)).endswith("ETA unknown")
    assert line(replace(NOTHING, problems=8, problems_done=8).after()).endswith("saved, ETA 0:00:00")


def test_lines_come_at_intervals_and_one_at_the_end(clock, capsys):
    shown_on = ProgressDisplay(10.0, is_bar=None)  # no terminal here
    for clock[0] in (100.0, 109.9, 110.0, 115.0, 119.9, 121.0):
        shown_on.show(lambda: STATUS)
    lines = capsys.readouterr().err.splitlines()
    assert [without_time(each) for each in lines] == [line(STATUS)] * 2
    shown_on.close(STATUS)
    shown = capsys.readouterr()
    assert without_time(shown.err) == line(STATUS) and not shown.out


def test_a_bar_begins_at_what_was_done_before_and_ends_at_what_is_done(clock, capsys):
    shown_on = ProgressDisplay(10.0, is_bar=True)
    shown_on.show(lambda: STATUS)
    assert "4/8" in capsys.readouterr().err
    shown_on.close(replace(STATUS, problems_done=7))
    shown = capsys.readouterr()
    assert "7/8" in shown.err and "ETA" not in shown.err and not shown.out


def test_a_bar_that_was_never_shown_ends_with_a_line(capsys):
    ProgressDisplay(10.0, is_bar=True).close(STATUS)
    assert without_time(capsys.readouterr().err) == line(STATUS)
