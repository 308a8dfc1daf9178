"""Certified: how many votes a certificate takes, that false ones are as rare as stated, and that order does not matter."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruner.methods.certified import Certified, likelihood_ratio
from tests.unit.drive import assert_order_does_not_matter, drive, futures, plain


@settings(max_examples=100)
@given(futures(), st.integers(1, 5), st.sampled_from([0.5, 0.2, 0.05]), st.integers())
def test_it_does_the_same_in_whatever_order_traces_end(traces, wave, delta, salt):
    outcome = assert_order_does_not_matter(lambda: Certified(len(traces), wave, delta), traces, salt)
    certificate = outcome.answer.certificate
    assert certificate.is_certified == (certificate.e_value >= 1 / delta * (1 - 1e-12))
    assert certificate.is_certified or len(outcome.tokens) == len(traces)


@pytest.mark.parametrize(("delta", "votes"), [(0.05, 9), (0.2, 6)])
def test_unanimous_votes_are_certified_after_so_many(delta, votes):
    outcome = drive(Certified(64, 1, delta), plain(*"a" * 64))
    assert len(outcome.tokens) == votes and outcome.answer.certificate.is_certified


def test_beyond_the_budget_the_plurality_answers_without_a_certificate():
    outcome = drive(Certified(6, 1, 0.05), plain(*"abbaba"))
    assert outcome.answer.answer == "a" and not outcome.answer.certificate.is_certified
    assert drive(Certified(3, 2, 0.05), plain(*[None] * 3)).answer.certificate.e_value == 0.0


def test_traces_without_an_answer_are_no_votes():
    answers = [answer for _ in range(16) for answer in ("a", None)]
    assert len(drive(Certified(32, 1, 0.05), plain(*answers)).tokens) == 17


@given(st.integers(0, 30), st.integers(0, 30))
def test_under_a_tie_the_ratio_is_a_martingale(votes, rival):
    after = (likelihood_ratio(votes + 1, rival) + likelihood_ratio(votes, rival + 1)) / 2
    assert after == likelihood_ratio(votes, rival)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (1 / 3, 1 / 3, 1 / 3), (0.45, 0.44, 0.11), (0.3, 0.3, *[0.04] * 10)])
def test_false_certificates_are_as_rare_as_stated(shares):
    delta, runs, draw = 0.1, 400, random.Random(3)
    # Of equals none is the most probable answer, so every certificate for one of them counts as false.
    favourites = {0} if shares[0] > max(shares[1:]) else set()
    false = 0
    for _ in range(runs):
        answers = [str(each) for each in draw.choices(range(len(shares)), shares, k=64)]
        answer = drive(Certified(64, 1, delta), plain(*answers)).answer
        false += answer.certificate.is_certified and int(answer.answer) not in favourites
    assert false / runs <= delta + 3 * math.sqrt(delta * (1 - delta) / runs)
