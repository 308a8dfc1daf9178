"""Facts of problems that earlier attempts left unfinished. They are read when they are asked for; the store reads the rows, this
module returns records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pyarrow as pa

from pruner.checkpoint.rows import read_facts
from pruner.records.schemas import KEYS
from pruner.records.traces import Fact

# Facts that are read at once: enough that a scan is worth it, few enough for memory.
_CHUNK_FACTS = 16_384

Read = Callable[[str, Mapping[str, object]], pa.Table]


class UnfinishedFacts(Mapping[str, list[Fact]]):
    """Lists of facts by problem id, oldest problems first.

    A few problems are read at a time, so that the memory does not grow with the shard. A problem that
    was popped is forgotten.
    """

    def __init__(self, read: Read) -> None:
        rows = " UNION ALL ".join(
            f"SELECT problem_id, {number} AS rank, rowid AS place FROM {name}" for number, name in enumerate(KEYS)
        )
        sql = f"""
            SELECT problem_id, count(*) AS facts FROM ({rows}) ANTI JOIN answers USING (problem_id)
            GROUP BY problem_id ORDER BY min((rank, place))"""
        table = read(sql, {})
        ids, counts = table.column("problem_id").to_pylist(), table.column("facts").to_pylist()
        self._read = read
        self._counts: dict[str, int] = dict(zip(ids, counts, strict=True))
        self._here: dict[str, list[Fact]] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)

    def __getitem__(self, problem_id: str) -> list[Fact]:
        if problem_id not in self._counts:
            raise KeyError(problem_id)
        if problem_id not in self._here:
            self._fetch(problem_id)
        return self._here[problem_id]

    def pop(self, problem_id: str, default: list[Fact]) -> list[Fact]:
        """Return a problem's facts and forget them."""
        if problem_id not in self._counts:
            return default
        facts = self[problem_id]
        del self._counts[problem_id], self._here[problem_id]
        return facts

    def _fetch(self, problem_id: str) -> None:
        """Read a problem and as many of the next ones as fit a chunk."""
        chosen, size = [problem_id], self._counts[problem_id]
        for other, count in self._counts.items():
            if size + count > _CHUNK_FACTS:
                break
            if other != problem_id and other not in self._here:
                chosen.append(other)
                size += count
        self._here.update((each, []) for each in chosen)
        for name in KEYS:
            table = self._read(f"SELECT * FROM {name} WHERE problem_id IN (SELECT unnest($ids))", {"ids": chosen})
            for fact in read_facts(name, table.to_batches()):
                self._here[fact.key.problem_id].append(fact)
