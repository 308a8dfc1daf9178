"""Check the cost accounting of a run: answers, traces, judged facts, attempts and the checkpoint agree on the tokens, and that its
shards are of one config and cut the problems once.

Problems whose traces are not written yet (a run that goes on) are counted as unchecked. A checkpoint that another process has
open, or that is not in the run's folder, is left out, and the run is not called balanced. One that cannot be read is a fault.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pruner.checkpoint.database import SHARD_COUNT, differing_from, recorded_identity
from pruner.checkpoint.reading import checkpoint_rows
from pruner.errors import CheckpointError, InputError
from pruner.results.query import Results
from pruner.results.run_folder import SHARD_TABLES, RunFolder, read_progress

# Of one problem each: what must be equal, by name.
_PROBLEMS = """
    WITH t AS (
        SELECT problem_id, count(*) AS n, count(DISTINCT trace_index) AS n_distinct,
            count(*) FILTER (status = 'finished') AS finished, coalesce(sum(tokens_sampled) FILTER (status <> 'speculative'), 0) AS sampled,
            count(*) FILTER (status = 'speculative') AS speculative,
            coalesce(sum(tokens_sampled) FILTER (status = 'speculative'), 0) AS in_speculative,
            coalesce(sum(tokens_sampled) FILTER (status = 'finished'), 0) AS in_finished,
            coalesce(sum(tokens_sampled) FILTER (status = 'pruned'), 0) AS in_pruned, sum(tokens_prefix) AS prefix
        FROM traces GROUP BY problem_id),
    v AS (
        SELECT problem_id, count(DISTINCT (least(left_trace, right_trace), greatest(left_trace, right_trace))) AS pairs,
            sum(prompt_tokens) AS prompt, sum(output_tokens) AS output FROM verdicts GROUP BY problem_id),
    p AS (SELECT problem_id, count(*) AS n, sum(prompt_tokens) AS prompt FROM probes GROUP BY problem_id)
    SELECT a.*, t.* EXCLUDE (problem_id), coalesce(v.pairs, 0) AS pairs, coalesce(p.n, 0) AS probes,
        coalesce(v.prompt, 0) + coalesce(p.prompt, 0) AS judge_prompt, coalesce(v.output, 0) AS verdict_output
    FROM answers a LEFT JOIN t USING (problem_id) LEFT JOIN v USING (problem_id) LEFT JOIN p USING (problem_id)
    ORDER BY problem_index"""
_WEIGHTS = (
    "SELECT judge_prompt_weight AS read, judge_cached_weight AS cached, judge_output_weight AS output, "
    "speculative_weight AS speculative FROM tokens"
)


@dataclass(frozen=True)
class Audit:
    """The counts that were compared, and every difference found.

    Attributes:
        segments: in the checkpoints; None: none was read.
        left_out: why a shard's checkpoint was not compared, one line each.
    """

    run: str
    problems: int
    unchecked: int
    traces: int
    tokens: int
    segments: int | None
    faults: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        checked = f"{self.problems} problems, {self.traces:,} traces, {self.tokens:,} tokens"
        checkpoint = "no checkpoint read" if self.segments is None else f"{self.segments:,} segments in the checkpoint"
        left = f", {self.unchecked} problems whose traces are not written yet" if self.unchecked else ""
        verdict = "balanced"
        if self.left_out or self.segments is None:
            verdict = "the tables agree, not compared with every checkpoint"
        if self.faults:
            verdict = f"{len(self.faults)} DIFFERENCES"
        lines = [*self.faults, *self.left_out]
        return "\n".join([f"{self.run}: {verdict}: {checked}; {checkpoint}{left}", *(f"  {line}" for line in lines)])


def audit(folder: Path) -> Audit:
    """Compare every count of tokens in a run's folder.

    Raises:
        InputError: it cannot be read.
    """
    if (folder / "run.json").exists() and not any((folder / "answers").glob("*.parquet")):
        return Audit(folder.name, 0, 0, 0, 0, None, (), ("nothing is written yet",))
    with Results(folder.parent, folder.name) as results:
        rows = results.rows(_PROBLEMS)
        weights = (results.rows(_WEIGHTS) or [{}])[0]
        traces = results.rows("SELECT problem_id, trace_index, tokens_sampled, num_segments FROM traces")
        attempts = results.rows("SELECT shard, sum(tokens_sampled)::BIGINT AS tokens FROM attempts GROUP BY shard")
    faults = [fault for row in rows for fault in _problem_faults(row, weights)]
    faults += _shard_faults(folder)
    segments = None
    left_out = [f"{stem}: no checkpoint in the run's folder" for stem in _without_checkpoint(folder)]
    sampled: dict[str, set[str]] = defaultdict(set)
    counted = {(row["problem_id"], row["trace_index"]): (row["tokens_sampled"], row["num_segments"]) for row in traces}
    for path in _files(folder, "checkpoint", "duckdb"):
        try:
            faults += _identity_faults(folder, path)
        except InputError:
            left_out.append(f"{path.stem}: another process has its checkpoint open")
            continue
        except CheckpointError as error:
            faults.append(str(error))
            continue
        found = checkpoint_rows(path)
        if found is None:
            left_out.append(
                f"{path.stem}: its checkpoint lacks columns that are compared, or was opened by another process"
            )
            continue
        for row in found:
            sampled[row["problem_id"]].add(path.stem)
        segments = (segments or 0) + sum(row["segments"] for row in found)
        tokens = {row["shard"]: row["tokens"] for row in attempts}.get(f"{path.stem}.parquet")
        faults += _checkpoint_faults(path.stem, found, counted, tokens)
    faults += [f"{name}: sampled in {_list(stems)}" for name, stems in sampled.items() if len(stems) > 1]
    return Audit(
        run=folder.name,
        problems=len(rows),
        unchecked=sum(_is_unchecked(row) for row in rows),
        traces=len(traces),
        tokens=sum(row["tokens_sampled"] for row in rows),
        segments=segments,
        faults=tuple(faults),
        left_out=tuple(left_out),
    )


def _without_checkpoint(folder: Path) -> list[str]:
    """Return the shards that have written answers and whose checkpoint is elsewhere, or was removed."""
    answered, held = (_files(folder, *where) for where in (("answers", "parquet"), ("checkpoint", "duckdb")))
    return sorted({path.stem for path in answered} - {path.stem for path in held})


def _run_json(folder: Path) -> tuple[dict[str, str], int]:
    """Return a run's identity and into how many shards its problems are cut.

    Raises:
        ValueError, KeyError, TypeError, OSError: it is damaged or gone.
    """
    values = json.loads((folder / "run.json").read_text())
    return dict(values["identity"]), int(values["shard_count"])


def _identity_faults(folder: Path, checkpoint: Path) -> list[str]:
    """Compare a checkpoint's identity with that of its run.

    Raises:
        InputError: another process has it open.
        CheckpointError: it cannot be read.
    """
    found = recorded_identity(checkpoint)
    try:
        identity, count = _run_json(folder)
    except (ValueError, KeyError, TypeError, OSError):
        return []  # `_shard_faults` says so
    differing = differing_from(found, {**identity, SHARD_COUNT: str(count)})
    return [f"{checkpoint.stem}: run.json and its checkpoint differ ({'; '.join(differing)})"] if differing else []


def _shard_faults(folder: Path) -> list[str]:
    """Check that the shards cut the problems once: each problem in its one shard, and no shard beyond their number."""
    try:
        _, count = _run_json(folder)
    except (ValueError, KeyError, TypeError, OSError) as error:
        return [f"run.json: cannot be read ({error!r}), so the shards were not compared with it"]
    faults = [
        f"{stem}: there are files of it, but run.json knows {count} shards"
        for stem in _stems(folder)
        if _index(stem) >= count
    ]
    shards: dict[str, list[str]] = defaultdict(list)
    expected: dict[str, int | None] = {}
    for path in _files(folder, "answers", "parquet"):
        rows = pq.read_table(path, columns=["problem_id", "problem_index"]).to_pylist()
        progress = read_progress(RunFolder(folder.parent, folder.name, _index(path.stem)))
        expected[path.stem] = None if progress is None else progress.problems
        faults += _answer_faults(path.stem, rows, count, expected[path.stem])
        for row in rows:
            shards[row["problem_id"]].append(path.stem)
    faults += [
        f"{name}: {len(stems)} answers, in {_list(stems)}" for name, stems in sorted(shards.items()) if len(stems) > 1
    ]
    known = [number for number in expected.values() if number is not None]
    if len(known) == len(expected) == count and len(shards) > sum(known):
        faults.append(f"{len(shards)} problems are answered, the set has {sum(known)}")
    return faults


def _answer_faults(stem: str, rows: Sequence[Mapping[str, Any]], count: int, expected: int | None) -> list[str]:
    """Compare a shard's answers with its part of the problem set."""
    faults = [
        f"{row['problem_id']}: answered in {stem}, but problem {row['problem_index']} is that of shard "
        f"{row['problem_index'] % count} of {count}"
        for row in rows
        if row.get("problem_index", _index(stem)) % count != _index(stem)
    ]
    if expected is not None and len(rows) > expected:
        faults.append(f"{stem}: {len(rows)} answers for its {expected} problems")
    return faults


def _stems(folder: Path) -> list[str]:
    """Return the shards that have any file, by name."""
    kinds = [("checkpoint", "duckdb"), ("progress", "json"), *((table, "parquet") for table in SHARD_TABLES)]
    return sorted({path.stem for kind in kinds for path in _files(folder, *kind)})


def _files(folder: Path, name: str, suffix: str) -> list[Path]:
    """Return the files of a kind that the shards have, in order."""
    found = sorted((folder / name).glob(f"shard=*.{suffix}"))
    return [path for path in found if path.stem.removeprefix("shard=").isdigit()]


def _index(stem: str) -> int:
    return int(stem.removeprefix("shard="))


def _list(stems: Iterable[str]) -> str:
    return " and ".join(sorted(set(stems)))


def _is_unchecked(row: dict[str, Any]) -> bool:
    return row["n"] is None and row["traces_started"] > 0


def _problem_faults(row: dict[str, Any], weights: dict[str, Any]) -> list[str]:
    sampled = row["tokens_sampled"]
    same = [
        ("tokens sampled = finished + pruned", sampled, row["tokens_finished"] + row["tokens_pruned"]),
        ("tokens sampled = prefix + continued", sampled, row["tokens_prefix"] + row["tokens_continued"]),
        ("traces started = finished + pruned", row["traces_started"], row["traces_finished"] + row["traces_pruned"]),
    ]
    if row["n"] is not None:
        same += [
            ("traces and their rows", row["traces_started"], row["n"] - row["speculative"]),
            ("speculative traces and their rows", row["traces_speculative"] or 0, row["speculative"]),
            ("speculative tokens and those of trace rows", row["tokens_speculative"] or 0, row["in_speculative"]),
            ("traces and distinct rows", row["n"], row["n_distinct"]),
            ("finished traces and their rows", row["traces_finished"], row["finished"]),
            ("tokens sampled and those of trace rows", sampled, row["sampled"]),
            ("tokens finished and those of trace rows", row["tokens_finished"], row["in_finished"]),
            ("tokens pruned and those of trace rows", row["tokens_pruned"], row["in_pruned"]),
            ("tokens in prefixes and those of trace rows", row["tokens_prefix"], row["prefix"]),
            ("verdicts and their rows", row["judge_verdicts"], row["pairs"]),
            ("probes and their rows", row["judge_probes"], row["probes"]),
            ("judge's prompt tokens and those of its rows", row["tokens_judge_prompt"], row["judge_prompt"]),
        ]
    if weights.get("read") is not None:
        read = row["tokens_judge_prompt"] - row["tokens_judge_cached"]
        judge = weights["read"] * read + weights["cached"] * row["tokens_judge_cached"]
        judge += weights["output"] * row["tokens_judge_output"]
        net = sampled + judge + weights["speculative"] * (row["tokens_speculative"] or 0)
        same.append(
            ("net tokens = sampled + weighted judge's and speculative", round(row["tokens_net"], 3), round(net, 3))
        )
    return [f"{row['problem_id']}: {what}: {left} and {right}" for what, left, right in same if left != right]


def _checkpoint_faults(
    shard: str, found: Sequence[dict[str, Any]], counted: dict[tuple[str, int], tuple[int, int]], attempts: int | None
) -> list[str]:
    """Compare a shard's segments with the rows of its traces and with what its attempts say they sampled."""
    faults = []
    for row in found:
        key = (row["problem_id"], row["trace_index"])
        if key in counted and counted[key] != (row["tokens"], row["segments"]):
            faults.append(
                f"{key[0]} trace {key[1]}: {counted[key][0]} tokens in {counted[key][1]} segments in the table, "
                f"{row['tokens']} in {row['segments']} in the checkpoint of {shard}"
            )
        if row["segments"] != row["distinct"]:
            faults.append(f"{key[0]} trace {key[1]}: doubled segments in the checkpoint of {shard}")
    total = sum(row["tokens"] for row in found)
    if attempts is not None and attempts != total:
        faults.append(f"{shard}: its attempts sampled {attempts} tokens, its checkpoint holds {total}")
    return faults
