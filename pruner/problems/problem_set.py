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
from pydantic import AfterValidator, Field, model_validator

from pruner.answers.registry import known_kind
from pruner.errors import InputError
from pruner.problems.columns import limited
from pruner.problems.shapes import GPQA_COLUMNS, Shape, is_conversation, shaped, turns_of
from pruner.problems.sources import read_any, source_stem
from pruner.records.traces import Problem
from pruner.settings.section import FilePath, Positive, Section
from pruner.system.files import write_atomically

REQUIRED = ("problem_id", "question", "answer")
# A name of a kind of answers (pruner/answers/kinds).
KindName = Annotated[str, AfterValidator(known_kind)]
# Each has files of its own, which status reads one after the other.
MAX_SHARDS = 100_000


def _check_pattern(key: str, pattern: str) -> None:
    """Raise a ValueError unless it is a regular expression with one group."""
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"{key}: {pattern!r} is no regular expression ({error})") from None
    if groups != 1:
        raise ValueError(f"{key}: {pattern!r} has {groups} groups, expected 1")


class ProblemColumns(Section):
    """Where a set's columns are not called problem_id, question (or messages) and answer: their names, or of several the first that is there. answer_pattern: the gold answer is the group of its last match in
    the answer. format: `gpqa` lays out GPQA's four options."""

    problem_id: str | tuple[str, ...] | None = None
    question: str | tuple[str, ...] | None = None
    answer: str | tuple[str, ...] | None = None
    answer_pattern: str | None = None
    format: Literal["columns", "gpqa"] = "columns"

    @model_validator(mode="after")
    def _the_pattern_has_one_group(self) -> ProblemColumns:
        if self.answer_pattern is not None:
            _check_pattern("answer_pattern", self.answer_pattern)
        return self


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
            _check_pattern("patterns", pattern)
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
    source = read_any(path, what)
    shape, notes = _shape(source, columns or ProblemColumns(), what)
    source = source if limit is None else source.slice(0, limit)
    if source.num_rows == 0:
        raise InputError(f"{what}: the set is empty.")
    table = shaped(source, shape, what, source_stem(path))
    ids, questions, answers = (table.column(name).to_pylist() for name in REQUIRED)
    if faults := check_rows(ids, questions, answers):
        raise InputError([f"{what}: {fault}" for fault in limited(faults)])
    messages = (
        table.column("messages").to_pylist() if is_conversation(_type_of(table, "messages")) else [None] * len(ids)
    )
    problems = tuple(
        Problem(problem_id, i, question, answer if answer is None else answer.strip(), turns_of(turns))
        for i, (problem_id, question, answer, turns) in enumerate(zip(ids, questions, answers, messages, strict=True))
    )
    carried = table.drop_columns(["problem_id", "answer"])
    return ProblemSet(problems, carried, fingerprint(problems), notes)


def _shape(source: pa.Table, columns: ProblemColumns, what: str) -> tuple[Shape, tuple[str, ...]]:
    """Return which columns of a set are ours, and what a user may want to know of that."""
    names = source.column_names
    if columns.format == "gpqa" and not set(GPQA_COLUMNS) <= set(names) and set(REQUIRED) <= set(names):
        columns = ProblemColumns()  # it was laid out before, by jobs.import_problems
    is_gpqa = columns.format == "gpqa"
    missing: list[str] = []

    def found(key: str, given: str | tuple[str, ...] | None, usual: Sequence[str]) -> str | None:
        wanted = usual if given is None else (given,) if isinstance(given, str) else given
        name = next((name for name in wanted if name in names), None)
        if name is None and given is not None:
            missing.append(f"problems.columns.{key}={' or '.join(wanted)}")
        return name

    problem_id = found("problem_id", columns.problem_id, ("problem_id",))
    question = GPQA_COLUMNS[0] if is_gpqa else found("question", columns.question, ("question", "messages"))
    answer = None if is_gpqa else found("answer", columns.answer, ("answer",))
    if question is None or missing:
        lacking = f"not {' and '.join(missing)}" if missing else "none for the question"
        raise InputError(
            f"{what}: has the columns {names}, {lacking}. Say problems.columns.question=<its name> (and problem_id, answer), or take a preset: "
            "problems=gsm8k, math500, aime24, aime25 or gpqa."
        )
    notes = []
    if problem_id is None:
        notes.append(
            f"{what}: has no column problem_id: ids are made from its name and the row (or name one: problems.columns.problem_id)"
        )
    if answer is None and not is_gpqa:
        notes.append(f"{what}: has no column answer: nothing can be graded (or name one: problems.columns.answer)")
    return Shape(problem_id, question, answer, columns.answer_pattern, columns.format), tuple(notes)


def _type_of(table: pa.Table, name: str) -> pa.DataType:
    return table.schema.field(name).type if name in table.column_names else pa.null()


def check_rows(ids: Sequence[object], questions: Sequence[object], answers: Sequence[object]) -> list[str]:
    """Return a line for every faulty row, with its number from 0."""
    faults = []
    first_row: dict[object, int] = {}
    for row, (problem_id, question, answer) in enumerate(zip(ids, questions, answers, strict=True)):
        if not isinstance(problem_id, str) or not problem_id.strip():
            faults.append(f"row {row}: problem_id is {'null' if problem_id is None else 'empty'}; give it one.")
        elif problem_id in first_row:
            faults.append(f"row {row}: problem_id {problem_id!r} is in row {first_row[problem_id]} already.")
        else:
            first_row[problem_id] = row
        if not isinstance(question, str) or not question.strip():
            faults.append(f"row {row}: question is {'null' if question is None else 'empty'}; leave the row out.")
        if isinstance(answer, str) and not answer.strip():
            faults.append(f"row {row}: answer is empty; use null where there is none.")
    return faults


def fingerprint(problems: Sequence[Problem]) -> str:
    digest = blake2b(digest_size=16)
    for problem in problems:
        turns = (part for turn in problem.messages for part in turn)
        for text in (problem.problem_id, problem.question, problem.answer, *turns):
            data = b"\0" if text is None else text.encode()
            digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def write_problems(table: pa.Table, path: Path) -> None:
    """Write a problem set atomically."""
    write_atomically(path, lambda partial: pq.write_table(table, partial))
