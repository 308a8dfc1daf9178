"""From tokens' confidences to traces' and to thresholds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner.errors import InputError
from pruner.records.traces import Trace
from pruner.rules.confidence import (
    SCORES,
    LowestGroup,
    group_confidences,
    keep_threshold,
    segment_confidences,
    trace_confidences,
)
from tests.unit.drive import Future

EXACT = st.integers(0, 2**12).map(lambda number: number / 256)
LISTS = st.lists(EXACT, max_size=60)
WINDOWS = st.sampled_from([1, 2, 4, 8, 16])


@given(LISTS, WINDOWS)
def test_groups_are_the_means_of_all_windows(confidences, window):
    windows = [confidences[i : i + window] for i in range(len(confidences) - window + 1)]
    windows = windows or ([confidences] if confidences else [])
    assert group_confidences(confidences, window) == [sum(each) / len(each) for each in windows]


@given(LISTS, WINDOWS, st.lists(st.integers(0, 20)), st.floats(0, 16))
def test_the_lowest_group_is_the_same_however_a_trace_is_cut(confidences, window, cuts, threshold):
    lowest, rest = LowestGroup(window), list(confidences)
    for cut in [*cuts, len(rest)]:
        lowest.extend(rest[:cut])
        del rest[:cut]
    groups = group_confidences(confidences, window)
    assert lowest.confidence == min(groups, default=0.0)
    assert lowest.num_tokens == len(confidences)
    assert lowest.is_below(threshold) == (len(confidences) >= window and min(groups) < threshold)


@given(st.lists(st.floats(0.1, 20), min_size=1, max_size=200), st.integers(1, 50), st.integers(0, 200))
def test_sums_kept_from_segment_to_segment_are_those_of_the_whole_to_the_last_digit(confidences, window, cut):
    """Or a resumed run, whose segments are the same but come at once, could decide otherwise."""
    whole, parts = LowestGroup(window), LowestGroup(window)
    whole.extend(confidences)
    parts.extend(confidences[:cut])
    parts.extend(confidences[cut:])
    assert whole.confidence == parts.confidence
    assert whole.confidence == pytest.approx(min(group_confidences(confidences, window)), rel=1e-9)


def test_scores_of_a_trace():
    confidences = [4.0, 4.0, 1.0, 3.0, 8.0, 8.0]
    found = {name: score(confidences, 2) for name, score in SCORES.items()}
    assert found == {"mean": 28 / 6, "tail": 8.0, "bottom_10": 2.0, "lowest_group": 2.0}
    ramp = [float(i) for i in range(41)]  # 40 groups of 2: the lowest tenth are 0.5, 1.5, 2.5, 3.5
    assert SCORES["bottom_10"](ramp, 2) == 2.0 and SCORES["lowest_group"](ramp, 2) == 0.5


@pytest.mark.parametrize("name", SCORES)
def test_a_trace_shorter_than_a_group_is_one_group_and_one_without_tokens_scores_0(name):
    assert SCORES[name]([1.0, 2.0, 6.0], 2048) == 3.0
    assert SCORES[name]([], 2048) == 0.0


@given(st.lists(st.floats(0, 100), min_size=1, max_size=40), st.integers(1, 100))
def test_the_threshold_is_numpys_percentile(scores, percent):
    found = keep_threshold(scores, percent / 100)
    assert found == pytest.approx(np.percentile(scores, 100 - percent), rel=1e-9, abs=1e-9)


@given(st.integers(1, 40).map(lambda n: n * 10 + 1), st.integers(1, 10))
def test_a_share_that_falls_on_a_score_lets_it_through(count, tenths):
    scores = [i / 7 for i in range(count)]
    threshold = keep_threshold(scores, tenths / 10)
    assert sum(score >= threshold for score in scores) == (count - 1) * tenths // 10 + 1


def test_confidences_are_read_as_the_checkpoint_keeps_them():
    trace = Future("a", (0.1, 0.2, 0.3)).go_on(Trace("p", 0), 10)
    found = list(trace_confidences(trace))
    assert found == np.array([0.1, 0.2, 0.3], dtype=np.float32).tolist() != [0.1, 0.2, 0.3]
    stored = replace(trace.segments[0], confidence=tuple(found))
    assert list(segment_confidences(stored)) == found


def test_a_trace_without_confidences_is_refused_in_one_line():
    trace = Future("a", (1.0, 1.0)).go_on(Trace("p", 3), 10)
    bare = replace(trace, segments=(replace(trace.segments[0], confidence=None),))
    with pytest.raises(InputError, match=r"^problem 'p', trace 3: got no confidences, expected one number a token"):
        trace_confidences(bare)
    short = replace(trace, segments=(replace(trace.segments[0], confidence=(1.0,)),))
    with pytest.raises(InputError, match=r"^problem 'p', trace 3: got 1 confidences, expected 2, one a token"):
        trace_confidences(short)


def test_a_long_trace_costs_a_few_operations_a_token():
    """Counted, not timed: what is kept does not grow with the trace."""
    lowest = LowestGroup(2048)
    for _ in range(16):
        lowest.extend([1.0] * 2000)
    assert lowest.num_tokens == 32_000 and len(lowest._sums) == 2048
    assert lowest.confidence == 1.0
