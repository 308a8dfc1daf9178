from hypothesis import given
from hypothesis import strategies as st

from pruner.records.traces import FinalAnswer
from pruner.rules.voting import credit, majority_vote, tied, winner

A, B, C = (FinalAnswer(letter, letter) for letter in "abc")
ANSWERS = st.lists(
    st.tuples(st.integers(0, 50), st.one_of(st.none(), st.sampled_from((A, B, C)))), unique_by=lambda a: a[0]
)


@given(ANSWERS, st.randoms())
def test_the_order_in_which_traces_finish_changes_nothing(answers, random):
    shuffled = list(answers)
    random.shuffle(shuffled)
    assert majority_vote(answers) == majority_vote(shuffled)


@given(ANSWERS)
def test_every_answer_is_one_vote_and_none_is_none(answers):
    votes = majority_vote(answers)
    assert sum(vote.weight for vote in votes) == sum(answer is not None for _, answer in answers)
    assert [vote.weight for vote in votes] == sorted((vote.weight for vote in votes), reverse=True)


def test_a_tie_goes_to_the_first_trace():
    assert winner(majority_vote([(5, B), (1, A), (2, B), (3, A)])) == A


def test_nobody_voted():
    assert winner(majority_vote([(0, None)])) is None


def test_spellings_with_one_key_vote_together_under_the_first_one():
    answers = [FinalAnswer("70", "70"), FinalAnswer("21+49=70", "70", 1), FinalAnswer("71", "71")]
    votes = majority_vote(enumerate(answers))
    assert [(vote.answer.text, vote.traces) for vote in votes] == [("70", (0, 1)), ("71", (2,))]


def test_weights_count():
    assert winner(majority_vote([(0, A), (1, B), (2, B)], {0: 5.0, 1: 1.0, 2: 1.0})) == A


def test_answers_that_lead_together_share_the_credit():
    right, wrong = FinalAnswer("1", "1", 1), FinalAnswer("2", "2", 0)
    three = majority_vote([(0, wrong), (1, right), (2, FinalAnswer("3", "3", 0)), (3, right), (4, wrong)])
    assert [vote.answer for vote in tied(three)] == [wrong, right] and credit(three) == 0.5
    assert winner(three) == wrong, "a tie goes to the answer of the lowest trace"
    assert credit(majority_vote([(0, right)])) == 1.0 and credit(majority_vote([(0, wrong)])) == 0.0


def test_without_a_vote_nobody_leads():
    assert tied(()) == () and credit(()) == 0.0
