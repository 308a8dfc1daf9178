import numpy as np
import pytest

from pruner.comparison.frontier import cross_validated, frontiers, held_out, markdown, split_knob
from pruner.comparison.table import Control, compared_run, table
from pruner.traces import hash64
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
    assert "| 0k |  |" in markdown([found], [5, 10, 25, 40])


def test_plain_voting_has_a_frontier_too():
    found = frontiers([], control(3), [0.5, 1, 1000])
    assert found[0].method == "cons@k" and found[0].accuracy == (None, 0.0, 0.5)


def test_the_knob_is_split_from_the_constants():
    assert split_knob("method.brevity=1 method.confidence=0.9", "method.confidence") == ("method.brevity=1", "0.9")
    assert split_knob("method.confidence=0.9", "method.confidence") == ("", "0.9")


def test_constants_are_chosen_on_other_problems_than_they_are_used_on():
    count = 40
    # Family x=1 is right on the first half of the problems only, x=2 on all but the first eight.
    left, right = [int(i < 20) for i in range(count)], [int(i >= 8) for i in range(count)]
    runs = [totals("x=1 c=0.9", 500, left), totals("x=2 c=0.9", 500, right)]
    [found] = cross_validated(runs, control(count), "c", 5, 0)
    assert found.method == "worth, cross-validated" and "x=2" in found.settings
    assert found.correct.tolist() == right


def test_a_problems_own_outcome_does_not_choose_for_it():
    # Each family is right where the other is wrong, half and half: chosen on the others, a problem gets the one that fails it.
    runs = [totals("x=1 c=0.9", 500, [1, 0]), totals("x=2 c=0.9", 500, [0, 1])]
    seed = next(seed for seed in range(99) if len({hash64(seed, "fold", name) % 2 for name in ("p0", "p1")}) == 2)
    [found] = cross_validated(runs, control(2), "c", 2, seed)
    assert found.correct.tolist() == [0.0, 0.0]


def test_a_setting_that_is_best_by_luck_gains_nothing_on_other_problems():
    # Each of 40 settings is right on one problem of its own: the best on the others is never the one that is right here.
    count = 40
    runs = [totals(f"x={own}", 500, [int(i == own) for i in range(count)]) for own in range(count)]
    [found] = held_out(runs, [400, 500], 5, 0)
    assert found.accuracy == (None, 0.0)
    [steady] = held_out([*runs, totals("x=all", 400, [1, 0] * 20)], [400], 5, 0)
    assert steady.accuracy == (0.5,)


def test_a_family_that_lacks_a_point_is_refused():
    with pytest.raises(ValueError, match="lack a value of c"):
        cross_validated([totals("x=1 c=0.9", 5), totals("x=2 c=0.8", 5)], control(3), "c", 2, 0)
