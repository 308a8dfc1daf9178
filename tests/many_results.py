"""Write the results of many runs directly, in the real schema, and time every named query on them.

    python -m tests.many_results /tmp/many --runs 200 --problems 30 --traces 512

Rows are drawn by seed and keep the identities of the cost accounting. It prints how long each query takes, asked
in this process and as a command of its own, and the memory of the commands.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pruner import SCHEMA_VERSION
from pruner.records.schemas import VIEWS
from pruner.results.named_queries import read_queries
from pruner.results.query import Results
from pruner.results.run_folder import RunFolder
from pruner.results.writer import views_sql
from pruner.system.files import write_atomically

PROJECT = Path(__file__).parents[1]
METHODS = ("cons", "deepprune", "deepconf", "adaptive")
PREFIX, MEAN = 500, 12_000


def write_runs(root: Path, runs: int, problems: int, traces: int) -> None:
    for number in range(runs):
        write_run(root, number, problems, traces)
    views = views_sql(root)
    write_atomically(root / "views.sql", lambda path: path.write_text(views))


def write_run(root: Path, number: int, problems: int, traces: int) -> None:
    """Write one run: a method, a model and a seed by its number."""
    draw = np.random.default_rng(number)
    method, model, seed = METHODS[number % 4], f"model{number // 4 % 5}", number // 20
    folder = RunFolder(root, f"method={method},model={model},seed={seed}", 0)
    started = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    accounting = {"judge_prompt_weight": 0.3, "judge_cached_weight": 0.0, "judge_output_weight": 1.0}
    accounting |= {"price_per_gpu_hour": 2.0, "price_per_million_tokens": None}
    identity = {"budget": str(traces), "seed": str(seed), "fingerprint.model": model, "method.name": method}
    run = {
        "schema_version": SCHEMA_VERSION,
        "run": folder.name,
        "method": method,
        "model": model,
        "budget": traces,
        "seed": seed,
        "shard_count": 1,
        "created_at": started.isoformat(),
        "identity": identity,
        "config": {"accounting": accounting, "method": {"name": method}, "pad": "x" * 4000},
    }
    write_atomically(folder.run_json, lambda path: path.write_text(json.dumps(run)))
    shape = (problems, traces)
    length = draw.gamma(4, MEAN / 4, shape).astype(np.int64) + PREFIX + 1
    hard = draw.random((problems, 1))
    value = np.where(draw.random(shape) > hard * 0.8, 0, draw.integers(1, 6, shape))
    keep = 20 if method == "deepprune" else traces
    finished = np.broadcast_to(np.arange(traces) < keep, shape)
    sampled = np.where(finished, length, PREFIX)
    prefix = np.where(finished & (method == "cons"), 0, PREFIX)
    ids = np.array([f"problem-{i:03d}" for i in range(problems)])
    flat = {
        "problem_id": np.repeat(ids, traces),
        "problem_index": np.repeat(np.arange(problems), traces),
        "trace_index": np.tile(np.arange(traces), problems),
        "status": np.where(finished, "finished", "pruned").ravel(),
        "finish_reason": np.where(finished, "stop", None).ravel(),
        "prune_reason": np.where(finished, None, "redundant").ravel(),
        "answer": np.where(finished, value.astype(str), None).ravel(),
        "correct": np.where(finished, (value == 0).astype(int), None).ravel(),
        "is_voter": finished.ravel(),
        "cluster_index": value.ravel() if method == "deepprune" else None,
        "num_segments": (sampled // 1024 + 1).ravel(),
        "tokens_sampled": sampled.ravel(),
        "tokens_prefix": prefix.ravel(),
        "text": np.tile([f"trace {i} <script>alert({i})</script> wait, so " * 8 for i in range(traces)], problems),
    }
    _write(folder, "traces", flat)
    is_judged = method == "deepprune"
    verdicts = problems * traces * 2 if is_judged else 0
    left, right = draw.integers(0, 20, verdicts), draw.integers(0, traces, verdicts)
    of = np.repeat(np.arange(problems), traces * 2)[:verdicts]
    judged = {
        "problem_id": ids[of],
        "problem_index": of,
        "left_trace": np.minimum(left, right),
        "right_trace": np.maximum(left, right),
        "score": draw.random(verdicts),
    }
    zero = np.zeros(verdicts, np.int64)
    _write(folder, "verdicts", judged | dict.fromkeys(("prompt_tokens", "head_tokens", "output_tokens"), zero))
    probes = problems * traces if is_judged else 0
    probe = {name: flat[name][:probes] for name in ("problem_id", "problem_index", "trace_index")}
    _write(
        folder, "probes", probe | {"num_tokens": np.full(probes, PREFIX), "answer": value.ravel()[:probes].astype(str)}
    )
    _write_answers(folder, run, ids, value, finished, sampled, prefix, probes // problems)
    attempt = {
        "attempt": [1],
        "host": ["node"],
        "pid": [1],
        "started_at": [started],
        "ended_at": [started + timedelta(hours=1)],
        "end_reason": ["done"],
        "discarded_tokens": [0],
        "sampler_gpus": [1],
        "judge_gpus": [0],
        "tokens_sampled": [int(sampled.sum())],
        "work_s": [3500.0],
    }
    _write(folder, "attempts", attempt)


def _write_answers(folder, run, ids, value, finished, sampled, prefix, probes):
    problems, traces = value.shape
    votes = [np.bincount(value[i][finished[i]], minlength=6) for i in range(problems)]
    order = [np.argsort(-vote, kind="stable") for vote in votes]
    tokens, done = sampled.sum(1), (sampled * finished).sum(1)
    is_judged = run["method"] == "deepprune"
    rows = {
        "problem_id": ids,
        "problem_index": np.arange(problems),
        **{name: [run[name]] * problems for name in ("method", "model", "budget", "seed")},
        "problem_set": ["set"] * problems,
        "judge": ["probe" if is_judged else None] * problems,
        "gold": ["0"] * problems,
        "status": ["answered"] * problems,
        "answer": [str(each[0]) for each in order],
        "correct": [int(each[0] == 0) for each in order],
        "votes": [float(vote.max()) for vote in votes],
        "votes_total": [float(vote.sum()) for vote in votes],
        "vote_answers": [[str(a) for a in each if vote[a]] for each, vote in zip(order, votes, strict=True)],
        "vote_counts": [[float(vote[a]) for a in each if vote[a]] for each, vote in zip(order, votes, strict=True)],
        "any_correct": [int(vote[0] > 0) for vote in votes],
        "single_accuracy": [vote[0] / vote.sum() for vote in votes],
        "clusters": [len(set(row)) if is_judged else 0 for row in value.tolist()],
        "cluster_sizes": [sorted(np.bincount(row), reverse=True) if is_judged else [] for row in value],
        "traces_started": [traces] * problems,
        "traces_finished": finished.sum(1),
        "traces_pruned": traces - finished.sum(1),
        "tokens_sampled": tokens,
        "tokens_prefix": prefix.sum(1),
        "tokens_continued": tokens - prefix.sum(1),
        "tokens_finished": done,
        "tokens_pruned": tokens - done,
        "tokens_unpruned_estimate": (tokens * 1.0 if not is_judged else done / 20.0 * traces),
        "judge_calls": [probes] * problems,
        "judge_probes": [probes] * problems,
        "judge_verdicts": [probes * 2] * problems,
        "tokens_judge_prompt": [probes * 600] * problems,
        "tokens_judge_cached": [probes * 580] * problems,
        "tokens_judge_output": [probes * 10] * problems,
        "tokens_net": tokens + probes * (20 * 0.3 + 10),
        "attempts": [1] * problems,
        "wall_s": tokens / 1000.0,
        "gpu_seconds": tokens / 2000.0,
        "question": [f"What is the value of {i}?" for i in range(problems)],
    }
    _write(folder, "answers", rows)


def _write(folder: RunFolder, name: str, columns: dict) -> None:
    """Write a table with all columns of its schema; those not given are null."""
    schema = pa.schema([field for field in VIEWS[name] if field.name not in ("run", "shard", "token_ids")])
    length = max(len(column) for column in columns.values() if column is not None)
    empty = {field.name: pa.nulls(length, field.type) for field in schema}
    arrays = {k: pa.array(v, schema.field(k).type, from_pandas=True) for k, v in columns.items() if v is not None}
    table = pa.table({field.name: arrays.get(field.name, empty[field.name]) for field in schema}, schema)
    write_atomically(folder.parquet(name), lambda path: pq.write_table(table, path))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description="Write many results and time the named queries.")
    parser.add_argument("root", type=Path)
    for name, default in (("runs", 200), ("problems", 30), ("traces", 512)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--query", action="append", help="one of the named queries; default: all")
    options = parser.parse_args()
    if not options.root.exists():
        started = time.monotonic()
        write_runs(options.root, options.runs, options.problems, options.traces)
        print(f"written in {time.monotonic() - started:.0f} s")
    print("query               answer s  process s  its cpu s   rows")
    queries = read_queries(PROJECT / "conf/query")
    for name, query in {name: queries[name] for name in options.query or queries}.items():
        started = time.monotonic()
        with Results(options.root) as results:
            table = results.table(query.sql, query.values({}))
        answer = time.monotonic() - started
        command = [sys.executable, "-m", "jobs.query", name, "--root", str(options.root), "--format", "csv"]
        before, started = _cpu_s(), time.monotonic()
        subprocess.run(command, cwd=PROJECT, capture_output=True, check=True)
        process, cpu = time.monotonic() - started, _cpu_s() - before
        print(f"{name:<18} {answer:9.2f} {process:10.2f} {cpu:10.2f} {table.num_rows:>6}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"most memory of a process: {peak:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
