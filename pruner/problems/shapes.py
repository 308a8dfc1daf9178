"""Problem sets of other shapes made ours: which column is which, gold answers out of longer ones, GPQA's options under letters,
conversations. Pure; reads nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import pyarrow as pa

from pruner.errors import InputError
from pruner.problems.columns import is_text, limited
from pruner.records.traces import hash64

LETTERS = "ABCD"
GPQA_COLUMNS = (
    "Question",
    "Correct Answer",
    "Incorrect Answer 1",
    "Incorrect Answer 2",
    "Incorrect Answer 3",
)
ROLES = ("system", "user", "assistant")
# pandas writes its index as a column.
_INDEX = re.compile(r"__index_level_\d+__")


@dataclass(frozen=True)
class Shape:
    """Which columns of a table are ours.

    Attributes:
        problem_id, answer: None: ids are made from the set's name and the row; there are no gold answers.
        answer_pattern: the gold answer is the group of this expression's last match in the answer.
        format: `gpqa` lays out four options in an order that is drawn by the seed.
        keep: keep the further columns.
    """

    problem_id: str | None
    question: str
    answer: str | None
    answer_pattern: str | None = None
    format: Literal["columns", "gpqa"] = "columns"
    seed: int = 0
    keep: bool = True


@dataclass(frozen=True)
class Options:
    """A multiple-choice question with its options in order, and the letter of the right one."""

    text: str
    letter: str


def shaped(source: pa.Table, shape: Shape, what: str, stem: str) -> pa.Table:
    """Return a table with problem_id, question, answer and, of conversations, messages.

    Args:
        what: names the source in messages.
        stem: what ids are made of, if there are none.

    Raises:
        InputError: with all faults, each with its row.
    """
    table = _from_gpqa(source, shape, what) if shape.format == "gpqa" else _from_columns(source, shape, what)
    used = [*GPQA_COLUMNS] if shape.format == "gpqa" else [shape.question, shape.answer]
    if shape.problem_id is None:
        ids: Sequence[str | None] = [f"{stem}-{row}" for row in range(source.num_rows)]
    elif shape.problem_id not in source.column_names:
        raise InputError(f"{what}: has no column {shape.problem_id!r}. Set columns.problem_id.")
    else:
        ids = _texts(source, shape.problem_id, what)
    table = table.add_column(0, "problem_id", pa.array(ids, pa.string()))
    if shape.keep:
        for name in source.column_names:
            if name not in (*used, shape.problem_id, *table.column_names) and not _INDEX.fullmatch(name):
                table = table.append_column(name, source.column(name))
    return table


def _from_columns(source: pa.Table, shape: Shape, what: str) -> pa.Table:
    wanted = [name for name in (shape.problem_id, shape.question, shape.answer) if name is not None]
    if missing := [name for name in wanted if name not in source.column_names]:
        raise InputError(f"{what}: got columns {source.column_names}, missing {missing}. Set columns.*=...")
    columns: dict[str, pa.Array] = {}
    if is_conversation(source.schema.field(shape.question).type):
        conversations = _conversations(source.column(shape.question).to_pylist(), shape.question, what)
        columns["question"] = pa.array([None if each is None else asked(each) for each in conversations], pa.string())
        columns["messages"] = source.column(shape.question)
    else:
        columns["question"] = pa.array(_texts(source, shape.question, what), pa.string())
    answers = [None] * source.num_rows if shape.answer is None else _texts(source, shape.answer, what)
    if shape.answer_pattern is not None:
        answers = [_last_match(shape.answer_pattern, answer) for answer in answers]
    columns["answer"] = pa.array([answer.strip() if answer else answer for answer in answers], pa.string())
    order = ("question", "answer", "messages")
    return pa.table({name: columns[name] for name in order if name in columns})


def _from_gpqa(source: pa.Table, shape: Shape, what: str) -> pa.Table:
    """Lay out GPQA's four options in an order drawn by the seed and the question; the answer is a letter."""
    if missing := [name for name in GPQA_COLUMNS if name not in source.column_names]:
        raise InputError(f"{what}: got columns {source.column_names}, missing {missing}. Is this a GPQA CSV?")
    columns = [_texts(source, name, what) for name in GPQA_COLUMNS]
    faults, laid_out = [], []
    for row, values in enumerate(zip(*columns, strict=True)):
        empty = [name for name, value in zip(GPQA_COLUMNS, values, strict=True) if not value or not value.strip()]
        if empty:
            faults.append(f"{what}: row {row}: {empty} empty.")
        else:
            laid_out.append(shuffle_options(str(values[0]), [str(value) for value in values[1:]], shape.seed))
    if faults:
        raise InputError(limited(faults))
    questions, letters = [each.text for each in laid_out], [each.letter for each in laid_out]
    return pa.table({"question": pa.array(questions, pa.string()), "answer": pa.array(letters, pa.string())})


def shuffle_options(question: str, options: Sequence[str], seed: int) -> Options:
    """Return the question with its options under letters, the first given one being right."""
    order = sorted(range(len(options)), key=lambda i: (hash64(seed, "option", question, i), i))
    lines = [f"{LETTERS[place]}) {options[i].strip()}" for place, i in enumerate(order)]
    return Options(question.strip() + "\n\n" + "\n".join(lines), LETTERS[order.index(0)])


def is_conversation(kind: pa.DataType) -> bool:
    """Return whether a column's type is a list of turns with role and content."""
    if not pa.types.is_list(kind) or not pa.types.is_struct(kind.value_type):
        return False
    return {"role", "content"} <= {field.name for field in kind.value_type}


def asked(messages: Sequence[tuple[str, str]]) -> str:
    """Return what a conversation asks, as text: its only user turn, or else every turn with its role."""
    turns = [(role, content) for role, content in messages if role != "system"]
    return turns[0][1] if len(turns) == 1 else "\n\n".join(f"{role}: {content}" for role, content in turns)


def turns_of(value: Any) -> tuple[tuple[str, str], ...]:
    """Return a row of a `messages` column as pairs of role and content."""
    return tuple((turn["role"], turn["content"]) for turn in value or ())


def _conversations(values: Sequence[Any], name: str, what: str) -> list[tuple[tuple[str, str], ...] | None]:
    faults, found = [], []
    for row, value in enumerate(values):
        fault = None if value is None else _turns_fault(value)
        if fault:
            faults.append(f"{what}: row {row}: column {name}: {fault}.")
        found.append(None if value is None or fault else turns_of(value))
    if faults:
        raise InputError(limited(faults))
    return found


def _turns_fault(turns: Any) -> str | None:
    for number, turn in enumerate(turns):
        role, content = (turn or {}).get("role"), (turn or {}).get("content")
        if role not in ROLES:
            return f"turn {number} has the role {role!r}, expected one of {', '.join(ROLES)}"
        if not isinstance(content, str) or not content.strip():
            return f"turn {number} has no content"
    if not turns or turns[-1]["role"] != "user":
        return "expected a conversation whose last turn is the user's"
    return None


def _texts(table: pa.Table, name: str, what: str) -> list[str | None]:
    """Return a column's values as they would be written. A column of floats that are all whole is one of whole numbers with gaps, as pandas
    makes it; what is no number (NaN) is none.

    Raises:
        InputError: the column holds neither texts nor numbers.
    """
    column = table.column(name)
    kind = column.type
    if is_text(kind) or pa.types.is_null(kind):
        return list(column.to_pylist())
    if pa.types.is_boolean(kind) or not (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    ):
        raise InputError(f"{what}: column {name} is {kind}, expected text or numbers. Write it as text.")
    values = [None if value is None or value != value else value for value in column.to_pylist()]
    if pa.types.is_floating(kind) and all(
        value is None or (abs(value) < 2**53 and value == int(value)) for value in values
    ):
        return [None if value is None else str(int(value)) for value in values]
    return [
        None if value is None else format(value, "f") if isinstance(value, Decimal) else str(value) for value in values
    ]


def _last_match(pattern: str, answer: str | None) -> str | None:
    found = re.findall(pattern, answer or "")
    return found[-1] if found else None
