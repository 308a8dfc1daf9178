"""Cost accounting: the rows of an answered problem, with what its traces and its judge cost. Pure functions of its outcome.

Two identities hold for every problem and are asserted here:
    tokens_sampled = tokens_finished + tokens_pruned      (by what became of the trace)
    tokens_sampled = tokens_prefix + tokens_continued     (by when they were sampled)

What is charged must not depend on the luck of the engine's cache, or two runs of one config would differ. So a judge's
prompt tokens count as cached by rule: a probe shares its trace's prompt and prefix, which the sampler had computed; a pair
shares the head of its prompt with earlier pairs of the same left trace; both as far as whole blocks of the cache go. What the engine's cache really served is in the
attempts. The weighted sum, tokens_net, is made where answers are read (store.Store.answers).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from pruner.records.rows import AnswerRow, RunFacts, TraceRow
from pruner.records.traces import Fact, FinalAnswer, Probe, Problem, Segment, Trace, Verdict
from pruner.rules.clustering import cluster_sizes
from pruner.rules.voting import credit, tied
from pruner.settings.prices import AccountingConfig
from pruner.shard.case import CaseOutcome


def with_judge_cost(row: AnswerRow, facts: Sequence[Fact], cache_block_tokens: int) -> AnswerRow:
    """Add what the judge cost; prompt tokens include the cached ones. Of shared tokens those count as cached that fill whole blocks of
    the prefix cache."""

    def whole_blocks(tokens: int) -> int:
        return tokens // cache_block_tokens * cache_block_tokens

    probes = [fact for fact in facts if isinstance(fact, Probe)]
    verdicts = [fact for fact in facts if isinstance(fact, Verdict)]
    asked = [verdict for verdict in verdicts if verdict.prompt_tokens]
    charged: list[Probe | Verdict] = [*asked, *probes]
    # The first pair of each left trace pays for the head that the others share.
    first_heads: dict[int, int] = {}
    for verdict in asked:
        left = verdict.key.left_trace
        first_heads[left] = max(first_heads.get(left, 0), whole_blocks(verdict.head_tokens))
    pairs: dict[frozenset[int], list[float | None]] = {}
    for verdict in verdicts:
        pairs.setdefault(frozenset((verdict.key.left_trace, verdict.key.right_trace)), []).append(verdict.score)
    shared = sum(whole_blocks(verdict.head_tokens) for verdict in asked) - sum(first_heads.values())
    return replace(
        row,
        judge_calls=len(asked) + sum(1 for probe in probes if probe.prompt_tokens),
        judge_probes=len(probes),
        judge_verdicts=len(pairs),
        judge_verdicts_missing=sum(all(score is None for score in scores) for scores in pairs.values()),
        tokens_judge_prompt=sum(each.prompt_tokens for each in charged),
        tokens_judge_cached=shared + sum(whole_blocks(probe.shared_tokens) for probe in probes),
        tokens_judge_output=sum(each.output_tokens for each in charged),
    )


def trace_rows(outcome: CaseOutcome) -> list[TraceRow]:
    """Return one row for each trace that was started, by index, and then for those that the method never asked for."""
    cluster_of = {member: j for j, cluster in enumerate(outcome.clusters) for member in cluster.members}
    voters = {index for vote in outcome.answer.votes for index in vote.traces}
    asked = [
        replace(
            _trace_row(outcome, trace),
            status="finished" if trace.is_finished else "pruned",
            prune_reason=None if trace.is_finished else outcome.pruned.get(trace.trace_index, "decided"),
            answer=trace.answer.text if trace.answer is not None else None,
            answer_key=trace.answer.key if trace.answer is not None else None,
            correct=_grade(trace.answer, outcome.problem) if trace.is_finished else None,
            is_voter=trace.trace_index in voters,
            cluster_index=cluster_of.get(trace.trace_index),
            tokens_prefix=prefix_tokens,
        )
        for trace, prefix_tokens in zip(outcome.traces, outcome.prefix_tokens, strict=True)
    ]
    return [*asked, *(_trace_row(outcome, trace) for trace in outcome.speculative)]


def _trace_row(outcome: CaseOutcome, trace: Trace) -> TraceRow:
    """Return the row of a trace that nobody has looked at."""
    return TraceRow(
        problem_id=trace.problem_id,
        problem_index=outcome.problem.problem_index,
        trace_index=trace.trace_index,
        status="speculative",
        finish_reason=trace.finish_reason,
        prune_reason=None,
        answer=None,
        answer_key=None,
        correct=None,
        is_voter=False,
        cluster_index=None,
        num_segments=len(trace.segments),
        segment_tokens=tuple(segment.num_tokens for segment in trace.segments),
        segment_chars=tuple(len(segment.text) for segment in trace.segments),
        tokens_sampled=trace.num_tokens,
        tokens_prefix=0,
    )


def answer_row(run: RunFacts, outcome: CaseOutcome, traces: list[TraceRow]) -> AnswerRow:
    """Return the row of an answered problem, given its traces' rows."""
    speculative = [row for row in traces if row.status == "speculative"]
    traces = [row for row in traces if row.status != "speculative"]
    answer, votes, problem = outcome.answer.answer, outcome.answer.votes, outcome.problem
    certificate = outcome.answer.certificate
    finished = [row for row in traces if row.status == "finished"]
    has_gold = problem.answer is not None
    row = replace(
        _blank_row(run, problem),
        status="answered" if answer is not None else "no_answer",
        answer=answer.text if answer is not None else None,
        correct=_grade(answer, problem),
        votes=votes[0].weight if votes else 0.0,
        votes_total=float(sum(vote.weight for vote in votes)),
        vote_answers=tuple(vote.answer.text for vote in votes),
        vote_counts=tuple(vote.weight for vote in votes),
        votes_tied=len(tied(votes)),
        credit=credit(votes) if has_gold else None,
        certified=certificate.is_certified if certificate is not None else None,
        e_value=certificate.e_value if certificate is not None else None,
        any_correct=int(any(row.correct for row in finished)) if has_gold else None,
        single_accuracy=_mean([float(row.correct or 0) for row in finished]) if has_gold else None,
        clusters=len(outcome.clusters),
        cluster_sizes=cluster_sizes(outcome.clusters),
        clusters_overflowed=sum(cluster.is_overflow for cluster in outcome.clusters),
        traces_speculative=len(speculative),
        tokens_speculative=sum(row.tokens_sampled for row in speculative),
        tokens_prompt=outcome.num_prompt_tokens,
        tokens_unpruned_estimate=unpruned_estimate(traces, run.budget),
    )
    return with_judge_cost(_with_tokens(row, outcome, traces), outcome.facts, run.cache_block_tokens)


def _with_tokens(row: AnswerRow, outcome: CaseOutcome, traces: list[TraceRow]) -> AnswerRow:
    """Add the counts of traces and sampled tokens; they must agree with the facts."""
    finished = [each.tokens_sampled for each in traces if each.status == "finished"]
    pruned = [each.tokens_sampled for each in traces if each.status == "pruned"]
    sampled = sum(each.tokens_sampled for each in traces)
    prefix = sum(each.tokens_prefix for each in traces)
    assert sampled == sum(finished) + sum(pruned) and 0 <= prefix <= sampled
    in_facts = sum(fact.num_tokens for fact in outcome.facts if isinstance(fact, Segment)) - row.tokens_speculative
    assert sampled == in_facts, f"{row.problem_id}: {sampled} tokens in traces, {in_facts} in segments"
    return replace(
        row,
        traces_started=len(traces),
        traces_finished=len(finished),
        traces_pruned=len(pruned),
        traces_cut=sum(each.is_cut for each in traces),
        traces_unanswered=sum(each.is_unanswered for each in traces),
        traces_cut_unanswered=sum(each.is_cut and each.is_unanswered for each in traces),
        tokens_sampled=sampled,
        tokens_prefix=prefix,
        tokens_continued=sampled - prefix,
        tokens_finished=sum(finished),
        tokens_pruned=sum(pruned),
    )


def net_tokens(row: AnswerRow, weights: AccountingConfig) -> float:
    """Return what a problem cost, the judge's tokens weighted; store.Store.answers says the same in SQL."""
    return row.tokens_sampled + weights.speculative_weight * row.tokens_speculative + judge_tokens(row, weights)


def judge_tokens(row: AnswerRow, weights: AccountingConfig) -> float:
    """Return the judge's part of that."""
    read = weights.judge_prompt_weight * (row.tokens_judge_prompt - row.tokens_judge_cached)
    return (
        read
        + weights.judge_cached_weight * row.tokens_judge_cached
        + weights.judge_output_weight * row.tokens_judge_output
    )


def failed_row(run: RunFacts, problem: Problem, tokens_prompt: int, failure: str) -> AnswerRow:
    """Return the row of a problem that could not be sampled at all; it counts as wrong."""
    is_wrong = None if problem.answer is None else 0
    return replace(
        _blank_row(run, problem), failure=failure, tokens_prompt=tokens_prompt, correct=is_wrong, any_correct=is_wrong
    )


def _blank_row(run: RunFacts, problem: Problem) -> AnswerRow:
    return AnswerRow(
        problem_id=problem.problem_id,
        problem_index=problem.problem_index,
        method=run.method,
        model=run.model,
        problem_set=run.problem_set,
        judge=run.judge,
        budget=run.budget,
        seed=run.seed,
        gold=problem.answer,
    )


def unpruned_estimate(traces: list[TraceRow], budget: int) -> float | None:
    """Estimate what all of the budget's traces would have cost unpruned; None when no pruned trace could be estimated.

    A pruned trace is taken to be as long as the mean trace that went on beyond its prefix and finished; one that would
    have finished within its prefix is not pruned, so shorter ones must not enter that mean.
    """
    lengths = [row.tokens_sampled for row in traces]
    continued = [
        row.tokens_sampled for row in traces if row.status == "finished" and row.tokens_sampled > row.tokens_prefix
    ]
    pruned = [row for row in traces if row.status == "pruned"]
    if not pruned:
        return _exact_scale(sum(lengths), budget, len(traces))
    if not continued:
        return None
    mean = Fraction(sum(continued), len(continued))
    total = sum(lengths) + sum(max(Fraction(0), mean - row.tokens_sampled) for row in pruned)
    return _exact_scale(total, budget, len(traces))


def _exact_scale(total: Fraction | int, budget: int, started: int) -> float | None:
    return float(Fraction(total) * budget / started) if started else None


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _grade(answer: FinalAnswer | None, problem: Problem) -> int | None:
    """Return whether an answer is right, as it was graded when its trace ended; no answer is wrong."""
    if problem.answer is None:
        return None
    return 0 if answer is None else answer.correct
