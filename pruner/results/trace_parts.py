"""Traces of finished problems, readable while their shard goes on: parts of bounded size, each whole or not there.

A part is named after its shard, `traces/shard=0003.part=0001.parquet`. Only the last one is ever written again, until it is full. At the
shard's end the parts go, and traces/shard=0003.parquet holds everything in order (writer.py).
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pruner.checkpoint.store import Store
from pruner.results.run_folder import RunFolder
from pruner.results.writer import TraceColumns, write_traces

# A part with this many tokens or traces is full. It bounds what a refresh writes again, and with it the number of parts.
_FULL_TOKENS = 4_000_000
_FULL_TRACES = 50_000


class TraceParts:
    """The problems in a shard's parts, and the part that still grows. Only who holds the shard's lease may make one."""

    def __init__(self, folder: RunFolder, store: Store, columns: TraceColumns, answers: pa.Table) -> None:
        """Look at the parts that earlier attempts left; what does not fit the checkpoint is removed.

        Args:
            answers: of finished problems, as by store.answers.
        """
        self._folder, self._store, self._columns = folder, store, columns
        self._number, self._open = 0, list[int]()
        done = set(answers["problem_index"].to_pylist())
        self._held = _problems_in(folder.parquet("traces")) or set()
        for path in folder.trace_parts():
            problems = _problems_in(path)
            if problems is None or not problems <= done or problems & self._held:
                path.unlink(missing_ok=True)
                continue
            self._held |= problems
            self._number, self._open = int(path.stem.rpartition("=")[2]), sorted(problems)

    def refresh(self, answers: pa.Table) -> None:
        """Write traces of problems that were finished since the last call."""
        rows = (answers[name].to_pylist() for name in ("problem_index", "tokens_sampled", "traces_started"))
        sizes = {index: (tokens, traces) for index, tokens, traces in zip(*rows, strict=True)}
        tokens = sum(sizes[index][0] for index in self._open)
        traces = sum(sizes[index][1] for index in self._open)
        has_new = False
        for index in (each for each in sizes if each not in self._held):
            if tokens >= _FULL_TOKENS or traces >= _FULL_TRACES:
                if has_new:
                    self._write(answers)
                self._number, self._open, tokens, traces, has_new = self._number + 1, [], 0, 0, False
            self._open.append(index)
            tokens, traces, has_new = tokens + sizes[index][0], traces + sizes[index][1], True
        if has_new:
            self._write(answers)

    def _write(self, answers: pa.Table) -> None:
        write_traces(
            self._folder.trace_part(self._number), self._store, answers, self._columns, only=sorted(self._open)
        )
        self._held.update(self._open)


def _problems_in(path: Path) -> set[int] | None:
    """Return the problems that a file holds traces of, None if it cannot be read."""
    try:
        return set(pq.read_table(path, columns=["problem_index"], partitioning=None)["problem_index"].to_pylist())
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None
