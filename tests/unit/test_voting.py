from hypothesis import given
from hypothesis import strategies as st

from pruner.voting import majority_vote, winner
from tests.unit.fakes import same

ANSWERS = st.lists(
    st.tuples(st.integers(0, 50), st.one_of(st.none(), st.sampled_from("abc"))), unique_by=lambda a: a[0]
)


@given(ANSWERS, st.randoms())
def test_the_order_in_which_traces_finish_changes_nothing(answers, random):
    shuffled = list(answers)
    random.shuffle(shuffled)
    assert majority_vote(answers, same) == majority_vote(shuffled, same)


@given(ANSWERS)
def test_every_answer_is_one_vote_and_none_is_none(answers):
    votes = majority_vote(answers, same)
    assert sum(vote.weight for vote in votes) == sum(answer is not None for _, answer in answers)
    assert [vote.weight for vote in votes] == sorted((vote.weight for vote in votes), reverse=True)


def test_a_tie_goes_to_the_first_trace():
    assert winner(majority_vote([(5, "b"), (1, "a"), (2, "b"), (3, "a")], same)) == "a"


def test_nobody_voted():
    assert winner(majority_vote([(0, None)], same)) is None


def test_spellings_vote_together_under_the_first_one():
    votes = majority_vote([(0, "70"), (1, "21+49=70"), (2, "71")], lambda a, b: a.split("=")[-1] == b.split("=")[-1])
    assert [(vote.answer, vote.traces) for vote in votes] == [("70", (0, 1)), ("71", (2,))]


def test_weights_count():
    assert winner(majority_vote([(0, "a"), (1, "b"), (2, "b")], same, {0: 5.0, 1: 1.0, 2: 1.0})) == "a"
