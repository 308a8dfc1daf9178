import numpy as np
import pytest

from pruner.comparison.frontier import frontiers, held_out, markdown, marks_of
from pruner.comparison.table import Control, compared_run, table
from tests.unit.test_comparison import answers


def totals(settings, tokens, correct=(1, 0, 1)):
    return compared_run(settings, settings, answers(settings, tokens, correct, method="worth"))


def control(problems):
    correct = np.array([[0.0, 0.5]] * problems)
    return Control(tuple(f"p{i}" for i in range(problems)), correct, np.array([[1.0, 1000.0]] * problems))


def test_a_frontier_is_the_best_that_so_many_tokens_buy():
    rows = table([totals("a", 10, (1, 0, 0)), totals("b", 30, (1, 1, 1)), totals("c", 20, (0, 0, 0))], None, 10, 0)
    [found] = frontiers(rows, None, [5, 10, 25, 40])
    assert found.method == "worth"
    assert found.accuracy == (None, pytest.approx(1 / 3), pytest.approx(1 / 3), 1.0)
    assert "| 5 |  |" in markdown([found], [5, 10, 25, 40])
    lines = markdown([found], [5, 1500, 20e3, 1.25e6]).splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == ["| 5", "| 1.5k", "| 20k", "| 1,250k"]


def test_marks_are_the_baseline_and_its_halves_where_a_method_has_settings_to_choose_from():
    settings = [totals(f"x={tokens}", tokens) for tokens in (130, 500, 700)]
    baseline = compared_run("", "", answers("", 1017, (1, 0, 1), method="cons"))
    assert marks_of(table([*settings, baseline], None, 10, 0)) == [250.0, 510.0, 1000.0]
    assert marks_of(table([*settings[1:], baseline], None, 10, 0)) == [] == marks_of(table(settings, None, 10, 0))


def test_plain_voting_has_a_frontier_too():
    found = frontiers([], control(3), [0.5, 1, 1000])
    assert found[0].method == "cons@k" and found[0].accuracy == (None, 0.0, 0.5)


def test_a_setting_that_is_best_by_luck_gains_nothing_on_other_problems():
    # Each of 40 settings is right on one problem of its own: the best on the others is never the one that is right here.
    count = 40
    runs = [totals(f"x={own}", 500, [int(i == own) for i in range(count)]) for own in range(count)]
    [found] = held_out(runs, [400, 500], 5, 0)
    assert found.accuracy == (None, 0.0)
    [steady] = held_out([*runs, totals("x=all", 400, [1, 0] * 20)], [400], 5, 0)
    assert steady.accuracy == (0.5,)
