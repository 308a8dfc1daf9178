"""pass@k and maj@k against all subsets, one by one."""

from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner.records.traces import FinalAnswer
from pruner.rules.voting import credit, majority_vote
from pruner.statistics.at_k import maj_at_k, pass_at_k

TRACES = st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=9)


def grouped(traces, right):
    names = sorted({trace for trace in traces if trace is not None})
    return [traces.count(name) for name in names], [name in right for name in names]


@given(TRACES, st.sampled_from(["a", "ab", ""]), st.data())
def test_both_are_the_mean_over_all_choices(traces, right, data):
    k = data.draw(st.integers(1, len(traces)))
    answers = [None if each is None else FinalAnswer(each, each, int(each in right)) for each in traces]
    choices = list(combinations(answers, k))
    passed = [any(each is not None and each.correct for each in choice) for choice in choices]
    voted = [credit(majority_vote(enumerate(choice))) for choice in choices]
    num_right = sum(each is not None and each.correct for each in answers)
    assert pass_at_k(len(traces), num_right, k) == pytest.approx(sum(passed) / len(choices))
    assert maj_at_k(*grouped(traces, right), len(traces), k) == pytest.approx(sum(voted) / len(choices))


def test_many_traces_are_counted_exactly():
    assert maj_at_k([300, 200, 12], [False, True, False], 512, 512) == 0
    assert maj_at_k([300, 200, 12], [True, False, False], 512, 1) == pytest.approx(300 / 512)
    assert maj_at_k([500, 500], [True, False], 1000, 501) == pytest.approx(0.5)
    assert pass_at_k(1000, 1, 500) == pytest.approx(0.5)
    two = comb(300, 2) + 300 * 212 / 2 + 300 * 0
    assert maj_at_k([300, 212], [True, False], 512, 2) == pytest.approx(two / comb(512, 2))


@pytest.mark.parametrize("k", [0, 9])
def test_a_k_that_was_not_sampled_is_refused(k):
    with pytest.raises(ValueError, match=f"got {k}"):
        pass_at_k(8, 1, k)
    with pytest.raises(ValueError, match=f"got {k}"):
        maj_at_k([8], [True], 8, k)
