"""The text of a comparison: its table, and what was asked for beside it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pruner.comparison import certificates, frontier, hours, hulls, table
from pruner.comparison.certificates import CertificateRow
from pruner.comparison.curves import candidates
from pruner.comparison.hours import HoursRow
from pruner.comparison.table import ComparedRun, ComparisonRow, Control


@dataclass(frozen=True)
class Compared:
    """What is compared. control: plain voting at every number of traces; None without a run of method=cons."""

    runs: Sequence[ComparedRun]
    control: Control | None
    certificates: Sequence[CertificateRow] = ()
    hours: Sequence[HoursRow] = ()


@dataclass(frozen=True)
class View:
    """How it is shown; conf/compare.yaml describes the settings."""

    marks: Sequence[float] | None
    folds: int
    against: Sequence[str]
    knob: str | None
    bootstrap: int
    seed: int


def page(rows: Sequence[ComparisonRow], compared: Compared, view: View) -> str:
    """Return the whole text as Markdown.

    Raises:
        ValueError: no run of a method that the others are compared with.
    """
    runs, control = compared.runs, compared.control
    orders = f"{rows[0].repetitions} order{'s' if rows[0].repetitions > 1 else ''}"
    text = table.markdown(rows, f"# {rows[0].problems} problems, {orders} of the traces each")
    marks = frontier.marks_of(rows) if view.marks is None else view.marks
    if marks:
        best = frontier.frontiers(rows, control, marks)
        text += f"\n## The best accuracy of any setting\n\n{frontier.markdown(best, marks)}"
        chosen = frontier.held_out(candidates(runs, control), marks, view.folds, view.seed)
        text += f"\n## The best setting, chosen on other problems\n\n{frontier.markdown(chosen, marks)}"
    if view.against:
        found = hulls.hull_rows(runs, control, view.against, view.knob, view.bootstrap, view.seed)
        text += f"\n## Above the best mixtures of others' settings\n\n{hulls.markdown(found, view.against, view.knob)}"
    if compared.hours:
        text += f"\n## Hours\n\n{hours.markdown(compared.hours)}"
    if compared.certificates:
        text += f"\n## Certified answers\n\n{certificates.markdown(compared.certificates)}"
    return text
