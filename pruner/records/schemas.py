"""The columns of everything that is written, in one place. Units are in the names or here.

Measured columns (they differ from run to run): attempts, wall_s, gpu_seconds, and all of the attempts table. Every other
column of answers, traces, verdicts and probes is a function of the config, the problems and the model.
"""

from __future__ import annotations

import pyarrow as pa


def _schema(*columns: tuple[str, pa.DataType, str]) -> pa.Schema:
    return pa.schema([pa.field(name, kind, metadata={"doc": doc}) for name, kind, doc in columns])


_STRINGS, _FLOATS, _INTS = pa.list_(pa.string()), pa.list_(pa.float64()), pa.list_(pa.int32())
_TIME = pa.timestamp("us", tz="UTC")
_PROBLEM = ("problem_id", pa.string(), "as in the problem set")
_INDEX = ("problem_index", pa.int64(), "row of the whole problem set, from 0")
_TRACE = ("trace_index", pa.int32(), "from 0 to budget - 1")

ANSWERS = _schema(
    _PROBLEM,
    _INDEX,
    ("method", pa.string(), "method.name"),
    ("model", pa.string(), "model.name"),
    ("problem_set", pa.string(), "problems.name"),
    ("judge", pa.string(), "judge.name; null for methods without one"),
    ("budget", pa.int32(), "N, the most traces that could start"),
    ("seed", pa.int64(), "run seed"),
    ("gold", pa.string(), "the problem's own answer, if it has one"),
    ("status", pa.string(), "answered, no_answer (no finished trace gave one) or failed (could not be sampled)"),
    ("failure", pa.string(), "why it failed"),
    ("answer", pa.string(), "the vote's winner, in its first voter's spelling"),
    ("correct", pa.int8(), "1: answer equals gold, 0: it does not; null without gold"),
    ("votes", pa.float64(), "weight behind the winner"),
    ("votes_total", pa.float64(), "weight of all votes"),
    ("vote_answers", _STRINGS, "the answers voted for, most weight first"),
    ("vote_counts", _FLOATS, "their weights"),
    (
        "votes_tied",
        pa.int32(),
        "answers that lead together, the winner included; the earliest trace's wins. Null before version 5",
    ),
    ("credit", pa.float64(), "1/k where gold is one of the k answers that lead together, else 0; null without gold"),
    (
        "certified",
        pa.bool_(),
        "the answer is the model's most frequent one, at the stated error rate; null without certificates",
    ),
    ("e_value", pa.float64(), "the evidence for that; certified once it is 1 / method.delta"),
    ("any_correct", pa.int8(), "1: some finished trace is right (pass@finished); null without gold"),
    ("single_accuracy", pa.float64(), "share of finished traces that are right; null without gold"),
    ("clusters", pa.int32(), "number of clusters"),
    ("cluster_sizes", _INTS, "their sizes, largest first"),
    ("clusters_overflowed", pa.int32(), "of these, joined by a trace only because no further cluster was allowed"),
    ("traces_started", pa.int32(), ""),
    ("traces_finished", pa.int32(), ""),
    ("traces_pruned", pa.int32(), "started, not finished"),
    ("traces_cut", pa.int32(), "of the finished, ended by the token cap. Null before version 7, as the next two"),
    ("traces_unanswered", pa.int32(), "of the finished, without an answer"),
    ("traces_cut_unanswered", pa.int32(), "of these, ended by the token cap"),
    ("tokens_prompt", pa.int64(), "length of the problem's prompt"),
    ("tokens_sampled", pa.int64(), "all tokens of all traces = finished + pruned = prefix + continued"),
    ("tokens_prefix", pa.int64(), "of these, sampled before the method could decide on their trace"),
    ("tokens_continued", pa.int64(), "of these, sampled after that"),
    ("tokens_finished", pa.int64(), "of these, in finished traces"),
    ("tokens_pruned", pa.int64(), "of these, in pruned traces"),
    ("tokens_unpruned_estimate", pa.float64(), "estimate of tokens_sampled had nothing been pruned; null if unknown"),
    ("traces_speculative", pa.int32(), "measured: traces begun in case the method asked for them, and it never did"),
    ("tokens_speculative", pa.int64(), "measured: of these, committed; not in tokens_sampled"),
    ("judge_calls", pa.int64(), "requests of the judge, probes included"),
    ("judge_probes", pa.int64(), "probed prefixes"),
    ("judge_verdicts", pa.int64(), "judged pairs"),
    ("judge_verdicts_missing", pa.int64(), "of these, without a readable score"),
    ("tokens_judge_prompt", pa.int64(), "prompt tokens of the judge, cached ones included"),
    ("tokens_judge_cached", pa.int64(), "of these, computed by this job before, by rule (pruner/shard/accounting.py)"),
    ("tokens_judge_output", pa.int64(), "tokens that the judge sampled"),
    ("wall_s", pa.float64(), "measured: seconds from its opening to its answer, in the attempt that answered it"),
    (
        "gpu_seconds",
        pa.float64(),
        "measured: its share, by tokens, of the lifetimes of all attempts x GPUs; 0 on a CPU",
    ),
)

TRACES = _schema(
    _PROBLEM,
    _INDEX,
    _TRACE,
    ("status", pa.string(), "finished, pruned, or speculative: measured; nobody asked for it, so it has no answer"),
    ("finish_reason", pa.string(), "stop (by itself) or length (token cap); null if pruned"),
    (
        "prune_reason",
        pa.string(),
        "redundant (in the chosen cluster), minority (in another), low_confidence, off_majority (its answers kept differing), or "
        "decided (the vote was over); null if finished",
    ),
    ("answer", pa.string(), "final answer of a finished trace, if it gave one"),
    (
        "answer_key",
        pa.string(),
        "its canonical key: equal answers of a problem have equal keys; null in runs before version 4",
    ),
    ("correct", pa.int8(), "1: equals gold, 0: does not; null without gold or if pruned"),
    ("is_voter", pa.bool_(), "its answer counted in the vote"),
    ("cluster_index", pa.int32(), "oldest cluster 0; null if in none"),
    ("num_segments", pa.int32(), ""),
    ("segment_tokens", _INTS, "tokens of each segment"),
    ("segment_chars", _INTS, "characters of each segment's text"),
    ("tokens_sampled", pa.int64(), ""),
    ("tokens_prefix", pa.int64(), "of these, sampled before the method could decide"),
)

SEGMENTS = _schema(
    _PROBLEM,
    _TRACE,
    ("segment_index", pa.int32(), "from 0"),
    ("num_tokens", pa.int32(), ""),
    ("token_ids", _INTS, "as many; none where a recording does not have them"),
    ("text", pa.string(), "of these tokens; texts of a trace's segments join to its text"),
    ("finish_reason", pa.string(), "stop, length, or null: the trace goes on"),
    ("prompt_tokens", pa.int64(), "of the request: the problem's prompt and the trace so far"),
    ("cached_tokens", pa.int64(), "measured: of these, served by the engine's prefix cache"),
    ("confidence", pa.list_(pa.float32()), "of each token; null unless the method asked for it"),
    ("attempt", pa.int32(), "that sampled it"),
    ("committed_at", _TIME, ""),
)

PROBES = _schema(
    _PROBLEM,
    _TRACE,
    ("num_tokens", pa.int64(), "of the trace when it was probed"),
    ("output_tokens", pa.int64(), "decoded"),
    ("token_ids", _INTS, "as many; none where a recording does not have them"),
    ("text", pa.string(), ""),
    ("answer", pa.string(), "null if unreadable"),
    ("answer_key", pa.string(), "its canonical key; null in runs before version 4"),
    ("prompt_tokens", pa.int64(), ""),
    ("cached_tokens", pa.int64(), "measured: served by the engine's prefix cache"),
    ("shared_tokens", pa.int64(), "of the prompt, computed for the trace itself before"),
    ("attempt", pa.int32(), ""),
    ("committed_at", _TIME, ""),
)

VERDICTS = _schema(
    _PROBLEM,
    ("left_trace", pa.int32(), "the earlier trace, a cluster's representative"),
    ("right_trace", pa.int32(), "the newcomer"),
    ("score", pa.float64(), "P(same answer); null if the judge gave nothing readable"),
    ("prompt_tokens", pa.int64(), "0 where the verdict followed from probes"),
    ("cached_tokens", pa.int64(), "measured: served by the engine's prefix cache"),
    ("head_tokens", pa.int64(), "of the prompt, up to the end of the left prefix"),
    ("output_tokens", pa.int64(), ""),
    ("attempt", pa.int32(), ""),
    ("committed_at", _TIME, ""),
)

ENDINGS = _schema(
    _PROBLEM,
    _TRACE,
    ("answer", pa.string(), "final answer of the finished trace"),
    ("answer_key", pa.string(), "its canonical key"),
    ("correct", pa.int8(), "1: equals gold, 0: does not; null without gold"),
    ("attempt", pa.int32(), ""),
    ("committed_at", _TIME, ""),
)

ATTEMPTS = _schema(
    ("attempt", pa.int32(), "from 1"),
    ("host", pa.string(), ""),
    ("pid", pa.int64(), ""),
    ("slurm_job_id", pa.string(), "array jobs: <array>_<task>"),
    ("slurm_restart", pa.int32(), "SLURM_RESTART_COUNT"),
    ("versions", pa.string(), "JSON: packages that samples depend on"),
    ("started_at", _TIME, ""),
    ("sampler_gpus", pa.int32(), "GPUs of the sampler's engine; 0 on a CPU"),
    ("judge_gpus", pa.int32(), "GPUs of the judge's own engine; 0 if it shares the sampler's"),
)

ATTEMPT_ENDS = _schema(
    ("attempt", pa.int32(), ""),
    ("ended_at", _TIME, "of a killed attempt: when it last reported"),
    ("end_reason", pa.string(), "done, interrupted, failed, killed"),
    ("discarded_tokens", pa.int64(), "sampled and lost, as far as the engine had reported; null if unknown"),
    ("load_s", pa.float64(), "seconds until the engine was ready"),
    ("work_s", pa.float64(), "seconds of work after that"),
    ("commit_s", pa.float64(), "of these, spent committing"),
    ("message", pa.string(), "of a failed attempt"),
)

# Columns that answers get when they are read (store.Store.answers).
ANSWERS_ADDED = _schema(
    (
        "tokens_net",
        pa.float64(),
        "tokens_sampled + the judge's and the speculative, weighted as in accounting of the config",
    ),
    ("attempts", pa.int32(), "measured: processes that worked on the problem"),
)

# Columns that traces get when they are written, if the config says so.
TRACES_ADDED = _schema(
    ("text", pa.string(), "all of it, results.text"),
    (
        "reasoning_chars",
        pa.int32(),
        "of the text, before model.thinking_end; null where the model writes no reasoning, or before version 8",
    ),
    (
        "response_start",
        pa.int32(),
        "characters before the response; null where the reasoning did not end, or before version 8",
    ),
    ("token_ids", _INTS, "results.token_ids"),
)

# Columns that the view of traces cuts out of the text.
TRACES_CUT_OUT = _schema(
    ("reasoning", pa.string(), "the text before model.thinking_end, without an opening <think>"),
    ("response", pa.string(), "the text after it; all of it where the model writes no reasoning"),
)

# Columns that attempts get when they are read (store.Store.attempts).
ATTEMPTS_ADDED = _schema(
    ("segments", pa.int64(), "that it committed; null: none"),
    ("tokens_sampled", pa.int64(), "in these"),
    ("tokens_prompt", pa.int64(), "prompt tokens of their requests: the problem's prompt and the trace so far"),
    ("tokens_prompt_cached", pa.int64(), "of these, served by the engine's prefix cache"),
    ("judge_calls", pa.int64(), "requests of the judge, probes included"),
    ("tokens_judge_prompt", pa.int64(), "their prompt tokens"),
    ("tokens_judge_prompt_cached", pa.int64(), "of these, served by the engine's prefix cache"),
    ("tokens_judge_output", pa.int64(), "tokens that the judge sampled"),
)

# What facts are keyed by.
KEYS = {
    "segments": ("problem_id", "trace_index", "segment_index"),
    "probes": ("problem_id", "trace_index", "num_tokens"),
    "verdicts": ("problem_id", "left_trace", "right_trace"),
    "endings": ("problem_id", "trace_index"),
}
TABLES = {
    "segments": SEGMENTS,
    "probes": PROBES,
    "verdicts": VERDICTS,
    "endings": ENDINGS,
    "answers": ANSWERS,
    "traces": TRACES,
    "attempts": ATTEMPTS,
    "attempt_ends": ATTEMPT_ENDS,
}

_RUN = ("run", pa.string(), "the run's folder")
_DESCRIBED = (
    _RUN,
    *(
        (name, ANSWERS.field(name).type, "see answers")
        for name in ("method", "model", "problem_set", "judge", "budget", "seed")
    ),
    ("problems", pa.int64(), "finished ones; everything in this row is of them, where it is not of attempts"),
    (
        "accuracy",
        pa.float64(),
        "share of graded problems whose answer is right, the mean of its repetitions for each; null without gold",
    ),
)
_SUMMED = (
    "traces_started",
    "traces_finished",
    "traces_pruned",
    "tokens_sampled",
    "tokens_prefix",
    "tokens_continued",
    "tokens_finished",
    "tokens_pruned",
    "judge_calls",
    "judge_probes",
    "judge_verdicts",
    "judge_verdicts_missing",
    "tokens_judge_prompt",
    "tokens_judge_cached",
    "tokens_judge_output",
)

RUNS_VIEW = _schema(
    _RUN,
    ("method", pa.string(), "method.name"),
    ("model", pa.string(), "model.name"),
    ("budget", pa.int32(), "N, the most traces of a problem"),
    ("seed", pa.int64(), "run seed"),
    ("shard_count", pa.int32(), "shards that the problem set is cut into"),
    ("created_at", _TIME, "when the run began"),
    ("schema_version", pa.int32(), "of the program that began it"),
    ("setting", pa.string(), "hash of all that sampling depends on but method, judge and prefix: what may be compared"),
    ("config", pa.json_(), "the resolved config; config->'method'->>'tau' and the like"),
    ("problems_total", pa.int64(), "of the whole problem set; null in runs begun before version 7"),
    ("sampler", pa.string(), "sampler.name: vllm, replay (recorded traces) or simulated (made-up ones)"),
)

TOKENS_VIEW = _schema(
    *_DESCRIBED,
    ("answered", pa.int64(), "problems with an answer"),
    ("no_answer", pa.int64(), "problems of which no finished trace gave one"),
    ("failed", pa.int64(), "problems that could not be sampled"),
    ("problems_graded", pa.int64(), "problems with a gold answer"),
    ("problems_right", pa.int64(), "of these, answered rightly"),
    ("single_accuracy", pa.float64(), "mean over problems of the share of finished traces that are right"),
    *((name, pa.int64(), f"sum: {ANSWERS.field(name).metadata[b'doc'].decode()}") for name in _SUMMED),
    ("tokens_net", pa.float64(), "tokens_sampled + the judge's, weighted"),
    ("attempts", pa.int64(), "processes that worked on the run"),
    ("tokens_discarded", pa.int64(), "sampled and lost by attempts that were stopped or killed, as far as known"),
    ("attempts_discarded_unknown", pa.int64(), "attempts of which it is not known what they lost"),
    ("judge_prompt_weight", pa.float64(), "accounting.judge_prompt_weight: of a newly read token in tokens_net"),
    ("judge_cached_weight", pa.float64(), "of one read before"),
    ("judge_output_weight", pa.float64(), "of one that the judge sampled"),
    ("gpu_seconds_sampler", pa.float64(), "measured: lifetimes of ended attempts x the sampler's GPUs; 0 on a CPU"),
    (
        "gpu_seconds_judge",
        pa.float64(),
        "the same of the judge's GPUs; on the sampler's engine, by its part of tokens_net",
    ),
    ("cost_basis", pa.string(), "GPU hours, net tokens (discarded ones included) or null: no price in the config"),
    ("cost", pa.float64(), "in the currency of accounting.price_*"),
    (
        "accuracy_low",
        pa.float64(),
        "lower end of the accuracy's 95 % interval: bootstrap over problems with a gold answer, repetitions of one together",
    ),
    ("accuracy_high", pa.float64(), "its upper end"),
    ("problems_certified", pa.int64(), "problems with a certified answer; null if the method certifies none"),
    ("delta", pa.float64(), "the error rate of these certificates: method.delta"),
    ("traces_speculative", pa.int64(), "see answers"),
    ("tokens_speculative", pa.int64(), "see answers"),
    ("speculative_weight", pa.float64(), "accounting.speculative_weight: of a speculative token in tokens_net"),
    ("traces_cut", pa.int64(), "sum: see answers; null where it is not known"),
    ("traces_unanswered", pa.int64(), "sum: see answers"),
    ("traces_cut_unanswered", pa.int64(), "sum: see answers"),
    ("problems_tied", pa.int64(), "problems whose vote several answers led together"),
    ("problems_total", pa.int64(), "see runs"),
    ("shard_count", pa.int32(), "see runs"),
    ("shards_done", pa.int64(), "shards whose last attempt answered all that was left"),
    ("sampler", pa.string(), "see runs"),
    ("load_s", pa.float64(), "measured: seconds in which attempts loaded their engines, all shards together"),
    ("work_s", pa.float64(), "measured: seconds in which they worked; of a killed attempt until its last report"),
    ("started_at", _TIME, "of the first attempt"),
    ("ended_at", _TIME, "of the last attempt that ended"),
    (
        "note",
        pa.string(),
        "what keeps its figures from being a whole run's: unfinished, failed problems, simulated; else null",
    ),
)

SAVINGS_VIEW = _schema(
    *_DESCRIBED,
    ("tokens_sampled", pa.int64(), "see answers"),
    ("tokens_net", pa.float64(), "see answers"),
    ("baseline", pa.string(), "measured (a cons run with the same setting), estimate (from finished traces) or none"),
    ("baseline_run", pa.string(), "the measured one"),
    ("accuracy_baseline", pa.float64(), "of the measured one, on the same problems"),
    ("tokens_baseline", pa.float64(), "tokens_net without pruning: measured or estimated"),
    ("saved", pa.float64(), "1 - tokens_net / tokens_baseline, over problems where both are known"),
)


def _view(*schemas: pa.Schema, first: tuple[tuple[str, pa.DataType, str], ...] = (_RUN,)) -> pa.Schema:
    return pa.schema([*_schema(*first), *(field for schema in schemas for field in schema)])


def _without(schema: pa.Schema, *names: str) -> pa.Schema:
    return pa.schema([field for field in schema if field.name not in names])


_MEASURED = ("attempt", "committed_at", "cached_tokens")
_SHARD = ("shard", pa.string(), "file of the shard")

# Columns that answers carry from the problem set, or from the recording that is replayed.
_CARRIED = _schema(
    ("question", pa.string(), "as in the problem set"),
    (
        "source_problem_id",
        pa.string(),
        "of a replay with sampler.resample: the problem that this is a repetition of; else null",
    ),
    ("repetition", pa.int32(), "of these, which; else null"),
)
# The columns of every view, which stay: others may be added (the problem set's own, in answers, among them).
VIEWS = {
    "runs": RUNS_VIEW,
    "answers": _view(ANSWERS, ANSWERS_ADDED, _CARRIED),
    "traces": _view(TRACES, TRACES_ADDED, TRACES_CUT_OUT),
    "verdicts": _view(_without(VERDICTS, *_MEASURED), _schema(_INDEX)),
    "probes": _view(_without(PROBES, *_MEASURED), _schema(_INDEX)),
    "attempts": _view(ATTEMPTS, _without(ATTEMPT_ENDS, "attempt"), ATTEMPTS_ADDED, first=(_RUN, _SHARD)),
    "tokens": TOKENS_VIEW,
    "savings": SAVINGS_VIEW,
}
READ_VIEWS = ("runs", "answers", "traces", "verdicts", "probes", "attempts")
