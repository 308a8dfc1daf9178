from pruner.records.traces import Trace
from pruner.rules.prefix import FixedTruncation, ReasoningWordsTruncation
from tests.unit.fakes import trace_of


def test_a_fixed_prefix_is_the_first_tokens_and_nothing_later():
    truncation = FixedTruncation(8)
    assert truncation.prefix(trace_of(0, ("abc", 4))) is None
    whole = trace_of(0, ("abc", 4), ("def", 4), ("ghi", 4))
    assert truncation.prefix(whole).text == "abcdef"
    assert truncation.prefix(whole).num_tokens == 8


def test_reasoning_words_end_with_the_word_and_count_the_tokens_of_its_segment():
    truncation = ReasoningWordsTruncation(("wait", "thus"), 2, 100)
    trace = trace_of(0, ("wait a bit, ", 4), ("Thus we", 4), (" go on", 4))
    assert truncation.prefix(trace).text == "wait a bit, Thus"
    assert truncation.prefix(trace).num_tokens == 8
    assert truncation.prefix(trace_of(0, ("await thusly", 4))) is None


def test_a_word_that_may_still_grow_is_not_yet_one():
    truncation = ReasoningWordsTruncation(("so",), 1, 100)
    assert truncation.prefix(trace_of(0, ("and so", 4))) is None
    assert truncation.prefix(trace_of(0, ("and so", 4), ("me", 4))) is None
    assert truncation.prefix(trace_of(0, ("and so", 4), (" it", 4))).text == "and so"


def test_the_cap_holds_when_the_words_do_not_come():
    truncation = ReasoningWordsTruncation(("wait",), 5, 8)
    assert truncation.prefix(trace_of(0, ("abc", 4), ("def", 4), ("ghi", 4))).text == "abcdef"


def test_later_segments_never_change_a_prefix():
    for truncation in (FixedTruncation(8), ReasoningWordsTruncation(("so",), 2, 100)):
        trace, seen = Trace("p", 0), None
        for piece in ("so a ", "b so ", "so so", " wait", " so so"):
            trace = trace_of(0, *[(s.text, 4) for s in trace.segments], (piece, 4))
            prefix = truncation.prefix(trace)
            assert seen is None or prefix == seen
            seen = prefix
        assert seen is not None
