"""The figures of runs: accuracy against tokens, where tokens went, clusters, margins, calibration, savings. Knows no SQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pruner.reporting.canvas import (
    MARKS,
    SERIES,
    Figure,
    Palette,
    legend,
    legend_above,
    panels,
    render,
    shortened,
    style,
    unit_of,
)
from pruner.reporting.gather import Calibration, Point, ProblemRow, VoteCurve
from pruner.results.run_totals import RunTotals
from pruner.statistics.pareto import pareto_front

_MOST_BARS = 40
# More bars than this cannot be told apart, and take minutes to draw.
_MOST_DRAWN = 500
AnyRow = TypeVar("AnyRow")


@dataclass(frozen=True)
class _Axis:
    """The x axis of a figure of accuracy. of: a run's value, None where it is not known. unit: as for canvas.unit_of."""

    name: str
    title: str
    label: str
    of: Callable[[Point], float | None]
    unit: Callable[[Sequence[float]], tuple[float, str]] = unit_of


def _unit_of_hours(values: Sequence[float]) -> tuple[float, str]:
    return (1.0, "hours") if max(values, default=0.0) >= 2 else (1 / 60, "minutes")


_TOKENS = _Axis("pareto", "Accuracy against tokens", "net tokens per problem", lambda point: point.net_per_problem)
_HOURS = _Axis(
    "hours",
    "Accuracy against time",
    "engine time with loading, ",
    lambda point: point.hours,
    _unit_of_hours,
)


def pareto(points: Sequence[Point], focus: str) -> Figure:
    """Accuracy against net tokens, a panel for each set of problems and model."""
    return _against(points, focus, _TOKENS)


def hours(points: Sequence[Point], focus: str) -> Figure:
    """Accuracy against the time that a run's engines took, loading included."""
    return _against([point for point in points if point.hours is not None], focus, _HOURS)


def _against(points: Sequence[Point], focus: str, axis: _Axis) -> Figure:
    title, name = axis.title, axis.name
    note = "Whiskers: 95 % interval, bootstrap over problems. Line: the Pareto front, whole runs that no other beats in both."
    if not all(point.is_whole for point in points):
        note += " Hollow: unfinished or simulated, or with failed problems."
    groups = sorted(
        {point.group for point in points}, key=lambda group: (-sum(p.group == group for p in points), group)
    )
    if not groups:
        return Figure(name, title, note, empty="No run has problems with gold answers, so accuracy is not known.")
    shown = groups[:4]
    if len(groups) > len(shown):
        note += f" {len(groups) - len(shown)} more pairs of problem set and model are in the table of runs."
    methods = sorted({point.method for point in points})

    def draw(figure: Any, palette: Palette) -> None:
        for axes, group in zip(panels(figure, len(shown)), shown, strict=True):
            _pareto_panel(axes, [point for point in points if point.group == group], methods, focus, palette, axis)
            axes.set_title(group, loc="left", color=palette["ink"])
        figure.axes[0].set_ylabel("problems answered rightly, %")
        if len(methods) > 1:
            legend(figure.axes[0], palette, loc="best")

    return render(name, title, note, draw, 330, is_wide=True)


def _pareto_panel(
    axes: Any, points: Sequence[Point], methods: Sequence[str], focus: str, palette: Palette, axis: _Axis
) -> None:
    unit, word = axis.unit([axis.of(point) or 0.0 for point in points])

    def at(point: Point) -> float:
        return (axis.of(point) or 0.0) / unit

    for number, method in enumerate(methods):
        mine = [point for point in points if point.method == method]
        if not mine:
            continue
        colour = palette[SERIES[number % len(SERIES)]]
        x = [at(point) for point in mine]
        y = [100 * point.accuracy for point in mine]
        spread = [[100 * (p.accuracy - p.low) for p in mine], [100 * (p.high - p.accuracy) for p in mine]]
        if len(points) <= 30:
            axes.errorbar(x, y, yerr=spread, fmt="none", ecolor=colour, alpha=0.3, linewidth=1.2)
        fill = [colour if point.is_whole else "none" for point in mine]
        axes.scatter(
            x, y, s=46, facecolors=fill, edgecolors=colour, marker=MARKS[number % len(MARKS)], label=method, zorder=3
        )
    front = pareto_front([p for p in points if p.is_whole], at, lambda p: p.accuracy)
    axes.plot(
        [at(p) for p in front],
        [100 * p.accuracy for p in front],
        color=palette["muted"],
        linewidth=1.2,
        zorder=2,
    )
    for point in points:
        if point.run == focus:
            ring = {"s": 170, "facecolors": "none", "edgecolors": palette["ink"], "linewidths": 1.4}
            axes.scatter(at(point), 100 * point.accuracy, zorder=4, **ring)
    axes.set_xlabel(f"{axis.label}{word}")
    axes.set_xlim(left=0)
    axes.margins(y=0.12)
    style(axes, palette, grid="both")


def run_tokens(runs: Sequence[RunTotals], labels: dict[str, str]) -> Figure:
    """Draw the tokens of each run by what became of them."""
    shown = runs[:_MOST_BARS]
    note = "Sampled tokens by what became of their trace; the judge's as weighted in net tokens; those that stops and kills cost."
    if len(runs) > len(shown):
        note += f" The best {len(shown)} of {len(runs)} runs."
    parts = [
        ("in finished traces", "finished", [each.tokens_finished / each.problems for each in shown]),
        ("in pruned traces", "pruned", [each.tokens_pruned / each.problems for each in shown]),
        ("judge", "judge", [each.tokens_judge_net / each.problems for each in shown]),
        ("speculative", "speculative", [each.tokens_speculative_net / each.problems for each in shown]),
        ("discarded", "lost", [(each.tokens_discarded or 0) / each.problems for each in shown]),
    ]
    names = [labels[each.run] for each in shown]
    return _bars("tokens", "Where the tokens went", note, names, parts, "tokens per problem")


def problem_tokens(rows: Sequence[ProblemRow], speculative_weight: float) -> Figure:
    """Draw the tokens of each problem of one run by what became of them."""
    shown = sorted(rows, key=lambda row: -row.tokens_net)[:_MOST_BARS]
    note = "Sampled tokens by what became of their trace, and the judge's as weighted in net tokens."
    if len(rows) > len(shown):
        note += f" The {len(shown)} costliest of {len(rows)} problems."
    speculative = [speculative_weight * (row.tokens_speculative or 0) for row in shown]
    judge = [row.tokens_net - row.tokens_sampled - own for row, own in zip(shown, speculative, strict=True)]
    parts = [
        ("in finished traces", "finished", [float(row.tokens_finished) for row in shown]),
        ("in pruned traces", "pruned", [float(row.tokens_pruned) for row in shown]),
        ("judge", "judge", judge),
        ("speculative", "speculative", speculative),
    ]
    return _bars("tokens", "Where the tokens went", note, [row.problem_id for row in shown], parts, "tokens")


def _bars(
    name: str, title: str, note: str, names: Sequence[str], parts: Sequence[tuple[str, str, list[float]]], what: str
) -> Figure:
    if not any(sum(values) for _, _, values in parts):
        return Figure(name, title, note, empty="No token was sampled.")
    unit, word = unit_of([sum(values[i] for _, _, values in parts) for i in range(len(names))])

    def draw(figure: Any, palette: Palette) -> None:
        axes = figure.subplots()
        left = [0.0] * len(names)
        at = range(len(names))
        for label, role, values in parts:
            if any(values):
                widths = [value / unit for value in values]
                axes.barh(at, widths, left=left, color=palette[role], label=label, height=0.72)
                left = [a + b for a, b in zip(left, widths, strict=True)]
        axes.set_yticks(at, [shortened(text, 44) for text in names])
        axes.invert_yaxis()
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlabel(what + word)
        style(axes, palette, grid="x")
        axes.tick_params(axis="y", length=0, labelsize=9 if len(names) > 16 else 10)
        legend_above(axes, palette, 4)

    return render(name, title, note, draw, 90 + max(4, len(names)) * (15 if len(names) > 16 else 22), is_wide=True)


def clusters(rows: Sequence[ProblemRow]) -> Figure:
    """Draw the sizes of each problem's clusters, or of its groups of equal answers if it has no clusters."""
    name, title = "clusters", "Clusters and redundancy"
    by_cluster: list[list[float]] = [[float(size) for size in row.cluster_sizes] for row in rows if row.cluster_sizes]
    groups = by_cluster or [row.vote_counts for row in rows if row.vote_counts]
    what = "traces predicted to agree (clusters)" if by_cluster else "finished traces that answered the same"
    note = f"One bar per problem, one shade per group: {what}, largest first. One tall group means that the other traces were redundant."
    if not by_cluster:
        note += " This run has no clusters."
    if not groups:
        return Figure(name, title, note, empty="No problem has clusters or votes.")
    groups = sorted(groups, key=lambda sizes: -sizes[0] / sum(sizes))
    share, number = sum(sizes[0] / sum(sizes) for sizes in groups) / len(groups), len(groups)
    groups, left_out = _evenly(groups)
    note += left_out

    def draw(figure: Any, palette: Palette) -> None:
        axes = figure.subplots()
        deepest = min(8, max(len(sizes) for sizes in groups))
        bottom = [0.0] * len(groups)
        width = 1.0 if len(groups) > 60 else 0.82
        for rank in range(deepest):
            heights = [_share(sizes, rank, rank == deepest - 1) for sizes in groups]
            axes.bar(
                range(len(groups)), heights, bottom=bottom, width=width, color=palette["a"], alpha=1 / (1 + 0.75 * rank)
            )
            bottom = [a + b for a, b in zip(bottom, heights, strict=True)]
        axes.axhline(100 * share, color=palette["ink"], linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(
            f"largest: {100 * share:.0f} % on average",
            (len(groups) - 0.5, 100 * share),
            ha="right",
            va="bottom",
            color=palette["ink"],
            bbox={"facecolor": palette["paper"], "edgecolor": "none", "alpha": 0.85, "pad": 2},
        )
        axes.set(ylim=(0, 100), xlim=(-0.6, len(groups) - 0.4), ylabel="share of the traces, %")
        axes.set_xlabel(f"{number:,} problems, most redundant first")
        axes.set_xticks([])
        style(axes, palette)

    return render(name, title, note, draw, 300)


def _evenly(rows: list[AnyRow]) -> tuple[list[AnyRow], str]:
    """Return as many of the rows as can be told apart, evenly from first to last, and what to say of that."""
    step = -(-len(rows) // _MOST_DRAWN)
    return (rows, "") if step <= 1 else (rows[::step], f" One of {step} is drawn.")


def _share(sizes: Sequence[float], rank: int, is_rest: bool) -> float:
    return 100 * (sum(sizes[rank:]) if is_rest else sum(sizes[rank : rank + 1])) / sum(sizes)


def margins(rows: Sequence[ProblemRow]) -> Figure:
    """Draw the margin of each vote, by whether its winner is right."""
    name, title = "margins", "Vote margins"
    note = "Votes of the winner less those of the second, as a share of all. A narrow win is a vote that a few traces more might turn."
    known = sorted(
        (row for row in rows if row.margin is not None), key=lambda row: (row.margin or 0.0, row.problem_index)
    )
    if not known:
        return Figure(name, title, note, empty="No problem has votes.")
    counts = Counter(row.grade for row in known)
    number = len(known)
    known, left_out = _evenly(known)
    note += left_out

    def draw(figure: Any, palette: Palette) -> None:
        axes = figure.subplots()
        for grade, role, mark in (("right", "right", "o"), ("wrong", "wrong", "X"), ("no gold answer", "muted", "o")):
            at = [i for i, row in enumerate(known) if row.grade == grade]
            if not at:
                continue
            y = [100 * (known[i].margin or 0.0) for i in at]
            axes.vlines(at, 0, y, color=palette[role], linewidth=1.4, alpha=0.5)
            axes.scatter(at, y, color=palette[role], marker=mark, s=30, label=f"{grade} ({counts[grade]:,})", zorder=3)
        axes.set(ylim=(0, 106), xlim=(-0.8, len(known) - 0.2), ylabel="margin, % of votes")
        axes.set_xlabel(f"{number:,} problems, narrowest first")
        axes.set_xticks([])
        style(axes, palette)
        legend_above(axes, palette, 3)

    return render(name, title, note, draw, 300)


def _one_a_judge(found: Sequence[Calibration], focus: str) -> list[Calibration]:
    """Return one run of every judge, the one looked at if it is among them, else the one with the most pairs."""
    best: dict[str, Calibration] = {}
    for each in sorted(found, key=lambda each: (each.run != focus, -each.checked)):
        best.setdefault(each.judge, each)
    return list(best.values())[: len(SERIES)]


def calibration(found: Sequence[Calibration], focus: str, is_judged: bool) -> Figure:
    """Draw the share of pairs that agree against the judge's score."""
    name, title = "calibration", "The judge on these runs"
    note = "Pairs whose traces both finished with an answer; only these can be checked. On the diagonal the judge says what is so."
    if not found:
        empty = "No pair was judged of which both traces finished." if is_judged else "There is no judge in this run."
        return Figure(name, title, note, empty=empty)
    shown = _one_a_judge(found, focus)
    others = len({each.run for each in found}) - len(shown)
    checked = "; ".join(f"{each.judge}: {each.checked:,} of {each.verdicts:,} verdicts" for each in shown)
    note += f" Checked of {checked}." + (" Of each judge, the run with the most pairs." if others else "")

    def draw(figure: Any, palette: Palette) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 100], color=palette["muted"], linewidth=1, linestyle=(0, (4, 3)))
        most = max(count for each in shown for _, _, count in each.bins)
        for number, each in enumerate(shown):
            colour = palette[SERIES[number]]
            x = [score for score, _, _ in each.bins]
            y = [100 * same for _, same, _ in each.bins]
            sizes = [24 + 220 * count / most for _, _, count in each.bins]
            axes.plot(x, y, color=colour, linewidth=1.4)
            axes.scatter(x, y, s=sizes, color=colour, alpha=0.75, label=each.judge, zorder=3)
        axes.set(xlim=(-0.06, 1.06), ylim=(-5, 108))
        axes.set(xlabel="the judge's P(same answer); size: number of pairs", ylabel="pairs that agree, %")
        style(axes, palette, grid="both")
        if len(shown) > 1:
            legend(axes, palette, loc="best", markerscale=0.6)

    return render(name, title, note, draw, 300)


def at_k(curves: Sequence[VoteCurve], points: Sequence[Point]) -> Figure:
    """Draw pass@k and maj@k against k and against tokens, and beside them the accuracy that the runs reached.

    Args:
        curves: the run looked at first, then its baseline.
        points: of the same runs.
    """
    name, title = "at_k", "What more traces bring"
    if not curves:
        return Figure(name, title, "", empty="No problem has a gold answer and a trace, so accuracy is not known.")
    by_run = {point.run: point for point in points}
    note = _curve_note(curves)
    unit, word = unit_of([each.tokens for curve in curves for each in curve.points])

    def draw(figure: Any, palette: Palette) -> None:
        left, right = panels(figure, 2, sharey=True)
        for curve, role, style_of in zip(curves, ("a", "muted"), ("-", (0, (4, 3))), strict=False):
            k = [each.k for each in curve.points]
            tokens = [each.tokens / unit for each in curve.points]
            of = f", {by_run[curve.run].method}" if len(curves) > 1 and curve.run in by_run else ""
            for label, mark, values in (
                ("vote", "o", [each.maj_at_k for each in curve.points]),
                ("any right", "^", [each.pass_at_k for each in curve.points]),
            ):
                line = {
                    "color": palette[role],
                    "marker": mark,
                    "linestyle": style_of,
                    "linewidth": 1.4,
                    "markersize": 5,
                }
                for axes, x in ((left, k), (right, tokens)):
                    axes.plot(x, [100 * value for value in values], label=f"{label}{of}", **line)
        for run, role in zip([curve.run for curve in curves], ("b", "muted"), strict=False):
            if (point := by_run.get(run)) is not None:
                _own_point(right, point, unit, palette[role])
        left.set_xscale("log", base=2)
        ks = sorted({each.k for each in curves[0].points if each.k & (each.k - 1) == 0} | {curves[0].points[-1].k})
        left.set_xticks(ks, [str(k) for k in ks])
        left.minorticks_off()
        left.set_xlabel("traces of each problem")
        right.set_xlabel(f"tokens per problem{word}")
        right.set_xlim(left=0)
        for axes in (left, right):
            style(axes, palette, grid="both")
            axes.set_ylabel("problems, %")
        legend_above(left, palette, 2)

    return render(name, title, note, draw, 300, is_wide=True, narrow_height=520)


def _own_point(axes: Any, point: Point, unit: float, colour: str) -> None:
    """Draw what a run reached, with its interval."""
    at, y = point.net_per_problem / unit, 100 * point.accuracy
    axes.errorbar(
        [at], [y], yerr=[[y - 100 * point.low], [100 * point.high - y]], color=colour, alpha=0.5, linewidth=1.4
    )
    axes.scatter([at], [y], s=90, marker="*", color=colour, zorder=4)
    is_late = at > 0.7 * axes.get_xlim()[1]
    axes.annotate(
        f"{point.method}: {y:.1f} %",
        (at, y),
        xytext=(-8 if is_late else 8, -4),
        textcoords="offset points",
        ha="right" if is_late else "left",
        va="top",
        color=colour,
        annotation_clip=False,
    )


def _curve_note(curves: Sequence[VoteCurve]) -> str:
    note = "Vote: how often the plain vote of k traces is right. Any right: how often at least one of them is. "
    if curves[0].is_whole:
        note += "Means over all choices of k of the traces, ties in parts (maj@k and pass@k). "
    else:
        note += "Of the traces in the order in which they were started; a problem that stopped earlier counts with all of its traces. "
    if len(curves) > 1:
        note += f"Grey: the run {curves[1].run}, which finished every trace. "
    return note + "Star: what the run answered, at its net tokens, with its 95 % interval."


def saved(runs: Sequence[RunTotals], labels: dict[str, str]) -> Figure:
    """Draw the share of net tokens that each run saved."""
    name, title = "saved", "Net tokens saved"
    note = "Against a run of method=cons with the same setting (measured, full colour), or against an estimate from finished traces (pale)."
    known = sorted((each for each in runs if each.saved is not None), key=lambda each: -(each.saved or 0.0))[:16]
    if not known:
        return Figure(name, title, note, empty="There are only runs of method=cons, so there is nothing to compare.")

    def draw(figure: Any, palette: Palette) -> None:
        axes = figure.subplots()
        for at, each in enumerate(known):
            percent = 100 * (each.saved or 0.0)
            role = "right" if percent >= 0 else "wrong"
            axes.barh(at, percent, color=palette[role], alpha=1.0 if each.baseline == "measured" else 0.4, height=0.7)
            word = "" if each.baseline == "measured" else " (estimate)"
            axes.annotate(
                f" {percent:.0f} %{word}",
                (max(percent, 0), at),
                va="center",
                color=palette["ink"],
                fontsize=9,
                annotation_clip=False,
            )
        axes.axvline(0, color=palette["muted"], linewidth=1)
        axes.set_yticks(range(len(known)), [shortened(labels[each.run], 44) for each in known])
        axes.set_ylim(max(len(known), 5) - 0.5, -0.5)
        axes.set_xlabel("net tokens saved, %")
        axes.margins(x=0.16)
        style(axes, palette, grid="x")
        axes.tick_params(axis="y", length=0, labelsize=9)

    return render(name, title, note, draw, 300)
