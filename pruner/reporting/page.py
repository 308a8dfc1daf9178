"""The page of a report. Owns jinja2; everything that comes from a model or a problem set is escaped on its way in."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2

from pruner.reporting.canvas import Figure
from pruner.reporting.gather import ProblemRow
from pruner.reporting.payload import Limits, Written, script_json
from pruner.results.run_totals import RunTotals
from pruner.results.summary import bounds, seconds_words, unanswered_words, words


@dataclass(frozen=True)
class Content:
    """Everything on the page.

    Attributes:
        focus: the run that the figures of one run are of.
        head: what a reader has to know of it, label and text.
        labels: what each run is called.
        problems: of all runs, in the order of `runs`.
        problems_left_out: how many more there are.
        written: what is in files beside the page.
    """

    title: str
    made_at: str
    runs: Sequence[RunTotals]
    focus: RunTotals
    head: Sequence[tuple[str, str]]
    labels: dict[str, str]
    figures: Sequence[Figure]
    problems: Sequence[ProblemRow]
    problems_left_out: int
    written: Written
    limits: Limits
    traces_folder: str


def render_page(content: Content) -> str:
    """Return the report of runs."""
    return render(
        "report",
        _data(content),
        content=content,
        focus=content.focus,
        is_sweep=len(content.runs) > 1,
        words=words(content.focus),
        cards=_cards(content.focus, content.labels),
        figures={figure.name: figure for figure in content.figures},
    )


def render(name: str, values: Any, **shown: Any) -> str:
    """Return a page: one file with its styles, figures and scripts inside, that asks the network for nothing.

    Args:
        name: of its template and of its script.
        values: what the script works on.
        shown: what the template shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_part),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": lambda value: f"{value:,.0f}", "percent": lambda value: f"{100 * value:.1f} %"}
    script = _part("common.js") + _part(f"{name}.js")
    return environment.from_string(_part(f"{name}.html")).render(
        style=_part("report.css"),
        script=script,
        data=script_json(values),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **shown,
    )


def _part(name: str) -> str:
    return resources.files("pruner.reporting").joinpath("templates", name).read_text()


def _cards(totals: RunTotals, labels: dict[str, str]) -> list[tuple[str, str, str]]:
    """Return label, figure and explanation of what a reader looks for first; the run's words below have the rest."""
    cards = []
    if totals.accuracy is not None:
        single = "" if totals.single_accuracy is None else f"; a single trace: {100 * totals.single_accuracy:.1f} %"
        counts = f"{totals.problems_right} of {totals.problems_graded}{bounds(totals)}{single}"
        cards.append(("Accuracy", f"{100 * totals.accuracy:.1f} %", counts))
    if totals.saved is not None:
        against = f"measured against {labels.get(totals.baseline_run or '', totals.baseline_run)}"
        if totals.baseline != "measured":
            against = "an estimate from finished traces"
        cards.append(("Net tokens saved", f"{100 * totals.saved:.1f} %", against))
    share = 100 * totals.tokens_judge_net / max(1.0, totals.tokens_net)
    judge = f"; the judge's: {share:.1f} %" if totals.judge_calls else ""
    per_problem = f"{short(totals.tokens_net / max(1, totals.problems))} per problem{judge}"
    cards.append(("Net tokens", short(totals.tokens_net), per_problem))
    if totals.traces_pruned:
        pruned = f"{totals.traces_pruned:,} of {totals.traces_started:,} traces"
        cards.append(("Pruned", f"{100 * totals.traces_pruned / max(1, totals.traces_started):.0f} %", pruned))
    else:
        most = f"of {totals.budget} at most, per problem"
        cards.append(("Traces", f"{totals.traces_started / max(1, totals.problems):.1f}", most))
    if totals.traces_unanswered or totals.traces_cut:
        cards.append(("Cut or unanswered", f"{totals.traces_unanswered or 0:,}", unanswered_words(totals)))
    if totals.work_s:
        speed = f"of work; {short(totals.tokens_per_s or 0)} tokens a second"
        cards.append(("Time", seconds_words(totals.work_s), speed))
    return cards


_UNITS = ((1.0, ""), (1e3, " k"), (1e6, " M"), (1e9, " G"))


def short(value: float) -> str:
    """Return a number in three digits: 950, 12.3 k, 4.56 M, and whole thousands beyond the largest unit."""
    size, letter = next((unit for unit in _UNITS if abs(value) < 999.5 * unit[0]), _UNITS[-1])
    scaled = value / size
    return f"{scaled:,.0f}{letter}" if size == 1.0 or abs(scaled) >= 999.5 else f"{scaled:.3g}{letter}"


# The columns of the page's table of problems; its script reads them by these names.
_COLUMNS = (
    *("problem_index", "problem_id", "gold", "answer", "outcome", "failure", "margin", "vote_answers", "vote_counts"),
    *("cluster_sizes", "clusters", "traces_started", "traces_pruned", "traces_cut", "traces_unanswered", "votes_tied"),
    *("tokens_net", "judge_calls"),
)
_MOST_LISTED = 32


def _data(content: Content) -> dict[str, Any]:
    """Return what the page's script works on. Each question is there once, whatever the number of runs."""
    numbers = {totals.run: number for number, totals in enumerate(content.runs)}
    questions: dict[str, int] = {}
    rows = []
    for row in content.problems:
        question = questions.setdefault(row.question or "", len(questions))
        rows.append([numbers[row.run], question, *(_shortened(getattr(row, name)) for name in _COLUMNS)])
    return {
        "runs": [content.labels[totals.run] for totals in content.runs],
        "focus": numbers[content.focus.run],
        "questions": list(questions),
        "columns": ["run", "question", *_COLUMNS],
        "rows": rows,
        "folder": content.traces_folder,
        "without_text": [content.written.without_text.get(totals.run, 0) for totals in content.runs],
    }


def _shortened(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    return value[:_MOST_LISTED] if isinstance(value, list) else value
