"""DeepConf, offline and online: who is stopped, who votes, and with what weight."""

from array import array
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner.errors import InputError
from pruner.methods.deepconf_offline import DeepConfOffline, DeepConfOfflineConfig
from pruner.methods.deepconf_online import DeepConfOnline, DeepConfOnlineConfig
from pruner.records.traces import Trace
from pruner.rules.confidence import SCORES, keep_threshold, lowest_group
from tests.unit.drive import Future, assert_order_does_not_matter, drive, futures

WINDOW = 4


def offline(budget, score="mean", keep=1.0, window=WINDOW):
    config = DeepConfOfflineConfig(name="deepconf_offline", score=score, keep=keep, window=window)
    return DeepConfOffline(budget, config)


def online(budget, warmup=4, keep=0.5, consensus=0.95, wave=3, window=WINDOW):
    settings = {"warmup": warmup, "keep": keep, "consensus": consensus, "wave": wave, "window": window}
    return DeepConfOnline(budget, DeepConfOnlineConfig(name="deepconf_online", **settings))


def flat(*traces):
    """Traces of 12 tokens with the same confidence throughout: ("a", 3.0)."""
    return [Future(answer, (confidence,) * 12) for answer, confidence in traces]


@given(futures(), st.sampled_from(sorted(SCORES)), st.sampled_from([0.1, 0.5, 0.9, 1.0]), st.integers())
def test_offline_finishes_all_in_whatever_order_and_the_confident_vote(traces, score, keep, salt):
    outcome = assert_order_does_not_matter(lambda: offline(len(traces), score, keep), traces, salt)
    assert outcome.tokens == {i: len(trace.confidences) for i, trace in enumerate(traces)} and not outcome.pruned
    scores = {i: SCORES[score](t.confidences, WINDOW) for i, t in enumerate(traces) if t.answer is not None}
    if not scores:
        assert outcome.answer.answer is None and outcome.voters == set()
        return
    threshold = keep_threshold(list(scores.values()), keep)
    assert outcome.voters == {i for i, value in scores.items() if value >= threshold}
    for vote in outcome.answer.votes:
        assert vote.weight == sum(scores[i] for i in vote.traces)


def test_offline_weighs_what_a_plain_vote_would_count():
    traces = flat(("a", 1.0), ("a", 1.0), ("b", 3.0))
    outcome = drive(offline(3), traces)
    assert [(vote.answer, vote.weight) for vote in outcome.answer.votes] == [("b", 3.0), ("a", 2.0)]


def test_offline_keeps_the_top_share_of_those_with_an_answer():
    traces = flat(("a", 1.0), ("b", 2.0), ("c", 3.0), (None, 9.0))
    assert drive(offline(4, keep=0.5), traces).voters == {1, 2}
    assert drive(offline(4, keep=0.01), traces).voters == {2}


def test_a_tie_in_weight_goes_to_the_answer_of_the_lowest_trace():
    assert drive(offline(3), flat((None, 1.0), ("b", 2.0), ("a", 2.0))).answer.answer == "b"


ONLINE = {
    "warmup": st.integers(1, 8),
    "keep": st.sampled_from([0.1, 0.5, 0.9]),
    "consensus": st.sampled_from([None, 0.6, 0.95]),
    "wave": st.integers(1, 6),
}


@given(futures(), st.fixed_dictionaries(ONLINE), st.integers())
def test_online_does_the_same_in_whatever_order_segments_end(traces, rule, salt):
    outcome = assert_order_does_not_matter(lambda: online(len(traces), **rule), traces, salt)
    warmup = range(min(rule["warmup"], len(traces)))
    lowest = [lowest_group(trace.confidences, WINDOW) for trace in traces]
    threshold = keep_threshold([lowest[i] for i in warmup], rule["keep"])
    assert set(warmup) <= outcome.tokens.keys()
    started = len(outcome.tokens)
    assert started == len(traces) or (started - len(warmup)) % rule["wave"] == 0
    for index, tokens in outcome.tokens.items():
        if index in outcome.pruned:
            assert index not in warmup and outcome.pruned[index] == "low_confidence"
            assert lowest_group(traces[index].confidences[:tokens], WINDOW) < threshold
            before = traces[index].confidences[: tokens - 4]
            assert len(before) < WINDOW or lowest_group(before, WINDOW) >= threshold, "stopped later than it could be"
        else:
            assert tokens == len(traces[index].confidences)
    finished = outcome.tokens.keys() - outcome.pruned.keys()
    assert set(outcome.answer.voters) == finished
    answered = {i for i in finished if traces[i].answer is not None}
    confident = {i for i in answered if lowest[i] >= threshold}
    assert outcome.voters == (confident or answered)
    for vote in outcome.answer.votes:
        assert vote.weight == (sum(lowest[i] for i in vote.traces) if confident else len(vote.traces))


DOUBLES = st.lists(
    st.builds(Future, st.sampled_from("ab"), st.lists(st.floats(0, 20), min_size=1, max_size=20).map(tuple)),
    min_size=1,
    max_size=12,
)


@given(DOUBLES)
def test_what_comes_back_from_the_checkpoint_decides_alike(traces):
    """The checkpoint keeps single precision; the sampler gives more."""
    stored = [replace(trace, confidences=tuple(array("f", trace.confidences))) for trace in traces]
    assert drive(online(len(traces)), traces) == drive(online(len(traces)), stored)
    assert drive(offline(len(traces)), traces) == drive(offline(len(traces)), stored)


def test_a_trace_stops_at_the_first_segment_end_below_the_threshold():
    drop = Future("a", (5.0,) * 9 + (0.0,) * 4 + (5.0,) * 20)
    outcome = drive(online(3, warmup=2, consensus=None), [*flat(("a", 4.0), ("b", 2.0)), drop])
    assert outcome.pruned == {2: "low_confidence"}
    assert outcome.tokens[2] == 12  # 5 0 0 0 is the first group below the threshold of 3; segments are 4 long


def test_a_trace_shorter_than_a_group_is_not_stopped_but_does_not_vote_below_the_threshold():
    traces = [*flat(("a", 4.0), ("b", 2.0)), Future("b", (1.0,) * 3), Future("b", (3.0,) * 3)]
    outcome = drive(online(4, warmup=2, consensus=None), traces)
    assert not outcome.pruned and outcome.voters == {0, 3}


def test_low_keeps_few_and_high_keeps_most():
    traces = flat(*[("a", float(i)) for i in range(1, 17)], *[("b", float(i)) for i in range(1, 17)])
    low = drive(online(32, warmup=16, keep=0.1, consensus=None), traces)
    high = drive(online(32, warmup=16, keep=0.9, consensus=None), traces)
    assert low.voters == {14, 15, 30, 31} and len(low.pruned) == 14
    assert high.voters == {*range(2, 16), *range(18, 32)} and len(high.pruned) == 2


def test_no_more_traces_start_once_the_vote_is_clear():
    traces = flat(*[("a", 5.0)] * 4, ("b", 5.0), *[("a", 5.0)] * 95)
    assert len(drive(online(100), traces).tokens) == 4, "the warm-up agrees"
    traces[0] = flat(("b", 5.0))[0]  # 2 of n for b: the share of a is 0.95 at 40 traces
    assert len(drive(online(100, wave=1), traces).tokens) == 40
    assert len(drive(online(100, wave=5), traces).tokens) == 44, "looked at where a wave ends"
    assert len(drive(online(100, consensus=None), traces).tokens) == 100


def test_where_nobody_may_vote_all_that_finished_do():
    warmup = flat((None, 5.0), (None, 5.0), ("a", 1.0), ("b", 1.0), ("b", 1.0))
    outcome = drive(online(5, warmup=5, keep=0.1), warmup)
    assert [(vote.answer, vote.weight) for vote in outcome.answer.votes] == [("b", 2.0), ("a", 1.0)]


def test_without_any_answer_the_budget_is_spent_and_there_is_none():
    outcome = drive(online(7), flat(*[(None, 2.0)] * 7))
    assert outcome.answer.answer is None and len(outcome.tokens) == 7


def test_traces_without_any_confidence_at_all_reach_no_consensus():
    assert len(drive(online(9), flat(*[("a", 0.0)] * 9)).tokens) == 9


def test_a_budget_within_the_warm_up_prunes_nothing():
    outcome = drive(online(3, warmup=16), flat(("a", 1.0), ("b", 2.0), ("b", 3.0)))
    assert not outcome.pruned and len(outcome.tokens) == 3


@pytest.mark.parametrize("make", [offline, online])
def test_a_trace_without_confidences_is_refused(make):
    trace = flat(("a", 1.0))[0].go_on(Trace("p", 0), 100)
    bare = replace(trace, segments=(replace(trace.segments[0], confidence=None),))
    method = make(1)
    method.begin()
    with pytest.raises(InputError, match="got no confidences"):
        method.on_segment(bare)
