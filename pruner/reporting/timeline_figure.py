"""The figure of one problem's timeline. Knows no SQL."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from pruner.reporting.canvas import Figure, Palette, legend_above, lines, render, style, unit_of
from pruner.reporting.timeline import Bar, Timeline

_MOST_TICKS = 4000


def timeline(found: Timeline | None) -> Figure:
    """The traces of one problem as bars of segments; below, when they were committed."""
    name, title = "timeline", "One problem from begin to end"
    if found is None or not found.bars:
        return Figure(name, title, "", empty="The traces of this run are not written yet.", is_wide=True)
    title = f"One problem from begin to end: {found.problem_id}"
    note = "One bar per trace, by cluster: dark up to its prefix, then pale; gaps between segments."
    if (
        any(len(set(bar.attempts)) > 1 for bar in found.bars)
        or len({a for bar in found.bars for a in bar.attempts}) > 1
    ):
        note += " Underlined: sampled after the job was stopped and went on."
    if any(bar.status == "speculative" for bar in found.bars):
        note += " Below: speculative traces, sampled in idle width and never asked for."
    if not found.commits:
        note += f" When things happened is not shown: {found.why_no_times}."
    bars = sorted(found.bars, key=_place)
    step = 11 if len(bars) <= 48 else 520 / len(bars)
    height = 120 + max(8, len(bars)) * step + (150 if found.commits else 0)

    def draw(figure: Any, palette: Palette) -> None:
        if found.commits:
            top, bottom = figure.subplots(2, 1, height_ratios=(height - 240, 120))
            _times(bottom, found, palette)
        else:
            top = figure.subplots()
        _traces(top, bars, found, palette)

    return render(name, title, note, draw, height, is_wide=True)


def _place(bar: Bar) -> tuple[bool, bool, int, int]:
    """Return where a trace is drawn: by cluster, and below all those that nobody asked for."""
    return bar.status == "speculative", bar.cluster_index is None, bar.cluster_index or 0, bar.trace_index


def _traces(axes: Any, bars: Sequence[Bar], found: Timeline, palette: Palette) -> None:
    unit, word = unit_of([float(bar.tokens) for bar in bars])
    for status, role in (("finished", "finished"), ("pruned", "pruned"), ("speculative", "speculative")):
        rows = [row for row, bar in enumerate(bars) if bar.status == status]
        if rows:
            prefixes = [bars[row].tokens_prefix / unit for row in rows]
            rest = [(bars[row].tokens - bars[row].tokens_prefix) / unit for row in rows]
            axes.barh(rows, prefixes, color=palette[role], height=0.74, label=f"{status} ({len(rows)})")
            axes.barh(rows, rest, left=prefixes, color=palette[role], height=0.74, alpha=0.5)
    _segment_marks(axes, bars, unit, palette)
    judged = {index for left, right, _ in found.judged for index in (left, right)}
    at = [(bar.tokens_prefix / unit, row) for row, bar in enumerate(bars) if bar.trace_index in judged]
    size = 20 if len(bars) <= 64 else 5
    if at:
        label = f"judged ({len(found.judged):,} pairs)"
        axes.scatter(*zip(*at, strict=True), s=size, color=palette["judge"], label=label, zorder=4)
    aside = max(bar.tokens for bar in bars) / unit / 120
    reasons = sorted({bar.prune_reason or "decided" for bar in bars if bar.status == "pruned"})
    for reason, mark in zip(reasons, itertools.cycle("x|+1"), strict=False):
        mine = [
            row for row, bar in enumerate(bars) if bar.status == "pruned" and (bar.prune_reason or "decided") == reason
        ]
        x = [bars[row].tokens / unit + aside for row in mine]
        label = f"pruned: {reason} ({len(mine)})"
        axes.scatter(x, mine, s=size, color=palette["lost"], marker=mark, label=label, zorder=5, linewidths=1.2)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"tokens of the trace{word}")
    _cluster_ticks(axes, bars)
    style(axes, palette, grid="x")
    axes.tick_params(axis="y", length=0, labelsize=9)
    legend_above(axes, palette, 5)


def _segment_marks(axes: Any, bars: Sequence[Bar], unit: float, palette: Palette) -> None:
    """Cut bars where segments end; underline what a later attempt sampled."""
    ends, later = [], []
    for at, bar in enumerate(bars):
        done = 0
        for number, tokens in enumerate(bar.segments):
            if number < len(bar.attempts) and bar.attempts[number] > 1:
                later.append([(done / unit, at + 0.42), ((done + tokens) / unit, at + 0.42)])
            done += tokens
            ends.append([(done / unit, at - 0.4), (done / unit, at + 0.4)])
    if len(ends) <= _MOST_TICKS:
        lines(axes, ends, palette["paper"], 1.0, 3)
    if later:
        lines(axes, later, palette["lost"], 1.6, 4, "sampled after a stop")


def _cluster_ticks(axes: Any, bars: Sequence[Bar]) -> None:
    """Name each cluster at its middle, or number the traces where there is none."""
    groups: dict[int | None, list[int]] = {}
    for at, bar in enumerate(bars):
        groups.setdefault(bar.cluster_index, []).append(at)
    if list(groups) == [None]:
        axes.set_ylabel(f"{len(bars)} traces, by index")
        axes.set_yticks([])
        return
    least = len(bars) / 30
    named = [(index, rows) for index, rows in groups.items() if len(rows) >= least]
    axes.set_yticks(
        [sum(rows) / len(rows) for _, rows in named],
        ["no cluster" if index is None else f"cluster {index} ({len(rows)})" for index, rows in named],
    )


def _times(axes: Any, found: Timeline, palette: Palette) -> None:
    """Draw tokens committed over time, verdicts and probes below, and pauses between attempts."""
    x: list[float] = []
    y: list[float] = []
    total = 0
    for commit in found.commits:
        total += commit.tokens
        x.append(commit.at_s)
        y.append(total)
    unit, word = unit_of(y)
    first, last = x[0], x[-1]
    started = max((life.start_s for life in found.lives if life.start_s <= first), default=first)
    axes.plot(
        [started, *x],
        [0.0, *(value / unit for value in y)],
        color=palette["finished"],
        linewidth=1.6,
        drawstyle="steps-post",
        label="tokens committed",
    )
    judged = [commit for commit in found.commits if commit.judged]
    if judged:
        heights = [0.0] * len(judged)
        label = f"probes and verdicts committed ({sum(commit.judged for commit in judged):,})"
        axes.scatter(
            [c.at_s for c in judged], heights, s=26, color=palette["judge"], label=label, zorder=4, clip_on=False
        )
    lives = [life for life in found.lives if life.end_s is None or life.end_s >= started]
    for life, after in itertools.pairwise(lives):
        if life.end_s is not None and life.end_s <= last:
            axes.axvspan(
                life.end_s, after.start_s, color=palette["lost"], alpha=0.18, label=f"{life.reason}, then resumed"
            )
    axes.set(xlabel="seconds since the run's first attempt began", ylabel=f"tokens{word}")
    axes.set_ylim(bottom=0)
    style(axes, palette, grid="y")
    legend_above(axes, palette, 4)
