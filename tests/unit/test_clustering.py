import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner.rules.clustering import (
    Cluster,
    ClusterRule,
    Joins,
    Opens,
    Undecided,
    apply,
    largest,
    place,
    representatives,
)

RULE = ClusterRule(tau=0.5, max_clusters=32, num_compared=10, assign="best")


def cluster_all(scores, count, rule):
    """Place traces 0..count-1, giving only the verdicts that are asked for; return clusters and the asked pairs."""
    clusters, asked = (), {}
    for index in range(count):
        while True:
            members = tuple(representatives(0, "p", c, rule.num_compared) for c in clusters)
            placement = place(clusters, index, asked, rule, members)
            if not isinstance(placement, Undecided):
                break
            assert placement.pairs and not any(pair in asked for pair in placement.pairs)
            asked |= {pair: scores(*pair) for pair in placement.pairs}
        clusters = apply(clusters, index, placement)
    return clusters, asked


ANSWERS = st.lists(st.integers(0, 3), min_size=1, max_size=24)


@given(ANSWERS)
def test_a_perfect_judge_finds_the_answers(answers):
    clusters, _ = cluster_all(lambda i, j: float(answers[i] == answers[j]), len(answers), RULE)
    assert {frozenset(c.members) for c in clusters} == {
        frozenset(i for i, a in enumerate(answers) if a == value) for value in answers
    }


@given(
    st.integers(1, 20),
    st.integers(1, 5),
    st.integers(1, 4),
    st.sampled_from(["best", "first", "oldest"]),
    st.integers(),
)
def test_every_trace_is_in_one_cluster_and_there_are_at_most_k(count, k, k1, assign, salt):
    from pruner.records.traces import hash64

    def score(i, j):
        draw = hash64(salt, i, j) % 12
        return None if draw == 11 else draw / 10 if draw <= 10 else 0.0

    clusters, _ = cluster_all(score, count, ClusterRule(0.5, k, k1, assign))
    assert sorted(i for c in clusters for i in c.members) == list(range(count))
    assert len(clusters) <= k
    assert all(list(c.members) == sorted(c.members) for c in clusters)


@given(ANSWERS, st.integers())
def test_lazy_comparison_decides_as_complete_comparison_does(answers, salt):
    from pruner.records.traces import hash64

    def score(i, j):
        return (hash64(salt, i, j) % 5 + 5 * (answers[i] == answers[j])) / 9

    lazy, _asked = cluster_all(score, len(answers), RULE)
    complete = ()
    for index in range(len(answers)):
        means = [
            sum(score(m, index) for m in representatives(0, "p", c, 10)) / min(10, len(c.members)) for c in complete
        ]
        best = max(range(len(complete)), key=lambda j: (means[j], len(complete[j].members), -j), default=None)
        placement = Opens() if best is None or means[best] <= 0.5 else Joins(best)
        complete = apply(complete, index, placement)
    assert lazy == complete


def test_redundant_traces_are_compared_with_the_largest_cluster_only():
    _, asked = cluster_all(lambda i, j: 1.0, 50, ClusterRule(0.5, 32, 3, "best"))
    assert len(asked) == sum(min(3, i) for i in range(50))


def test_missing_verdicts_join_nothing():
    clusters, _ = cluster_all(lambda i, j: None, 5, RULE)
    assert len(clusters) == 5


def test_a_full_table_takes_the_most_similar_and_records_it():
    clusters = (Cluster((0,)), Cluster((1,)))
    verdicts = {(0, 2): 0.1, (1, 2): 0.3}
    placement = place(clusters, 2, verdicts, ClusterRule(0.5, 2, 10, "best"), ((0,), (1,)))
    assert placement == Joins(1, is_overflow=True)
    assert apply(clusters, 2, placement)[1] == Cluster((1, 2), is_overflow=True)


def test_first_takes_the_largest_cluster_over_tau_though_another_is_more_similar():
    clusters = (Cluster((0,)), Cluster((1, 2)))
    verdicts = {(0, 3): 0.9, (1, 3): 0.6, (2, 3): 0.6}
    members = ((0,), (1, 2))
    assert place(clusters, 3, verdicts, ClusterRule(0.5, 9, 9, "first"), members) == Joins(1)
    assert place(clusters, 3, verdicts, ClusterRule(0.5, 9, 9, "best"), members) == Joins(0)


def test_representatives_hardly_change_as_a_cluster_grows():
    small = set(representatives(0, "p", Cluster(tuple(range(50))), 5))
    large = set(representatives(0, "p", Cluster(tuple(range(51))), 5))
    assert len(small & large) >= 4


def test_largest_prefers_the_oldest():
    assert largest((Cluster((0,)), Cluster((1, 3)), Cluster((2, 4)))) == 1


def test_wrong_lengths_are_refused():
    with pytest.raises(ValueError, match="representative sets"):
        place((Cluster((0,)),), 1, {}, RULE, ())


def test_a_hopeless_cluster_is_given_up_before_all_its_members_are_judged():
    answers = [0] * 12 + [1]
    _, asked = cluster_all(lambda i, j: float(answers[i] == answers[j]), len(answers), RULE)
    # At tau = 0.5, five of ten zeros settle that the last one does not belong to the others.
    assert sum(right == 12 for _, right in asked) == 5


@pytest.mark.parametrize(("assign", "expected"), [("best", 1), ("first", 1), ("oldest", 0)])
def test_the_first_cluster_over_tau_is_the_oldest_or_the_largest(assign, expected):
    clusters = (Cluster((0,)), Cluster((1, 2)))
    verdicts = {(0, 3): 0.6, (1, 3): 0.8, (2, 3): 0.8}
    assert place(clusters, 3, verdicts, ClusterRule(0.5, 32, 10, assign), ((0,), (1, 2))) == Joins(expected)


def test_the_oldest_cluster_over_tau_needs_no_further_verdict():
    clusters = (Cluster((0,)), Cluster((1, 2)))
    rule = ClusterRule(0.5, 32, 10, "oldest")
    assert place(clusters, 3, {}, rule, ((0,), (1, 2))) == Undecided(((0, 3),))
    assert place(clusters, 3, {(0, 3): 0.6}, rule, ((0,), (1, 2))) == Joins(0)
