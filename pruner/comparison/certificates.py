"""What certified answers are worth: how many are certified, and how many of those are not what all recorded traces say. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pruner.comparison.table import thousands
from pruner.results.formats import markdown_table


@dataclass(frozen=True)
class CertificateRow:
    """One setting; shares are of all orders of all problems.

    Attributes:
        certified: share of answers that are.
        not_mode: of these, the share that all recorded traces together do not give most often.
        accuracy, accuracy_of_others: of the certified and of the other answers, those with a gold answer; None where there are none.
        traces: mean number of a certified answer.
    """

    method: str
    settings: str
    certified: float
    not_mode: float | None
    accuracy: float | None
    accuracy_of_others: float | None
    traces: float | None
    tokens_net: float


def certificate_row(settings: str, rows: Sequence[Mapping[str, Any]]) -> CertificateRow | None:
    """Sum up a point's rows; None if its method certifies nothing."""
    if not rows or rows[0]["certified"] is None:
        return None
    certified, others = [row for row in rows if row["certified"]], [row for row in rows if not row["certified"]]
    return CertificateRow(
        method=rows[0]["method"],
        settings=settings,
        certified=len(certified) / len(rows),
        not_mode=_mean([not row["is_mode"] for row in certified]),
        accuracy=_mean([row["correct"] for row in certified]),
        accuracy_of_others=_mean([row["correct"] for row in others]),
        traces=_mean([row["traces_started"] for row in certified]),
        tokens_net=sum(row["tokens_net"] for row in rows) / len(rows),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


_HEADER = (
    *("method", "settings", "certified", "of these not the mode", "right", "right of the others"),
    *("traces of a certified answer", "net k tokens"),
)


def markdown(rows: Sequence[CertificateRow]) -> str:
    """Return the table as Markdown. The mode is what all recorded traces of a problem say most often."""
    cells = [
        [
            row.method,
            row.settings,
            *(_percent(each) for each in (row.certified, row.not_mode, row.accuracy, row.accuracy_of_others)),
            "" if row.traces is None else f"{row.traces:.1f}",
            thousands(row.tokens_net),
        ]
        for row in rows
    ]
    return "\n".join(markdown_table(_HEADER, cells)) + "\n"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}%"
