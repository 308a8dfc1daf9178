"""ConSol's test: with its authors' values a lead of three, and that order does not matter."""

from hypothesis import given
from hypothesis import strategies as st

from pruner.methods.consol import Consol, ConsolConfig
from tests.unit.drive import assert_order_does_not_matter, drive, futures, plain


def consol(budget, wave=1, **changes):
    values = {"name": "consol", "p1": 0.5001, "alpha": 0.05, "beta": 0.949976, "wave": wave}
    return Consol(budget, ConsolConfig(**(values | changes)))


@given(futures(), st.integers(1, 5), st.integers())
def test_it_does_the_same_in_whatever_order_traces_end(traces, wave, salt):
    assert_order_does_not_matter(lambda: consol(len(traces), wave), traces, salt)


def test_with_the_authors_values_it_stops_at_a_lead_of_three():
    assert len(drive(consol(64), plain(*"a" * 64)).tokens) == 3
    assert len(drive(consol(64), plain(*"abababaaab")).tokens) == 9
    assert len(drive(consol(8), plain(*"abababab")).tokens) == 8


def test_a_clear_alternative_asks_for_evidence():
    assert len(drive(consol(64, p1=0.7, beta=0.05), plain(*"a" * 64)).tokens) == 9
