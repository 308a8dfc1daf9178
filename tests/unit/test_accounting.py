from hypothesis import given
from hypothesis import strategies as st

from pruner.records.rows import AnswerRow, TraceRow
from pruner.records.traces import PairKey, Probe, ProbeKey, Verdict
from pruner.shard.accounting import unpruned_estimate, with_judge_cost


def judge_cost(facts, block):
    return with_judge_cost(AnswerRow("p", 0, "m", "m", "s", None, 1, 0, None), facts, block)


def row(tokens, prefix, is_finished):
    status = "finished" if is_finished else "pruned"
    return TraceRow("p", 0, 0, status, None, None, None, None, None, False, None, 1, (tokens,), (0,), tokens, prefix)


def test_a_pair_pays_for_its_head_once_a_left_trace():
    facts = [
        Verdict(PairKey("p", 0, 1), 0.5, prompt_tokens=100, head_tokens=60, output_tokens=1),
        Verdict(PairKey("p", 0, 2), 0.5, prompt_tokens=110, head_tokens=60, output_tokens=1),
        Verdict(PairKey("p", 1, 2), None, prompt_tokens=90, head_tokens=50, output_tokens=1),
    ]
    cost = judge_cost(facts, 1)
    assert (cost.judge_calls, cost.judge_verdicts, cost.judge_verdicts_missing) == (3, 3, 1)
    assert (cost.tokens_judge_prompt, cost.tokens_judge_cached, cost.tokens_judge_output) == (300, 60, 3)


def test_a_probe_pays_for_what_it_adds():
    cost = judge_cost(
        [Probe(ProbeKey("p", 0, 4), 3, (1, 2, 3), "", "7", 30, 0, 22), Verdict(PairKey("p", 0, 1), 1.0)], 1
    )
    assert (cost.judge_calls, cost.judge_probes, cost.judge_verdicts) == (1, 1, 1)
    assert (cost.tokens_judge_prompt, cost.tokens_judge_cached, cost.tokens_judge_output) == (30, 22, 3)


def test_only_whole_blocks_of_the_cache_are_shared():
    facts = [
        Probe(ProbeKey("p", 0, 4), 1, (1,), "", "7", 30, 0, 22),
        Probe(ProbeKey("p", 1, 4), 1, (1,), "", "7", 9, 0, 7),
    ]
    assert judge_cost(facts, 8).tokens_judge_cached == 16
    pairs = [Verdict(PairKey("p", 0, i), 0.5, prompt_tokens=100, head_tokens=61) for i in (1, 2, 3)]
    assert judge_cost(pairs, 8).tokens_judge_cached == 2 * 56


@given(*[st.integers(0, 10**6) for _ in range(3)])
def test_the_order_of_facts_changes_no_book(a, b, c):
    facts = [
        Verdict(PairKey("p", i % 2, 2 + i), 0.5, prompt_tokens=n + 1, head_tokens=n // 2)
        for i, n in enumerate((a, b, c))
    ]
    assert judge_cost(facts, 1) == judge_cost(facts[::-1], 1)


def test_without_pruning_the_estimate_is_the_truth():
    assert unpruned_estimate([row(10, 0, True), row(30, 0, True)], 2) == 40


def test_pruned_traces_are_taken_for_as_long_as_those_that_went_on():
    assert unpruned_estimate([row(5, 5, True), row(40, 8, True), row(8, 8, False)], 3) == 5 + 40 + 40
    assert unpruned_estimate([row(5, 5, True), row(8, 8, False)], 2) is None


@given(st.lists(st.tuples(st.integers(1, 100), st.integers(0, 100), st.booleans()), min_size=1, max_size=20))
def test_the_estimate_is_never_below_what_was_sampled(traces):
    rows = [row(tokens, min(tokens, prefix), finished) for tokens, prefix, finished in traces]
    estimate = unpruned_estimate(rows, len(rows))
    assert estimate is None or estimate >= sum(r.tokens_sampled for r in rows)
