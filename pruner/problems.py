"""Problem sets: read, validate and shard them. Knows no model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from pruner.columns import is_text, limited, read_parquet
from pruner.errors import InputError
from pruner.files import write_atomically
from pruner.settings.section import FilePath, Positive, Section, local_path
from pruner.traces import Problem

REQUIRED = ("problem_id", "question", "answer")
# Each has files of its own, which status reads one after the other.
MAX_SHARDS = 100_000


class ProblemsConfig(Section):
    """name: null names it after the file. path: Parquet. limit: only its first rows. answers: how final answers compare. patterns: regular expressions with
    one group, for answers outside a box. cut: of a trace that the token cap cut off, which answers count: `boxed` (a closed box: what a
    pattern finds at the end of such a text may be half a number) or `any`."""

    name: str | None = None
    path: FilePath
    limit: Positive | None = None
    answers: Literal["math", "choice"] = "math"
    patterns: tuple[str, ...] = ()
    cut: Literal["boxed", "any"] = "boxed"

    @model_validator(mode="after")
    def _patterns_have_one_group(self) -> ProblemsConfig:
        for pattern in self.patterns:
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise ValueError(f"patterns: {pattern!r} is no regular expression ({error})") from None
            if groups != 1:
                raise ValueError(f"patterns: {pattern!r} has {groups} groups, expected 1")
        return self


class ShardConfig(Section):
    """Which slice of the problem set this process works on: problems whose index % count == index."""

    index: Annotated[int, Field(ge=0, lt=MAX_SHARDS)]
    count: Annotated[int, Field(ge=1, le=MAX_SHARDS)]

    @model_validator(mode="after")
    def _index_below_count(self) -> ShardConfig:
        if self.index >= self.count:
            raise ValueError(f"index: got {self.index}, expected a number below count = {self.count}")
        return self


@dataclass(frozen=True)
class ProblemSet:
    """A whole problem set.

    Attributes:
        problems: in file order.
        carried: the question and the file's further columns, one row per problem.
        fingerprint: hash of ids, questions and answers, in order.
    """

    problems: tuple[Problem, ...]
    carried: pa.Table
    fingerprint: str

    def shard(self, index: int, count: int) -> tuple[Problem, ...]:
        """Return every count-th problem, beginning with `index`."""
        return self.problems[index::count]


def read_problems(path: str, limit: int | None) -> ProblemSet:
    """Read and validate a Parquet problem set.

    Raises:
        InputError: with all faults, each with its row.
    """
    table = read_parquet(local_path(path), f"problems {path}")
    missing = [name for name in REQUIRED if name not in table.column_names]
    if missing:
        raise InputError(
            f"problems {path}: got columns {table.column_names}, missing {missing}. "
            "Use `python -m jobs.import_problems` to map others to these."
        )
    ill_typed = [
        f"problems {path}: column {name} is {table.schema.field(name).type}, expected string."
        for name in REQUIRED
        if not is_text(table.schema.field(name).type)
    ]
    if ill_typed:
        raise InputError(ill_typed)
    table = table if limit is None else table.slice(0, limit)
    if table.num_rows == 0:
        raise InputError(f"problems {path}: the set is empty.")
    ids, questions, answers = (table.column(name).to_pylist() for name in REQUIRED)
    if faults := check_rows(ids, questions, answers):
        raise InputError([f"problems {path}: {fault}" for fault in limited(faults)])
    problems = tuple(
        Problem(problem_id, i, question, answer if answer is None else answer.strip())
        for i, (problem_id, question, answer) in enumerate(zip(ids, questions, answers, strict=True))
    )
    carried = table.drop_columns(["problem_id", "answer"])
    return ProblemSet(problems, carried, fingerprint(problems))


def check_rows(ids: Sequence[object], questions: Sequence[object], answers: Sequence[object]) -> list[str]:
    """Return a line for every faulty row, with its number from 0."""
    faults = []
    first_row: dict[object, int] = {}
    for row, (problem_id, question, answer) in enumerate(zip(ids, questions, answers, strict=True)):
        if not isinstance(problem_id, str) or not problem_id.strip():
            faults.append(f"row {row}: problem_id is {'null' if problem_id is None else 'empty'}.")
        elif problem_id in first_row:
            faults.append(f"row {row}: problem_id {problem_id!r} is in row {first_row[problem_id]} already.")
        else:
            first_row[problem_id] = row
        if not isinstance(question, str) or not question.strip():
            faults.append(f"row {row}: question is {'null' if question is None else 'empty'}.")
        if isinstance(answer, str) and not answer.strip():
            faults.append(f"row {row}: answer is empty; use null where there is none.")
    return faults


def fingerprint(problems: Sequence[Problem]) -> str:
    digest = blake2b(digest_size=16)
    for problem in problems:
        for text in (problem.problem_id, problem.question, problem.answer):
            data = b"\0" if text is None else text.encode()
            digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def write_problems(table: pa.Table, path: Path) -> None:
    """Write a problem set atomically."""
    write_atomically(path, lambda partial: pq.write_table(table, partial))
