"""The totals of one run: its tokens, cost and accuracy, as the views give them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class RunTotals:
    """The totals of a run over its finished problems: one row of the views `tokens` and `savings`, see schemas.py."""

    run: str
    method: str
    model: str
    problem_set: str
    judge: str | None
    budget: int
    seed: int
    problems: int
    answered: int
    no_answer: int
    failed: int
    problems_graded: int
    problems_right: int | None
    accuracy: float | None
    single_accuracy: float | None
    traces_started: int
    traces_finished: int
    traces_pruned: int
    tokens_sampled: int
    tokens_prefix: int
    tokens_continued: int
    tokens_finished: int
    tokens_pruned: int
    judge_calls: int
    judge_probes: int
    judge_verdicts: int
    judge_verdicts_missing: int
    tokens_judge_prompt: int
    tokens_judge_cached: int
    tokens_judge_output: int
    tokens_net: float
    attempts: int | None
    tokens_discarded: int | None
    attempts_discarded_unknown: int | None
    judge_prompt_weight: float | None
    judge_cached_weight: float | None
    judge_output_weight: float | None
    gpu_seconds_sampler: float | None
    gpu_seconds_judge: float | None
    cost_basis: str | None
    cost: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    problems_certified: int | None
    delta: float | None
    traces_speculative: int
    tokens_speculative: int
    speculative_weight: float
    traces_cut: int | None
    traces_unanswered: int | None
    traces_cut_unanswered: int | None
    problems_tied: int
    problems_total: int | None
    shard_count: int | None
    shards_done: int
    sampler: str | None
    load_s: float | None
    work_s: float | None
    started_at: datetime | None
    ended_at: datetime | None
    note: str | None
    baseline: str
    baseline_run: str | None
    accuracy_baseline: float | None
    tokens_baseline: float | None
    saved: float | None

    @property
    def tokens_per_s(self) -> float | None:
        """Committed tokens of the sampler, speculative ones included, for each second of work, as progress.json says it."""
        if not self.work_s:
            return None
        return (self.tokens_sampled + self.tokens_speculative) / self.work_s

    @property
    def tokens_speculative_net(self) -> float:
        """The speculative tokens, weighted as in net tokens."""
        return self.tokens_speculative * self.speculative_weight

    @property
    def tokens_judge_net(self) -> float:
        """The judge's tokens, weighted as in net tokens."""
        return self.tokens_net - self.tokens_sampled - self.tokens_speculative_net

    @property
    def tokens_judge_read(self) -> int:
        """Prompt tokens that the judge newly read."""
        return self.tokens_judge_prompt - self.tokens_judge_cached
