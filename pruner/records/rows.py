"""The rows of the answers and traces tables, as records. schemas.py describes their columns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RunFacts:
    """What every row of a run repeats, so that a row can be read alone; and the prefix cache's block, in tokens."""

    method: str
    model: str
    problem_set: str
    judge: str | None
    budget: int
    seed: int
    cache_block_tokens: int


@dataclass(frozen=True)
class TraceRow:
    """A row of traces/*.parquet; columns are described in schemas.py."""

    problem_id: str
    problem_index: int
    trace_index: int
    status: str
    finish_reason: str | None
    prune_reason: str | None
    answer: str | None
    answer_key: str | None
    correct: int | None
    is_voter: bool
    cluster_index: int | None
    num_segments: int
    segment_tokens: tuple[int, ...]
    segment_chars: tuple[int, ...]
    tokens_sampled: int
    tokens_prefix: int

    @property
    def is_cut(self) -> bool:
        return self.status == "finished" and self.finish_reason == "length"

    @property
    def is_unanswered(self) -> bool:
        return self.status == "finished" and self.answer is None


@dataclass(frozen=True)
class AnswerRow:
    """A row of answers/*.parquet; columns are described in schemas.py."""

    problem_id: str
    problem_index: int
    method: str
    model: str
    problem_set: str
    judge: str | None
    budget: int
    seed: int
    gold: str | None
    status: str = "failed"
    failure: str | None = None
    answer: str | None = None
    correct: int | None = None
    votes: float = 0.0
    votes_total: float = 0.0
    vote_answers: tuple[str, ...] = ()
    vote_counts: tuple[float, ...] = ()
    votes_tied: int | None = None
    credit: float | None = None
    certified: bool | None = None
    e_value: float | None = None
    any_correct: int | None = None
    single_accuracy: float | None = None
    clusters: int = 0
    cluster_sizes: tuple[int, ...] = ()
    clusters_overflowed: int = 0
    traces_started: int = 0
    traces_finished: int = 0
    traces_pruned: int = 0
    traces_cut: int | None = None
    traces_unanswered: int | None = None
    traces_cut_unanswered: int | None = None
    tokens_prompt: int = 0
    tokens_sampled: int = 0
    tokens_prefix: int = 0
    tokens_continued: int = 0
    tokens_finished: int = 0
    tokens_pruned: int = 0
    tokens_unpruned_estimate: float | None = None
    traces_speculative: int = 0
    tokens_speculative: int = 0
    judge_calls: int = 0
    judge_probes: int = 0
    judge_verdicts: int = 0
    judge_verdicts_missing: int = 0
    tokens_judge_prompt: int = 0
    tokens_judge_cached: int = 0
    tokens_judge_output: int = 0
    wall_s: float = 0.0
    gpu_seconds: float = 0.0
