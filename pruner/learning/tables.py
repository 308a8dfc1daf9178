"""The table that compares judges, as Parquet and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pruner.learning.metrics import Quality
from pruner.results.formats import markdown_table
from pruner.statistics.intervals import Interval
from pruner.system.files import write_atomically


@dataclass(frozen=True)
class ScoreRow:
    """One judge on one group of pairs.

    Attributes:
        group: all, or a problem set, or whose traces they are.
        lead: how much higher the first judge's within-problem AUROC is than this one's, paired by problem.
        tokens_a_pair: prompt tokens that the judge newly read, by pair; None for scores that are no judge's.
    """

    group: str
    judge: str
    quality: Quality
    lead: Interval
    tokens_a_pair: float | None


def write_table(rows: Sequence[ScoreRow], folder: Path, heading: str) -> str:
    """Write table.parquet and table.md; return the Markdown."""
    table = pa.Table.from_pylist([_flat(row) for row in rows])
    write_atomically(folder / "table.parquet", lambda path: pq.write_table(table, path))
    text = markdown(rows, heading)
    write_atomically(folder / "table.md", lambda path: path.write_text(text))
    return text


def write_point(row: ScoreRow, folder: Path) -> None:
    """Write one row of a study; points of one study may be made at once."""
    name = f"{row.judge}.json"
    write_atomically(folder / "points" / name, lambda path: path.write_text(json.dumps(asdict(row), indent=1)))


def read_points(folder: Path) -> list[ScoreRow]:
    """Return the rows of a study so far, by group and name."""
    rows = []
    for file in sorted((folder / "points").glob("*.json")):
        values = json.loads(file.read_text())
        figures: dict[str, Any] = {
            key: Interval(**each) if isinstance(each, dict) else each for key, each in values["quality"].items()
        }
        values |= {"quality": Quality(**figures), "lead": Interval(**values["lead"])}
        rows.append(ScoreRow(**values))
    return sorted(rows, key=lambda row: (row.group, row.judge))


_HEADER = (
    *("judge", "AUROC within problem", "the first leads by", "AUROC pooled", "TNR@0.2", "AP same / different", "ECE"),
    *("missing", "tokens per pair"),
)


def markdown(rows: Sequence[ScoreRow], heading: str) -> str:
    """Return the rows as Markdown, one table per group. Figures in brackets are bootstrap intervals over problems."""
    lines = [heading.rstrip(), ""]
    for group in dict.fromkeys(row.group for row in rows):
        mine = [row for row in rows if row.group == group]
        first = mine[0].quality
        lines += [
            f"{group}: {first.pairs:,} pairs of {first.problems} problems, {first.same_share:.1%} agree; "
            f"{first.problems_mixed} problems have both kinds",
            "",
            *markdown_table(_HEADER, [_cells(row) for row in mine]),
            "",
        ]
    return "\n".join(lines)


def _cells(row: ScoreRow) -> list[str]:
    q = row.quality
    return [
        row.judge,
        _cell(q.auroc_within),
        _cell(row.lead),
        _cell(q.auroc_pooled),
        _cell(q.tnr_at_fnr20),
        f"{_figure(q.precision_same.value)} / {_figure(q.precision_different.value)}",
        _figure(q.ece.value),
        str(q.missing),
        "" if row.tokens_a_pair is None else f"{row.tokens_a_pair:.1f}",
    ]


def _cell(interval: Interval) -> str:
    return interval.text(".3f", ".3f")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _flat(row: ScoreRow) -> dict[str, Any]:
    flat: dict[str, Any] = {"group": row.group, "judge": row.judge, "tokens_a_pair": row.tokens_a_pair}
    intervals = {"lead": row.lead}
    for field in fields(Quality):
        value = getattr(row.quality, field.name)
        if isinstance(value, Interval):
            intervals[field.name] = value
        else:
            flat[field.name] = value
    for name, interval in intervals.items():
        for part, figure in asdict(interval).items():
            flat[name if part == "value" else f"{name}_{part}"] = figure
    return {key: float(value) if isinstance(value, float) else value for key, value in flat.items()}
