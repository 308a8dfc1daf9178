"""The table that compares judges, as Parquet and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pruner.learning.metrics import Quality
from pruner.results.formats import markdown_table
from pruner.statistics.intervals import Interval
from pruner.system.files import write_atomically, write_text


@dataclass(frozen=True)
class ScoreRow:
    """One judge.

    Attributes:
        lead: how much higher the first judge's within-problem AUROC is than this one's, paired by problem.
        tokens_a_pair: prompt tokens that the judge newly read, by pair; None for scores that are no judge's.
    """

    judge: str
    quality: Quality
    lead: Interval
    tokens_a_pair: float | None


def write_table(rows: Sequence[ScoreRow], folder: Path, heading: str) -> str:
    """Write table.parquet and table.md; return the Markdown."""
    table = pa.Table.from_pylist([_flat(row) for row in rows])
    write_atomically(folder / "table.parquet", lambda path: pq.write_table(table, path))
    text = markdown(rows, heading)
    write_text(folder / "table.md", text)
    return text


_HEADER = (
    *("judge", "AUROC within problem", "the first leads by", "AUROC pooled", "TNR@0.2", "ECE"),
    *("missing", "tokens per pair"),
)


def markdown(rows: Sequence[ScoreRow], heading: str) -> str:
    """Return the rows as a Markdown table. Figures in brackets are bootstrap intervals over problems."""
    first = rows[0].quality
    counts = (
        f"{first.pairs:,} pairs of {first.problems} problems, {first.same_share:.1%} agree; "
        f"{first.problems_mixed} problems have both kinds"
    )
    return "\n".join([heading.rstrip(), "", counts, "", *markdown_table(_HEADER, [_cells(row) for row in rows]), ""])


def _cells(row: ScoreRow) -> list[str]:
    q = row.quality
    intervals = (q.auroc_within, row.lead, q.auroc_pooled, q.tnr_at_fnr20, Interval(q.ece.value))
    tokens = "" if row.tokens_a_pair is None else f"{row.tokens_a_pair:.1f}"
    return [row.judge, *(each.text(".3f", ".3f") for each in intervals), str(q.missing), tokens]


def _flat(row: ScoreRow) -> dict[str, Any]:
    """Return a row of the Parquet: an interval becomes three columns."""
    flat: dict[str, Any] = {"judge": row.judge, "tokens_a_pair": row.tokens_a_pair}
    for name, value in {**vars(row.quality), "lead": row.lead}.items():
        if isinstance(value, Interval):
            flat |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        else:
            flat[name] = value
    return flat
