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
    """Return label, figure and explanation of what a reader looks for first."""
    cards = []
    if totals.accuracy is not None:
        single = "" if totals.single_accuracy is None else f"a single trace: {100 * totals.single_accuracy:.1f} %"
        cards.append(
            (
                "Accuracy",
                f"{100 * totals.accuracy:.1f} %",
                f"{totals.problems_right} of {totals.problems_graded}{bounds(totals)}; {single}",
            )
        )
    if totals.saved is not None:
        against = (
            f"measured against {labels.get(totals.baseline_run or '', totals.baseline_run)}"
            if totals.baseline == "measured"
            else "an estimate from finished traces"
        )
        cards.append(("Net tokens saved", f"{100 * totals.saved:.1f} %", against))
    cards.append(
        ("Net tokens", short(totals.tokens_net), f"{short(totals.tokens_net / max(1, totals.problems))} per problem")
    )
    started = max(1, totals.traces_started)
    if totals.traces_pruned:
        pruned = f"{totals.traces_pruned:,} of {totals.traces_started:,} traces"
        cards.append(("Pruned", f"{100 * totals.traces_pruned / started:.0f} %", pruned))
    else:
        most = f"of {totals.budget} at most, per problem"
        cards.append(("Traces", f"{totals.traces_started / max(1, totals.problems):.1f}", most))
    if totals.work_s:
        speed = f"of work; {short(totals.tokens_per_s or 0)} tokens a second"
        cards.append(("Time", seconds_words(totals.work_s), speed))
    if totals.traces_unanswered or totals.traces_cut:
        cards.append(("Cut or unanswered", f"{totals.traces_unanswered or 0:,}", unanswered_words(totals)))
    if totals.judge_calls:
        judge = totals.tokens_judge_net
        cards.append(
            (
                "Judge",
                f"{100 * judge / max(1.0, totals.tokens_net):.1f} %",
                f"of net tokens; {totals.judge_calls:,} calls",
            )
        )
    if totals.tokens_speculative:
        of = f"tokens in {totals.traces_speculative:,} traces that were not asked for"
        cards.append(("Speculative", short(totals.tokens_speculative), of))
    if totals.tokens_discarded or (totals.attempts or 1) > 1:
        attempts = "1 attempt" if totals.attempts == 1 else f"{totals.attempts} attempts"
        cancelled = " or cancelled" if totals.traces_speculative else ""
        cards.append(
            ("Discarded", short(totals.tokens_discarded or 0), f"tokens, lost by stops{cancelled}, in {attempts}")
        )
    if totals.cost is not None:
        cards.append(("Cost", f"{totals.cost:,.2f}", f"estimated, by {totals.cost_basis}"))
    return cards


def short(value: float) -> str:
    """Return a number in three digits: 950, 12.3 k, 4.56 M."""
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}" if abs(value) < 1000 * size else f"{value / size:,.0f}{letter}"
    return f"{value:.0f}"


def _data(content: Content) -> dict[str, Any]:
    """Return what the page's script works on. Each question is there once, whatever the number of runs."""
    numbers = {totals.run: number for number, totals in enumerate(content.runs)}
    questions: dict[str, int] = {}
    rows = []
    for row in content.problems:
        question = questions.setdefault(row.question or "", len(questions))
        rows.append(
            [
                numbers[row.run],
                row.problem_index,
                row.problem_id,
                question,
                row.gold,
                row.answer,
                row.outcome,
                row.failure,
                None if row.margin is None else round(row.margin, 4),
                row.vote_answers[:12],
                row.vote_counts[:12],
                row.cluster_sizes[:32],
                row.clusters,
                row.traces_started,
                row.traces_finished,
                row.traces_pruned,
                row.traces_cut,
                row.traces_unanswered,
                row.votes_tied,
                row.tokens_sampled,
                round(row.tokens_net),
                row.judge_calls,
                round(row.wall_s, 1),
                row.attempts,
            ]
        )
    return {
        "runs": [content.labels[totals.run] for totals in content.runs],
        "focus": numbers[content.focus.run],
        "questions": list(questions),
        "rows": rows,
        "folder": content.traces_folder,
        "without_text": [content.written.without_text.get(totals.run, 0) for totals in content.runs],
    }
