"""The checkpoint of one shard: one DuckDB file, one writer. All SQL that writes is here.

Facts (segments, probes, verdicts, final answers) and attempts are appended and never changed. Rows of finished problems (answers, traces) are
derived from them; they are kept for SQL and for Parquet, and can be forgotten and derived again at any time. The store knows
neither methods nor engines.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa

from pruner.checkpoint.database import (
    LIMITS,
    ROW_GROUP_ROWS,
    check,
    connect,
    create,
    log_of,
    next_step,
    quoted,
    unreadable,
    written_aside,
)
from pruner.checkpoint.rows import fact_tables, table_of
from pruner.checkpoint.unfinished_facts import UnfinishedFacts
from pruner.errors import CheckpointError, InputError, first_line
from pruner.records.progress import NOTHING, Progress
from pruner.records.rows import AnswerRow, TraceRow
from pruner.records.schemas import KEYS, TABLES
from pruner.records.traces import Fact, Segment
from pruner.settings.prices import AccountingConfig
from pruner.system.files import make_folder

# Joining whole traces may take more.
_RESULTS_MEMORY = "2GB"


@dataclass(frozen=True)
class AttemptStart:
    """Who works on the shard. versions: of the packages that samples depend on. judge_gpus: of its own engine."""

    host: str
    pid: int
    slurm_job_id: str | None
    slurm_restart: int | None
    versions: Mapping[str, str]
    sampler_gpus: int = 0
    judge_gpus: int = 0


@dataclass(frozen=True)
class AttemptEnd:
    """How an attempt ended; see schemas.ATTEMPT_ENDS."""

    end_reason: str
    ended_at: datetime
    discarded_tokens: int | None = None
    load_s: float | None = None
    work_s: float | None = None
    commit_s: float | None = None
    message: str | None = None


@dataclass(frozen=True)
class Totals:
    """What the checkpoint holds. facts: segments, probes, verdicts and final answers; tokens: of the segments."""

    facts: int
    segments: int
    tokens: int


@dataclass(frozen=True)
class TraceRange:
    """Traces with first <= index < last, of problems with first <= index < last."""

    first_problem: int
    last_problem: int
    first_trace: int = 0
    last_trace: int = 2**31


class Store:
    """Opened by `open_store`; closed by `close` or as a context manager."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path, guard: Callable[[], None]) -> None:
        self._connection = connection
        self._guard = guard
        self._totals: Totals | None = None
        self._failure: str | None = None
        self._file = _file_id(path)
        self.path = path
        self.attempt = 0
        self.commit_s = 0.0  # of this attempt

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(is_sound=not isinstance(error, CheckpointError))

    def close(self, is_sound: bool = True) -> None:
        """Close it. What is in the log goes into the file, unless something is wrong with them: then both stay."""
        if not is_sound:
            self._connection.close()
            return
        with contextlib.suppress(duckdb.Error):  # the log still has it
            self._connection.execute("CHECKPOINT")
        self._connection.close()

    def begin_attempt(self, start: AttemptStart, last_seen: AttemptEnd) -> int:
        """Record that a process works on the shard, and how the one before ended if it could not say so itself.

        Args:
            last_seen: what is known of an attempt that was killed.
        """
        sql = "SELECT coalesce(max(attempt), 0) + 1 AS attempt FROM attempts"
        self.attempt = int(self._read(sql).column("attempt")[0].as_py())
        self.commit_s = 0.0
        versions = json.dumps(dict(start.versions))
        row = asdict(start) | {"attempt": self.attempt, "versions": versions, "started_at": datetime.now(UTC)}
        self._write({"attempts": [row], "attempt_ends": self._killed(last_seen)})
        return self.attempt

    def end_killed(self, last_seen: AttemptEnd) -> None:
        """Record how earlier attempts ended that could not say so themselves; nothing is written if there are none."""
        if ends := self._killed(last_seen):
            self._write({"attempt_ends": ends})

    def _killed(self, last_seen: AttemptEnd) -> list[dict[str, Any]]:
        unended = "SELECT attempt FROM attempts WHERE attempt NOT IN (SELECT attempt FROM attempt_ends)"
        return [{**row, **asdict(last_seen)} for row in self._read(unended).to_pylist()]

    def check_held(self) -> None:
        """Make sure that this process may still write.

        Raises:
            CheckpointError: another one works on the shard by now, or the checkpoint's file was removed or replaced.
        """
        self._guard()
        if _file_id(self.path) != self._file:
            raise CheckpointError(
                f"checkpoint {self.path}: the file was removed or replaced while this process worked on it, by something other than this "
                "program. Put back the one that was moved, or a copy, and run the same command again."
            )

    def end_attempt(self, end: AttemptEnd) -> None:
        """Record how this attempt ended."""
        self._write({"attempt_ends": [{"attempt": self.attempt, **asdict(end)}]})

    def append(self, facts: Sequence[Fact], answers: Sequence[AnswerRow] = (), traces: Sequence[TraceRow] = ()) -> None:
        """Commit facts and what was derived from them: all of it or nothing.

        Raises:
            CheckpointError: the disk is full or gone; nothing of this call was written.
        """
        if not facts and not answers:
            return
        before = self.totals
        started = time.monotonic()
        tables = fact_tables(facts, self.attempt, datetime.now(UTC))
        for name, rows in (("answers", answers), ("traces", traces)):
            if rows:
                tables[name] = table_of(rows, TABLES[name])
        self._write_tables(tables)
        tokens = [fact.num_tokens for fact in facts if isinstance(fact, Segment)]
        self._totals = Totals(before.facts + len(facts), before.segments + len(tokens), before.tokens + sum(tokens))
        self.commit_s += time.monotonic() - started

    def problem_ids(self) -> set[str]:
        """Return the ids of problems of which anything is known."""
        sql = " UNION ".join(f"SELECT problem_id FROM {name}" for name in (*KEYS, "answers"))
        return set(self._read(sql).column("problem_id").to_pylist())

    def answered_ids(self) -> set[str]:
        """Return the ids of problems that are finished."""
        return set(self._read("SELECT problem_id FROM answers").column("problem_id").to_pylist())

    def unfinished_facts(self) -> UnfinishedFacts:
        """Return the facts of problems that are not finished, by problem id; they are read when they are asked for."""
        return UnfinishedFacts(self._read)

    @property
    def totals(self) -> Totals:
        """What is committed."""
        if self._totals is None:
            facts = " + ".join(f"(SELECT count(*) FROM {name})" for name in KEYS)
            sql = f"""
                SELECT {facts} AS facts, count(*) AS segments, coalesce(sum(num_tokens), 0)::BIGINT AS tokens
                FROM segments"""
            self._totals = Totals(**self._read(sql).to_pylist()[0])
        return self._totals

    def progress(self) -> Progress:
        """Return what the attempts that have ended did: counts of answered problems' traces, segments, tokens and time."""
        sql = """
            SELECT coalesce(sum(traces_finished), 0)::BIGINT AS traces_finished, coalesce(sum(traces_pruned), 0)::BIGINT AS traces_pruned,
                coalesce(sum(traces_cut), 0)::BIGINT AS traces_cut, coalesce(sum(traces_unanswered), 0)::BIGINT AS traces_unanswered,
                coalesce(sum(greatest(0, tokens_unpruned_estimate - tokens_sampled)), 0)::BIGINT AS tokens_saved,
                (SELECT count(*) FROM segments) AS segments, (SELECT coalesce(sum(num_tokens), 0)::BIGINT FROM segments) AS tokens,
                (SELECT coalesce(sum(coalesce(work_s, greatest(0, epoch(ended_at - started_at)))), 0)
                    FROM attempts JOIN attempt_ends USING (attempt)) AS work_s
            FROM answers"""
        return replace(NOTHING, **self._read(sql).to_pylist()[0])

    def copy_to(self, target: Path) -> None:
        """Write a copy of everything committed, whole or not at all; the one before stays until then.

        Raises:
            CheckpointError: the disk does not take it.
        """
        started = time.monotonic()
        with written_aside(target, "copied there") as partial:
            size = f"(ROW_GROUP_SIZE {ROW_GROUP_ROWS})"
            self._connection.execute(f"ATTACH {quoted(str(partial))} AS copy_target {size}")
            try:
                self._connection.execute("COPY FROM DATABASE shard TO copy_target")
                self._connection.execute("CHECKPOINT copy_target")
            finally:
                self._connection.execute("DETACH copy_target")
            self.check_held()
        self.commit_s += time.monotonic() - started

    def forget_derived(self) -> None:
        """Drop the rows of finished problems; they are derived again from the facts."""
        with self._transaction():
            self._connection.execute("DELETE FROM answers")
            self._connection.execute("DELETE FROM traces")

    def answers(self, weights: AccountingConfig) -> pa.Table:
        """Return the rows of finished problems with their net tokens, in problem order."""
        worked = " UNION ".join(f"SELECT problem_id, attempt FROM {name}" for name in KEYS)
        sql = f"""
            WITH worked AS (SELECT problem_id, count(*)::INT AS attempts FROM ({worked}) GROUP BY problem_id),
            lives AS (  -- Of an attempt that goes on, until now; what a GPU did is shared out by tokens.
                SELECT attempt, (sampler_gpus + judge_gpus) * greatest(0, epoch(coalesce(ended_at, now()) - started_at)) AS gpu_s
                FROM attempts LEFT JOIN attempt_ends USING (attempt) WHERE sampler_gpus + judge_gpus > 0),
            spent AS (
                SELECT problem_id, attempt, sum(num_tokens) AS tokens FROM segments
                WHERE attempt IN (SELECT attempt FROM lives) GROUP BY ALL),
            charged AS (
                SELECT problem_id, sum(gpu_s * tokens / of_all) AS gpu_seconds
                FROM (SELECT *, sum(tokens) OVER (PARTITION BY attempt) AS of_all FROM spent) JOIN lives USING (attempt)
                WHERE of_all > 0 GROUP BY problem_id)
            SELECT answers.* EXCLUDE (wall_s, gpu_seconds),
                tokens_sampled + $prompt * (tokens_judge_prompt - tokens_judge_cached)
                    + $cached * tokens_judge_cached + $output * tokens_judge_output
                    + $speculative * coalesce(tokens_speculative, 0) AS tokens_net,
                coalesce(attempts, 0) AS attempts, wall_s, coalesce(charged.gpu_seconds, 0)::DOUBLE AS gpu_seconds
            FROM answers LEFT JOIN worked USING (problem_id) LEFT JOIN charged USING (problem_id) ORDER BY problem_index"""
        parameters = {
            "prompt": weights.judge_prompt_weight,
            "cached": weights.judge_cached_weight,
            "output": weights.judge_output_weight,
            "speculative": weights.speculative_weight,
        }
        return self._read(sql, parameters)

    def traces(
        self,
        chosen: TraceRange,
        with_text: bool,
        with_token_ids: bool,
        with_confidence: bool = False,
        only: Sequence[int] | None = None,
    ) -> pa.Table:
        """Return traces of finished problems, in order. All that is joined is held in memory at once.

        Args:
            with_confidence: where the method had them sampled.
            only: of the range, these problems.
        """
        if with_confidence:
            found = self._read("SELECT 1 FROM segments WHERE confidence IS NOT NULL LIMIT 1")
            with_confidence = found.num_rows > 0
        columns = ["problem_id", "trace_index"]
        columns += ["string_agg(text, '' ORDER BY segment_index) AS text"] if with_text else []
        columns += ["flatten(list(token_ids ORDER BY segment_index)) AS token_ids"] if with_token_ids else []
        columns += ["flatten(list(confidence ORDER BY segment_index)) AS confidence"] if with_confidence else []
        sql = f"""
            WITH chosen AS (
                SELECT * FROM traces WHERE problem_index >= $first_problem AND problem_index < $last_problem
                    AND trace_index >= $first_trace AND trace_index < $last_trace
                    AND ($only IS NULL OR problem_index IN (SELECT unnest($only::INTEGER[])))),
            joined AS (
                SELECT {", ".join(columns)} FROM segments
                WHERE problem_id IN (SELECT problem_id FROM chosen)
                    AND trace_index >= $first_trace AND trace_index < $last_trace
                GROUP BY problem_id, trace_index)
            SELECT * FROM chosen LEFT JOIN joined USING (problem_id, trace_index) ORDER BY problem_index, trace_index"""
        self._connection.execute(f"SET memory_limit = '{_RESULTS_MEMORY}'")
        try:
            return self._read(sql, asdict(chosen) | {"only": None if only is None else list(only)})
        finally:
            self._connection.execute(f"SET memory_limit = '{LIMITS['memory_limit']}'")

    def judged(self, name: str) -> pa.Table:
        """Return the `verdicts` or `probes` of finished problems, in order, without columns that only measure."""
        assert name in ("verdicts", "probes")
        keys = ", ".join(("problem_index", *KEYS[name][1:]))
        sql = f"""
            SELECT t.* EXCLUDE (attempt, committed_at, cached_tokens), problem_index
            FROM {name} t JOIN answers USING (problem_id) ORDER BY {keys}"""
        return self._read(sql)

    def idle_attempts(self, slurm_job_id: str) -> int:
        """Return how many of a Slurm job's attempts, the last ones in a row, committed no fact."""
        worked = " UNION ".join(f"SELECT attempt FROM {name}" for name in KEYS)
        sql = f"""
            SELECT count(*)::BIGINT AS idle FROM attempts
            WHERE slurm_job_id = $job AND attempt > (
                SELECT coalesce(max(attempt), 0) FROM attempts
                WHERE attempt IN ({worked}) OR slurm_job_id IS DISTINCT FROM $job)"""
        return int(self._read(sql, {"job": slurm_job_id}).column("idle")[0].as_py())

    def attempts(self) -> pa.Table:
        """Return all attempts with what they sampled and what the engine's cache served them."""
        sql = """
            WITH sampled AS (
                SELECT attempt, count(*) AS segments, sum(num_tokens)::BIGINT AS tokens_sampled,
                    sum(prompt_tokens)::BIGINT AS tokens_prompt, sum(cached_tokens)::BIGINT AS tokens_prompt_cached
                FROM segments GROUP BY attempt),
            judged AS (
                SELECT attempt, count(*) AS judge_calls, sum(prompt_tokens)::BIGINT AS tokens_judge_prompt,
                    sum(cached_tokens)::BIGINT AS tokens_judge_prompt_cached, sum(output)::BIGINT AS tokens_judge_output
                FROM (SELECT attempt, prompt_tokens, cached_tokens, output_tokens AS output FROM probes UNION ALL
                      SELECT attempt, prompt_tokens, cached_tokens, output_tokens FROM verdicts WHERE prompt_tokens > 0)
                GROUP BY attempt)
            SELECT * FROM attempts LEFT JOIN attempt_ends USING (attempt)
                LEFT JOIN sampled USING (attempt) LEFT JOIN judged USING (attempt) ORDER BY attempt"""
        return self._read(sql)

    def _write(self, tables: Mapping[str, list[dict[str, Any]]]) -> None:
        self._write_tables({name: pa.Table.from_pylist(rows, TABLES[name]) for name, rows in tables.items() if rows})

    def _write_tables(self, tables: Mapping[str, pa.Table]) -> None:
        # A table cannot be unregistered in a transaction that has failed, and what DuckDB says to that hides why it has.
        with self._registered(tables), self._transaction():
            for name in tables:
                self._connection.execute(f"INSERT INTO {name} BY NAME SELECT * FROM incoming_{name}")

    @contextlib.contextmanager
    def _registered(self, tables: Mapping[str, pa.Table]) -> Iterator[None]:
        self._check_sound()
        for name, table in tables.items():
            self._connection.register(f"incoming_{name}", table)
        try:
            yield
        finally:
            for name in tables:
                with contextlib.suppress(duckdb.Error):
                    self._connection.unregister(f"incoming_{name}")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit what is done inside, all of it or nothing, if this process may still write.

        Raises:
            CheckpointError: it may not, or the database or the disk did not take it.
        """
        self._check_sound()
        self.check_held()
        try:
            self._connection.execute("BEGIN")
            yield
            self.check_held()
            self._connection.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(duckdb.Error):  # a failed COMMIT has rolled back already
                self._connection.execute("ROLLBACK")
            if not isinstance(error, duckdb.Error):
                raise
            failed = self._uncommitted(error)
            if isinstance(error, duckdb.FatalException):
                self._failure = str(failed)
            raise failed from error

    def _check_sound(self) -> None:
        """Name a failure that has closed the database again: what DuckDB says after it is only its consequence."""
        if self._failure is not None:
            raise CheckpointError(self._failure)

    def _uncommitted(self, error: duckdb.Error) -> CheckpointError:
        return CheckpointError(
            f"checkpoint {self.path}: could not commit ({first_line(error)}). What was committed before stays. "
            f"{next_step(error)}"
        )

    def _read(self, sql: str, parameters: Mapping[str, object] | None = None) -> pa.Table:
        self._check_sound()
        try:
            return self._connection.sql(sql, params=parameters).to_arrow_table()
        except duckdb.Error as error:
            raise unreadable(self.path, error) from error


def _file_id(path: Path) -> tuple[int, int] | None:
    """Return a file's device and inode, None if it is gone."""
    try:
        found = path.stat()
        return found.st_dev, found.st_ino
    except FileNotFoundError:
        return None


def open_store(
    path: Path, identity: Mapping[str, str], lock_wait_s: float, guard: Callable[[], None] = lambda: None
) -> Store:
    """Open a shard's checkpoint, or make it. Every block of it is read once, so that damage shows now.

    Args:
        identity: everything that the run's results are a function of (config.identity).
        guard: called before anything is written; raises if this process may not write any more.

    Raises:
        InputError: it belongs to another config, or another process holds it.
        CheckpointError: it is damaged. It is left as it is.
    """
    make_folder(path.parent)
    if not path.exists():
        if log_of(path).exists():
            raise unreadable(path, ValueError("the file is gone, its .wal is there"))
        create(path, identity)
    elif path.stat().st_size == 0:
        raise unreadable(path, ValueError("the file is empty"))
    connection = connect(path, lock_wait_s)
    try:
        # Closing must not rewrite a file that turns out to be damaged; `Store.close` does it for a sound one.
        connection.execute("PRAGMA disable_checkpoint_on_shutdown")
        check(connection, path, identity)
    except duckdb.Error as error:
        connection.close()
        raise unreadable(path, error) from error
    except (InputError, CheckpointError):
        connection.close()
        raise
    return Store(connection, path, guard)
