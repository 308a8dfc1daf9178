"""Problem sets: read, validate and shard them. Knows no model."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import AfterValidator, Field, model_validator

from pruner.answers.registry import known_kind
from pruner.errors import InputError
from pruner.problems.columns import limited
from pruner.problems.shapes import REQUIRED, ProblemColumns, check_pattern, is_conversation, shaped, turns_of
from pruner.problems.sources import read_source, source_stem
from pruner.records.traces import Problem
from pruner.settings.section import FilePath, Positive, Section

# A name of a kind of answers (pruner/answers/kinds).
KindName = Annotated[str, AfterValidator(known_kind)]
# Each has files of its own, which status reads one after the other.
MAX_SHARDS = 100_000


class ProblemsConfig(Section):
    """name: null names it after the file. path: a file (sources.py), datasets:NAME[:CONFIG][:SPLIT] or hf://datasets/OWNER/NAME[/FILE]. limit: only its
    first rows. columns: what ours are called there. answers: how final answers compare. patterns: regular expressions with
    one group, for answers outside a box. cut: of a trace that the token cap cut off, which answers count: `boxed` (a closed box: what a
    pattern finds at the end of such a text may be half a number) or `any`."""

    name: str | None = None
    path: FilePath
    limit: Positive | None = None
    columns: ProblemColumns = ProblemColumns()
    answers: KindName = "math"
    patterns: tuple[str, ...] = ()
    cut: Literal["boxed", "any"] = "boxed"

    @model_validator(mode="after")
    def _patterns_have_one_group(self) -> ProblemsConfig:
        for pattern in self.patterns:
            check_pattern("patterns", pattern)
        return self


class ShardConfig(Section):
    """The slice of the problem set that this process works on: problems whose index % count == index."""

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
        fingerprint: hash of ids, questions (or conversations) and answers, in order.
        notes: what was made up or is missing, a line each.
    """

    problems: tuple[Problem, ...]
    carried: pa.Table
    fingerprint: str
    notes: tuple[str, ...] = ()

    def shard(self, index: int, count: int) -> tuple[Problem, ...]:
        """Return every count-th problem, beginning with `index`."""
        return self.problems[index::count]


def read_problems(path: str, limit: int | None, columns: ProblemColumns | None = None) -> ProblemSet:
    """Read and validate a problem set: a file (sources.py), or a set of the `datasets` library.

    Args:
        limit: only the first rows.
        columns: where its columns are not called as ours.

    Raises:
        InputError: with all faults, each with its column and row, and what mends it.
    """
    what = f"problems {path}"
    source = read_source(path, what).slice(0, limit)
    if source.num_rows == 0:
        raise InputError(f"{what}: the set is empty.")
    table, notes = shaped(source, columns or ProblemColumns(), what, source_stem(path))
    ids, questions, answers = (table.column(name).to_pylist() for name in REQUIRED)
    if faults := _row_faults(ids, questions, answers):
        raise InputError([f"{what}: {fault}" for fault in limited(faults)])
    has_turns = "messages" in table.column_names and is_conversation(table.schema.field("messages").type)
    messages = table.column("messages").to_pylist() if has_turns else [None] * len(ids)
    problems = tuple(
        Problem(problem_id, i, question, answer if answer is None else answer.strip(), turns_of(turns))
        for i, (problem_id, question, answer, turns) in enumerate(zip(ids, questions, answers, messages, strict=True))
    )
    return ProblemSet(problems, table.drop_columns(["problem_id", "answer"]), fingerprint(problems), notes)


def _row_faults(ids: Sequence[str | None], questions: Sequence[str | None], answers: Sequence[str | None]) -> list[str]:
    """Return a line for every fault of a row, with the row's number from 0."""
    faults = []
    first_row: dict[str | None, int] = {}
    for row, (problem_id, question, answer) in enumerate(zip(ids, questions, answers, strict=True)):
        if fault := id_fault(problem_id):
            faults.append(f"row {row}: problem_id {fault}; give it one.")
        elif problem_id in first_row:
            faults.append(f"row {row}: problem_id {problem_id!r} is in row {first_row[problem_id]} already.")
        first_row.setdefault(problem_id, row)
        if not question or not question.strip():
            faults.append(f"row {row}: question is {'null' if question is None else 'empty'}; leave the row out.")
        if answer is not None and not answer.strip():
            faults.append(f"row {row}: answer is empty; use null where there is none.")
    return faults


def id_fault(problem_id: str | None) -> str | None:
    """Return what keeps a text from being a problem's id; None if nothing does."""
    if problem_id is None or not problem_id.strip():
        return "is null" if problem_id is None else "is empty"
    if any(unicodedata.category(letter) == "Cc" for letter in problem_id):
        return f"is {problem_id!r}, which has a control character"
    return None


def fingerprint(problems: Sequence[Problem]) -> str:
    digest = blake2b(digest_size=16)
    for problem in problems:
        turns = (part for turn in problem.messages for part in turn)
        for text in (problem.problem_id, problem.question, problem.answer, *turns):
            data = b"\0" if text is None else text.encode()
            digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()
