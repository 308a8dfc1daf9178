"""Problem sets of other shapes made ours: which column is which, gold answers out of longer ones, options under letters,
conversations. Pure; reads nothing.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import model_validator

from pruner.errors import InputError
from pruner.problems.columns import is_text, limited, texts
from pruner.records.traces import hash64
from pruner.settings.section import Section

REQUIRED = ("problem_id", "question", "answer")
ROLES = ("system", "user", "assistant")
_GPQA_COLUMNS = ("Question", "Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
# Names that are recognised unless others are given.
_USUAL_NAMES = {
    "problem_id": ("problem_id", "id", "Record ID"),
    "question": ("question", "messages", "problem"),
    "answer": ("answer", "expected_answer"),
}
# pandas writes its index as a column.
_INDEX = re.compile(r"__index_level_\d+__")


class ProblemColumns(Section):
    """Where a set's columns are not called problem_id, question (or messages) and answer: their names, or of several the first that is
    there; `a.b` is the field b of column a, [] is no column. answer_pattern: the gold answer is the group of its last match in
    the answer. format: `gpqa` lays out GPQA's four options."""

    problem_id: str | tuple[str, ...] | None = None
    question: str | tuple[str, ...] | None = None
    answer: str | tuple[str, ...] | None = None
    answer_pattern: str | None = None
    format: Literal["columns", "gpqa"] = "columns"

    @model_validator(mode="after")
    def _the_pattern_has_one_group(self) -> ProblemColumns:
        if self.answer_pattern is not None:
            check_pattern("answer_pattern", self.answer_pattern)
        return self


def check_pattern(key: str, pattern: str) -> None:
    """Raise a ValueError unless it is a regular expression with one group."""
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"{key}: {pattern!r} is no regular expression ({error})") from None
    if groups != 1:
        raise ValueError(f"{key}: {pattern!r} has {groups} groups, expected 1")


def shaped(source: pa.Table, columns: ProblemColumns, what: str, stem: str) -> tuple[pa.Table, tuple[str, ...]]:
    """Return a table with problem_id, question, answer, of conversations messages, and the further columns; and a line for
    everything that was made up or is missing.

    Args:
        what: names the source in messages.
        stem: of made-up ids, `<stem>-<row>`.

    Raises:
        InputError: with all faults, each with its row.
    """
    source, names = _named(source, _wanted(source, columns, what), what)
    is_choice = _is_choice(source, names)
    is_gpqa = _is_gpqa(source, columns)
    if is_gpqa:
        made = _from_gpqa(source, what)
    elif is_choice:
        made = _from_choices(source, names, what)
    else:
        made = _from_columns(source, names, columns.answer_pattern, what)
    id_name = names["problem_id"]
    ids = [f"{stem}-{row}" for row in range(len(source))] if id_name is None else _texts(source, id_name, what)
    table = pa.table({"problem_id": pa.array(ids, pa.string())} | made)
    used = {*names.values(), *(_GPQA_COLUMNS if is_gpqa else ())}
    for name in source.column_names:
        if name not in (*table.column_names, *used) and not _INDEX.fullmatch(name):
            table = table.append_column(name, source.column(name))
    return table, tuple(f"{what}: {note}" for note in _notes(table, names, is_choice))


def _is_gpqa(source: pa.Table, columns: ProblemColumns) -> bool:
    """Return whether GPQA's options have to be laid out; a file of ours may have them so already."""
    names = set(source.column_names)
    return columns.format == "gpqa" and (set(_GPQA_COLUMNS) <= names or not set(REQUIRED) <= names)


def _wanted(source: pa.Table, columns: ProblemColumns, what: str) -> dict[str, str | tuple[str, ...] | None]:
    """Return the names that are to be looked for, by our name. Raises InputError: GPQA's are missing."""
    if not _is_gpqa(source, columns):
        return {"problem_id": columns.problem_id, "question": columns.question, "answer": columns.answer}
    if missing := [name for name in _GPQA_COLUMNS if name not in source.column_names]:
        raise InputError(f"{what}: got columns {source.column_names}, missing {missing}. Is this a GPQA CSV?")
    return {"problem_id": columns.problem_id, "question": _GPQA_COLUMNS[0], "answer": _GPQA_COLUMNS[1]}


def _notes(table: pa.Table, names: Mapping[str, str | None], is_choice: bool) -> Iterator[str]:
    if names["problem_id"] is None:
        yield "has no column problem_id: ids are made from its name and the row (or name one: problems.columns.problem_id)"
    answer = names["answer"]
    if is_choice:
        yield f"the column {answer} is an index into choices: they are put below the question, under letters, which are the answers"
    if table.column("answer").null_count == len(table):
        missing = "has no column answer" if answer is None else f"the column {answer} is empty"
        yield f"{missing}: nothing can be graded (or name one: problems.columns.answer)"


def _named(
    source: pa.Table, given: Mapping[str, str | tuple[str, ...] | None], what: str
) -> tuple[pa.Table, dict[str, str | None]]:
    """Return which columns of a set are ours, by our name; the table has nested ones as columns of their own.

    Raises:
        InputError: a column that was named is missing, or there is none for the question.
    """
    names: dict[str, str | None] = {}
    missing = []
    before = source.column_names
    for key, wanted in given.items():
        candidates = _USUAL_NAMES[key] if wanted is None else (wanted,) if isinstance(wanted, str) else wanted
        tables = ((name, _with_field(source, name)) for name in candidates)
        names[key], source = next(((name, made) for name, made in tables if name in made.column_names), (None, source))
        if names[key] is None and wanted:
            missing.append(f"problems.columns.{key}={' or '.join(candidates)}")
    if missing or names["question"] is None:
        lacking = f"not {' and '.join(missing)}" if missing else "none for the question"
        raise InputError(
            f"{what}: has the columns {before}, {lacking}. Say problems.columns.question=<its name> (and problem_id, answer), or take a preset: "
            "problems=gsm8k, math500, aime24, aime25 or gpqa."
        )
    return source, names


def _with_field(source: pa.Table, name: str) -> pa.Table:
    """Return the table, for `a.b` with the field b of its column a as a column of that name, if there is one."""
    column, *fields = name.split(".")
    if not fields or name in source.column_names or column not in source.column_names:
        return source
    try:
        return source.append_column(name, pc.struct_field(source.column(column), fields))
    except (pa.ArrowException, TypeError, ValueError):
        return source


def _from_columns(
    source: pa.Table, names: Mapping[str, str | None], answer_pattern: str | None, what: str
) -> dict[str, pa.Array]:
    question, answer = str(names["question"]), names["answer"]
    made: dict[str, pa.Array] = {}
    if is_conversation(source.schema.field(question).type):
        conversations = _conversations(source.column(question).to_pylist(), question, what)
        made["question"] = pa.array([None if each is None else asked(each) for each in conversations], pa.string())
        messages = {"messages": source.column(question)}
    else:
        made["question"] = pa.array(_texts(source, question, what), pa.string())
        messages = {}
    answers = [None] * len(source) if answer is None else _texts(source, answer, what)
    if answer_pattern is not None:
        answers = [_last_match(answer_pattern, each) for each in answers]
    made["answer"] = pa.array([each.strip() if each else each for each in answers], pa.string())
    return made | messages


def _is_choice(source: pa.Table, names: Mapping[str, str | None]) -> bool:
    """Return whether an answer is the index of one of a row's `choices`."""
    if names["answer"] is None or "choices" not in source.column_names:
        return False
    choices, question, answer = (
        source.schema.field(name).type for name in ("choices", names["question"], names["answer"])
    )
    has_texts = pa.types.is_list(choices) and is_text(choices.value_type)
    return bool(has_texts and is_text(question) and pa.types.is_integer(answer))


def _from_choices(source: pa.Table, names: Mapping[str, str | None], what: str) -> dict[str, pa.Array]:
    """Put each question's choices below it, under letters."""
    question, answer = str(names["question"]), str(names["answer"])
    columns = (source.column(name).to_pylist() for name in ("choices", answer))
    rows = zip(_texts(source, question, what), *columns, strict=True)
    faults, questions, letters = [], [], []
    for row, (text, choices, index) in enumerate(rows):
        options = [each or "" for each in choices or ()]
        if not 0 <= (index or 0) < len(options) <= len(string.ascii_uppercase):
            faults.append(
                f"{what}: row {row}: {answer} is {index}, expected the index of one of its {len(options)} choices. Rename the column choices if it is not."
            )
            continue
        questions.append(None if text is None else _with_options(text, options))
        letters.append(None if index is None else string.ascii_uppercase[index])
    if faults:
        raise InputError(limited(faults))
    return {"question": pa.array(questions, pa.string()), "answer": pa.array(letters, pa.string())}


def _from_gpqa(source: pa.Table, what: str) -> dict[str, pa.Array]:
    """Lay out GPQA's four options in an order drawn by the question; the answer is a letter."""
    columns = [_texts(source, name, what) for name in _GPQA_COLUMNS]
    faults, questions, letters = [], [], []
    for row, values in enumerate(zip(*columns, strict=True)):
        question, *options = [value or "" for value in values]
        empty = [name for name, value in zip(_GPQA_COLUMNS, values, strict=True) if not value or not value.strip()]
        if empty:
            faults.append(f"{what}: row {row}: {empty} empty.")
        order = sorted(range(len(options)), key=lambda place: (hash64(0, "option", question, place), place))
        questions.append(_with_options(question, [options[place] for place in order]))
        letters.append(string.ascii_uppercase[order.index(0)])
    if faults:
        raise InputError(limited(faults))
    return {"question": pa.array(questions, pa.string()), "answer": pa.array(letters, pa.string())}


def _with_options(question: str, options: Sequence[str]) -> str:
    lines = [f"{letter}) {option.strip()}" for letter, option in zip(string.ascii_uppercase, options, strict=False)]
    return question.strip() + "\n\n" + "\n".join(lines)


def is_conversation(kind: pa.DataType) -> bool:
    """Return whether a column's type is a list of turns with role and content."""
    if not pa.types.is_list(kind) or not pa.types.is_struct(kind.value_type):
        return False
    return {"role", "content"} <= {field.name for field in kind.value_type}


def asked(messages: Sequence[tuple[str, str]]) -> str:
    """Return a conversation's request as text: its only user turn, or else every turn with its role."""
    turns = [(role, content) for role, content in messages if role != "system"]
    return turns[0][1] if len(turns) == 1 else "\n\n".join(f"{role}: {content}" for role, content in turns)


def turns_of(value: Any) -> tuple[tuple[str, str], ...]:
    """Return a row of a `messages` column as pairs of role and content."""
    return tuple((turn["role"], turn["content"]) for turn in value or ())


def _conversations(values: Sequence[Any], name: str, what: str) -> list[tuple[tuple[str, str], ...] | None]:
    faults = [
        f"{what}: row {row}: column {name}: {fault}."
        for row, value in enumerate(values)
        if value is not None and (fault := _turns_fault(value))
    ]
    if faults:
        raise InputError(limited(faults))
    return [None if value is None else turns_of(value) for value in values]


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
    """Return a column's values as text. Raises InputError: it holds neither texts nor numbers."""
    try:
        return texts(table.column(name))
    except ValueError:
        kind = table.schema.field(name).type
        raise InputError(f"{what}: column {name} is {kind}, expected text or numbers. Write it as text.") from None


def _last_match(pattern: str, answer: str | None) -> str | None:
    matches = re.findall(pattern, answer or "")
    return matches[-1] if matches else None
