"""What a benchmark found: a table of all that was measured, figures, and how they are written down."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pruner.results.formats import markdown_table
from pruner.system.files import write_atomically

Value = str | int | float | bool | None


@dataclass(frozen=True)
class Outcome:
    """rows: each measurement, in the order made. figures: made of them. words: how it was measured."""

    rows: Sequence[Mapping[str, Value]]
    figures: Mapping[str, Value]
    words: str


def write_outcome(name: str, outcome: Outcome, machine: Mapping[str, Value], folder: Path) -> str:
    """Write the rows as Parquet and all of it as Markdown; return the Markdown."""
    table = pa.Table.from_pylist([dict(row) for row in outcome.rows])
    table = table.replace_schema_metadata({"machine": json.dumps(dict(machine)), "words": outcome.words})
    write_atomically(folder / f"{name}.parquet", lambda path: pq.write_table(table, path))
    text = markdown(name, outcome, machine)
    write_atomically(folder / f"{name}.md", lambda path: path.write_text(text))
    return text


def markdown(name: str, outcome: Outcome, machine: Mapping[str, Value]) -> str:
    """Return a section for a page of results."""
    facts = ", ".join(f"{key} {value}" for key, value in machine.items() if key != "date")
    names = list(dict.fromkeys(key for row in outcome.rows for key in row))
    lines = [f"## bench={name}, {machine.get('date', '')}", "", outcome.words, "", f"Machine: {facts}.", ""]
    lines += markdown_table(names, [[shown(row.get(key)) for key in names] for row in outcome.rows])
    figures = [[key, shown(value)] for key, value in outcome.figures.items()]
    lines += ["", *markdown_table(["figure", "value"], figures)]
    return "\n".join(lines) + "\n"


def shown(value: Value) -> str:
    """Return a value as a reader wants it: thousands apart, four digits of a fraction."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
