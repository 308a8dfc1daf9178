"""Bootstrap intervals over problems, the Pareto front, and that SQL and Python agree on both."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner.statistics.intervals import Interval, interval, resamplings
from pruner.statistics.pareto import pareto_front


def test_resamplings_draw_as_many_problems_as_there_are():
    draws = resamplings(7, 100, seed=3)
    assert draws.shape == (100, 7) and (draws.sum(axis=1) == 7).all()
    assert (draws == resamplings(7, 100, seed=3)).all()


def test_an_interval_is_the_middle_of_the_resampled_values():
    found = interval(0.5, np.linspace(0, 1, 1001))
    assert (found.low, found.high) == (pytest.approx(0.025), pytest.approx(0.975))
    assert interval(0.5, [None, 0.25, None]) == Interval(0.5, 0.25, 0.25)
    assert interval(None, [1.0]) == Interval(None) and interval(0.5, []) == Interval(0.5)


def test_an_interval_is_written_with_its_bounds_or_without():
    assert Interval(0.5, 0.25, 0.75).text("+.1f", ".0f", 100) == "+50.0 [25, 75]"
    assert Interval(0.5).text(".2f", ".1f") == "0.50" and Interval(None).text(".2f", ".1f") == ""


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_the_front_is_what_no_point_beats(points):
    def is_beaten(point):
        return any(p != point and p[0] <= point[0] and p[1] >= point[1] for p in points)

    found = pareto_front(points, cost=lambda p: p[0], worth=lambda p: p[1])
    assert found == sorted(point for point in points if not is_beaten(point))
