from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner.comparison.hulls import hull, hull_rows, markdown, split_knob
from pruner.comparison.table import Control, compared_run
from tests.unit.test_comparison import answers

POINTS = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 20)), min_size=1, max_size=12)


@given(POINTS)
def test_no_point_and_no_mixture_of_two_is_above_a_hull(points):
    corners = hull(points)
    xs, ys = zip(*corners, strict=True)
    assert set(corners) <= set(points) and xs[0] == min(x for x, _ in points) and ys[-1] == max(y for _, y in points)
    for x, y in points:
        assert y <= np.interp(x, xs, ys) + 1e-9
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(corners)]
    assert all(slope > 0 for slope in slopes) and slopes == sorted(slopes, reverse=True)


def run(method, settings, tokens, correct, **extra):
    return compared_run("r", settings, answers("r", tokens, correct, method=method, **extra))


def test_a_lead_is_over_the_best_mixture_of_two_settings():
    others = [
        run("adaptive", "a", 100, (0, 0, 1)),
        run("adaptive", "b", 300, (0, 1, 1)),
        run("adaptive", "c", 200, (0, 0, 0)),
    ]
    mine = run("worth", "price=1 start=half", 200, (1, 1, 0), rounds=[2, 3, 4])
    [row] = hull_rows([*others, mine], None, ["adaptive"], "price", 200, 0)
    assert (row.method, row.settings, row.knob, row.rounds) == ("worth", "start=half", "1", 3)
    assert row.tokens_net == pytest.approx(200)
    assert row.leads["adaptive"].value == pytest.approx(2 / 3 - 1 / 2)
    assert row.leads["adaptive"].low <= row.leads["adaptive"].value <= row.leads["adaptive"].high


def test_nothing_is_said_of_what_costs_less_than_every_setting_and_a_hull_goes_on_as_high_as_it_ends():
    others = [run("adaptive", "a", 100, (0, 0, 1)), run("adaptive", "b", 300, (0, 1, 1))]
    rows = hull_rows(
        [*others, run("worth", "", 50, (1, 1, 1)), run("esc", "", 900, (1, 1, 1))], None, ["adaptive"], None, 9, 0
    )
    assert rows[0].leads["adaptive"].value is None and rows[1].leads["adaptive"].value == pytest.approx(1 / 3)
    assert "| worth |  |  | 100.0% [100.0, 100.0] | 0.05 |  |  |" in markdown(rows, ["adaptive"], None)


def test_plain_voting_is_a_hull_too():
    control = Control(("p0", "p1", "p2"), np.array([[0.0, 1.0, 0.5]] * 3), np.array([[100.0, 200.0, 300.0]] * 3))
    rows = hull_rows(
        [run("cons", "", 300, (0, 1, 1)), run("worth", "price=1", 150, (1, 1, 1))], control, ["cons@k"], "price", 9, 0
    )
    assert [row.leads["cons@k"].value for row in rows] == [pytest.approx(0.5)]


def test_the_mean_lead_is_over_the_settings_of_the_knob():
    others = [run("adaptive", "a", 100, (0, 0, 1))]
    mine = [run("worth", f"price={price}", 200, right) for price, right in ((1, (0, 0, 1)), (2, (1, 1, 1)))]
    text = markdown(hull_rows([*others, *mine], None, ["adaptive"], "price", 9, 0), ["adaptive"], "price")
    assert "| worth |  | mean |  |  |  | +33.33 |" in text


def test_a_method_without_a_point_is_refused():
    with pytest.raises(ValueError, match="'esc', but no point"):
        hull_rows([run("worth", "", 1, (1, 1, 1))], None, ["esc"], None, 9, 0)


def test_the_knob_is_split_from_the_other_settings():
    assert split_knob("method.start=half method.price=0.9", "method.price") == ("method.start=half", "0.9")
    assert split_knob("method.price=0.9", "method.price") == ("", "0.9")
