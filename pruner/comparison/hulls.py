"""What a method is worth beside the best mixtures of another's settings. Pure.

Whoever may choose among settings, and mix two of them over problems, reaches the concave hull of their points. A method that is above
another one's hull beats every setting of it, chosen in hindsight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pruner.comparison.table import ComparedRun, Control, Floats, ordered, ordered_control, percent, thousands
from pruner.results.formats import markdown_table
from pruner.statistics.intervals import Interval, interval, resamplings


@dataclass(frozen=True)
class HullRow:
    """One setting beside the hulls of others.

    Attributes:
        settings: without the knob.
        leads: accuracy above each method's hull at equal net tokens, by method; its value is None where the method has no setting so
            cheap.
    """

    method: str
    settings: str
    knob: str
    accuracy: Interval
    tokens_net: float
    rounds: float
    leads: Mapping[str, Interval]


def hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the corners of the concave hull of (tokens, accuracy), from the cheapest point to the first of the best, by tokens."""
    corners: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if corners and y <= corners[-1][1]:
            continue  # as good was to be had for less
        while len(corners) > 1 and _turns_left(corners[-2], corners[-1], (x, y)):
            corners.pop()
        corners.append((x, y))
    return corners


def _turns_left(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Return whether the way from a over b to c turns up at b: then b is below the line from a to c, or on it."""
    return (b[1] - a[1]) * (c[0] - b[0]) <= (c[1] - b[1]) * (b[0] - a[0])


def hull_rows(
    runs: Sequence[ComparedRun],
    control: Control | None,
    against: Sequence[str],
    knob: str | None,
    bootstrap: int,
    seed: int,
) -> list[HullRow]:
    """Return one row for every run of another method than those it is compared with; `cons@k` is plain voting at every k.

    Intervals are over problems: each resampling of them has hulls of its own.

    Raises:
        ValueError: no run of a method that is compared with.
    """
    names = runs[0].problems
    same = [ordered(run, names) for run in runs]
    references = {method: _reference(same, method, control and ordered_control(control, names)) for method in against}
    if missing := [method for method, (correct, _) in references.items() if not correct.size]:
        raise ValueError(f"got {missing[0]!r}, but no point is of this method")
    draws = np.vstack([np.ones(len(names)), resamplings(len(names), bootstrap, seed)]) / len(names)
    hulls = {
        method: [
            hull(list(zip(xs, ys, strict=True)))
            for xs, ys in zip((draws @ tokens).tolist(), (draws @ correct).tolist(), strict=True)
        ]
        for method, (correct, tokens) in references.items()
    }
    return [_row(run, hulls, draws, knob) for run in same if run.method not in (*against, "cons")]


def _reference(runs: Sequence[ComparedRun], method: str, control: Control | None) -> tuple[Floats, Floats]:
    """Return whether each setting is right and its net tokens: [problems, settings]."""
    if method == "cons@k" and control is not None:
        return control.correct, control.tokens
    own = [run for run in runs if run.method == method]
    empty = np.empty((len(runs[0].problems), 0))
    return (
        np.column_stack([empty, *(run.correct for run in own)]),
        np.column_stack([empty, *(run.tokens_net for run in own)]),
    )


def _row(
    run: ComparedRun, hulls: Mapping[str, list[list[tuple[float, float]]]], draws: Floats, knob: str | None
) -> HullRow:
    accuracy, tokens = draws @ run.correct, draws @ run.tokens_net
    settings, value = split_knob(run.settings, knob) if knob else (run.settings, "")
    return HullRow(
        method=run.method,
        settings=settings,
        knob=value,
        accuracy=interval(float(accuracy[0]), accuracy[1:]),
        tokens_net=float(tokens[0]),
        rounds=float(run.rounds.mean()),
        leads={method: _lead(accuracy, tokens, corners) for method, corners in hulls.items()},
    )


def _lead(accuracy: Floats, tokens: Floats, hulls: Sequence[Sequence[tuple[float, float]]]) -> Interval:
    leads = [_above(y, x, corners) for y, x, corners in zip(accuracy.tolist(), tokens.tolist(), hulls, strict=True)]
    return interval(leads[0], leads[1:])


def _above(accuracy: float, tokens: float, corners: Sequence[tuple[float, float]]) -> float | None:
    """Return how far a point is above a hull; beyond its last corner the hull goes on as high as there."""
    if tokens < corners[0][0] * (1 - 1e-9):
        return None
    at = np.array(corners)
    return accuracy - float(np.interp(tokens, at[:, 0], at[:, 1]))


def markdown(rows: Sequence[HullRow], against: Sequence[str], knob: str | None) -> str:
    """Return the rows as a Markdown table, those that differ in the knob alone together, with their mean leads."""
    families: dict[tuple[str, str], list[HullRow]] = {}
    for row in rows:
        families.setdefault((row.method, row.settings), []).append(row)
    header = ["method", "settings", knob or "", "accuracy", "net k tokens", "rounds"]
    cells: list[list[str]] = []
    for (method, settings), family in families.items():
        cells += [
            [method, settings, row.knob, percent(row.accuracy), thousands(row.tokens_net), _rounds(row.rounds)]
            + [row.leads[name].text("+.1f", "+.1f", 100) for name in against]
            for row in sorted(family, key=lambda each: each.tokens_net)
        ]
        if len(family) > 1:
            cells.append([method, settings, "mean", "", "", "", *(_mean_lead(family, name) for name in against)])
    return "\n".join(markdown_table([*header, *(f"above {name}" for name in against)], cells)) + "\n"


def split_knob(settings: str, knob: str) -> tuple[str, str]:
    """Return settings without the knob, and the knob's value; empty if it is not set."""
    parts = settings.split()
    value = next((part.partition("=")[2] for part in parts if part.startswith(f"{knob}=")), "")
    return " ".join(part for part in parts if not part.startswith(f"{knob}=")), value


def _rounds(rounds: float) -> str:
    return "" if np.isnan(rounds) else f"{rounds:.1f}"


def _mean_lead(rows: Sequence[HullRow], method: str) -> str:
    leads = [value for row in rows if (value := row.leads[method].value) is not None]
    return f"{100 * np.mean(leads):+.2f}" if leads else ""
