"""The page of a comparison: its picture, what each setting gains over plain voting, its table, and every problem. Knows no model.

It shares styles and figures with the report of runs (pruner/reporting); what comes from a problem set is escaped on its way in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pruner.comparison.page import Compared
from pruner.comparison.table import ComparedRun, ComparisonRow, Control, ordered, percent
from pruner.reporting import page
from pruner.reporting.canvas import (
    MARKS,
    SERIES,
    Figure,
    Palette,
    is_narrow,
    legend_above,
    log_ticks,
    render,
    shortened,
    style,
    unit_of,
)
from pruner.statistics.pareto import pareto_front

_MOST_NUMBERS = 200_000
# How much less accurate than the baseline a setting may be to be named on the first card.
_NEAR = 0.01


def render_comparison(
    title: str, made_at: str, rows: Sequence[ComparisonRow], compared: Compared, questions: Mapping[str, str]
) -> tuple[str, list[Figure]]:
    """Return the page and its figures.

    Args:
        rows: of the table.
        questions: by problem; those that are not there are shown by their name.
    """
    figures = [accuracy(rows, compared.control), leads(rows)]
    text = page.render(
        "comparison",
        _data(compared.runs, questions),
        title=title,
        made_at=made_at,
        first=rows[0],
        cards=_cards(rows),
        table=[_cells(row) for row in rows],
        figures={figure.name: figure for figure in figures},
    )
    return text, figures


def accuracy(rows: Sequence[ComparisonRow], control: Control | None) -> Figure:
    """Accuracy against net tokens of every setting, and plain voting at every number of traces."""
    note = "Grey: plain voting on 1, 2, ... N traces. Above the line, a setting is better than plain voting that costs as much. Names: the Pareto front."
    if any(_is_bound(row) for row in rows):
        note += " Hollow: a judge that knows the answers, a bound and no method."
    unit, word = unit_of([row.tokens_net for row in rows])
    methods = list(dict.fromkeys(row.method for row in rows))

    def draw(figure: Any, palette: Palette) -> None:
        axes = figure.subplots()
        if control is not None:
            x, y = control.tokens.mean(axis=0) / unit, 100 * control.correct.mean(axis=0)
            axes.plot(x, y, color=palette["muted"], linewidth=1.6, zorder=1)
        for number, method in enumerate(methods):
            mine = [row for row in rows if row.method == method]
            colour = palette[SERIES[number % len(SERIES)]]
            axes.scatter(
                [row.tokens_net / unit for row in mine],
                [100 * row.mean_accuracy for row in mine],
                s=52,
                marker=MARKS[(number + number // len(SERIES)) % len(MARKS)],
                facecolors=["none" if _is_bound(row) else colour for row in mine],
                edgecolors=colour,
                label=method,
                zorder=3,
            )
        if not is_narrow(figure):
            _name_front(axes, rows, unit, palette)
        axes.set_xscale("log")
        axes.set(xlabel=f"net tokens per problem{word} (log scale)", ylabel="accuracy, %")
        log_ticks(axes)
        style(axes, palette, grid="both")
        legend_above(axes, palette, 3 if is_narrow(figure) else 8)

    return render("accuracy", "Accuracy against tokens", note, draw, 400, is_wide=True, narrow_height=460)


def _is_bound(row: ComparisonRow) -> bool:
    return "judge=oracle" in row.settings.split()


def _name_front(axes: Any, rows: Sequence[ComparisonRow], unit: float, palette: Palette) -> None:
    real = [row for row in rows if not _is_bound(row)]
    for row in pareto_front(real, lambda row: row.tokens_net, lambda row: row.mean_accuracy)[:12]:
        at = (row.tokens_net / unit, 100 * row.mean_accuracy)
        axes.annotate(
            shortened(_name(row), 34), at, xytext=(0, 9), textcoords="offset points", ha="center", color=palette["ink"],
            fontsize=9,
        )  # fmt: skip
    axes.margins(x=0.12, y=0.12)


def leads(rows: Sequence[ComparisonRow]) -> Figure:
    """How much more accurate every setting is than plain voting that costs as much."""
    name, title = "leads", "Above plain voting at equal tokens"
    known = [row for row in rows if row.lead is not None and row.method != "cons" and not _is_bound(row)]
    known = sorted(known, key=lambda row: -(row.lead.value or 0.0) if row.lead else 0.0)[:40]
    if not known:
        return Figure(name, title, "", empty="There is no run of method=cons with these traces to compare with.")
    note = "Points of accuracy above cons@k at as many net tokens, with the 95 % interval over problems (paired). An interval that leaves 0 aside is more than chance."

    def draw(figure: Any, palette: Palette) -> None:
        axes = figure.subplots()
        for at, row in enumerate(known):
            assert row.lead is not None
            value, low, high = (100 * (each or 0.0) for each in (row.lead.value, row.lead.low, row.lead.high))
            role = "right" if low > 0 else "wrong" if high < 0 else "muted"
            axes.plot([low, high], [at, at], color=palette[role], linewidth=2.2, alpha=0.6)
            axes.scatter([value], [at], color=palette[role], s=42, zorder=3)
        axes.axvline(0, color=palette["ink"], linewidth=1)
        axes.set_yticks(range(len(known)), [shortened(_name(row), 30 if is_narrow(figure) else 60) for row in known])
        axes.set_ylim(len(known) - 0.5, -0.5)
        axes.set_xlabel("points of accuracy")
        style(axes, palette, grid="x")
        axes.tick_params(axis="y", length=0, labelsize=9)

    return render(name, title, note, draw, 80 + 24 * len(known), is_wide=True, narrow_height=90 + 24 * len(known))


def _name(row: ComparisonRow) -> str:
    """Return a setting's name with the last parts of its keys."""
    settings = " ".join(
        part.rpartition("=")[0].rpartition(".")[2] + "=" + part.rpartition("=")[2] for part in row.settings.split()
    )
    return f"{row.method} {settings}".rstrip()


def _cards(rows: Sequence[ComparisonRow]) -> list[tuple[str, str, str]]:
    """Return label, figure and explanation of what a reader looks for first."""
    baseline = max((row for row in rows if row.method == "cons"), key=lambda row: row.tokens_net, default=None)
    if baseline is None:
        return []
    cards = [
        (
            "All traces, plain vote",
            percent(baseline.accuracy).partition(" ")[0],
            f"{page.short(baseline.tokens_net)} tokens per problem",
        )
    ]
    near = [
        row
        for row in rows
        if row.method != "cons" and not _is_bound(row) and row.mean_accuracy >= baseline.mean_accuracy - _NEAR
    ]
    if near:
        best = min(near, key=lambda row: row.tokens_net)
        saved = f"{100 * (1 - best.tokens_net / baseline.tokens_net):.0f} %"
        cards.append(
            (
                "Saved, within a point of that",
                saved,
                f"{_name(best)}: {percent(best.accuracy).partition(' ')[0]} at {page.short(best.tokens_net)} tokens per problem",
            )
        )
        if best.lead is not None:
            low, high = best.lead.low or 0.0, best.lead.high or 0.0
            cards.append(
                (
                    "Above plain voting",
                    f"{100 * (best.lead.value or 0.0):+.1f} points",
                    f"at equal tokens; 95 % interval {100 * low:+.1f} to {100 * high:+.1f}",
                )
            )
    return cards


def _cells(row: ComparisonRow) -> list[str]:
    accuracy, _, bounds = percent(row.accuracy).partition(" ")
    return [
        row.method,
        row.settings,
        accuracy,
        bounds,
        f"{row.tokens_net:,.0f}",
        "" if row.saving is None else f"{100 * row.saving:.1f} %",
        f"{row.traces:.1f}",
        "" if row.rounds is None else f"{row.rounds:.1f}",
        "" if row.lead is None else row.lead.text("+.1f", "+.1f", 100),
    ]


def _data(runs: Sequence[ComparedRun], questions: Mapping[str, str]) -> dict[str, Any]:
    """Return what the page's script works on: for every setting and problem the share right and the net tokens."""
    names = runs[0].problems
    shown = list(runs[: max(2, _MOST_NUMBERS // max(1, 2 * len(names)))])
    whole = [ordered(run, names) for run in shown]
    return {
        "problems": [[name, questions.get(name, "")] for name in names],
        "settings": [f"{run.method} {run.settings}".rstrip() for run in whole],
        "correct": [[round(float(value), 3) for value in run.correct] for run in whole],
        "tokens": [[round(float(value)) for value in run.tokens_net] for run in whole],
        "traces": [[round(float(value), 1) for value in run.traces] for run in whole],
    }
