"""A page with figures of a run or of all runs in a folder: `python -m jobs.report outputs/<run>`, or `outputs`.

Works while runs go on; it shows what is finished. The page is one file that needs no network; traces are loaded from the folder
beside it when a problem is opened.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from jobs.command import QUERIES, Arguments, ended, root_and_run
from pruner.errors import InputError
from pruner.reporting import figures
from pruner.reporting.gather import (
    ProblemRow,
    calibrations,
    described,
    focus_of,
    points,
    problem_rows,
    ranked,
    vote_curve,
)
from pruner.reporting.labels import label_runs
from pruner.reporting.page import Content, render_page
from pruner.reporting.payload import Limits, write_payload
from pruner.reporting.timeline import choose, read_timeline
from pruner.reporting.timeline_figure import timeline
from pruner.results.named_queries import read_queries
from pruner.results.query import Results, read_totals
from pruner.results.run_totals import RunTotals
from pruner.settings.section import local_path
from pruner.system.files import write_bytes

_MOST_ROWS = 30_000


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    return ended(lambda: print(_make(options)))


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(prog="python -m jobs.report", description="Make a page with figures of runs.")
    parser.add_argument("path", type=Path, help="a run's folder, or a folder of runs")
    parser.add_argument("--output", type=Path, help="folder of the report (default: report/ in the path)")
    parser.add_argument("--focus", help="of several runs, the one to look at closely (default: the best that prunes)")
    parser.add_argument("--problem", help="id of the problem whose timeline is drawn (default: a typical one)")
    parser.add_argument(
        "--max-chars", type=int, default=20_000, help="of a trace's text; the middle of longer ones is cut"
    )
    parser.add_argument("--max-mb", type=int, default=200, help="of all texts; later problems go without (0: no texts)")
    return parser


def _make(options: argparse.Namespace) -> str:
    """Make the report; return the line that says where it is."""
    path: Path = options.path
    if (path / "compare.parquet").exists() and (path / "report.html").exists():
        return f"{path / 'report.html'}: the page of a comparison, written by jobs.compare"
    root, only = root_and_run(path)
    if options.max_chars < 100:
        raise InputError(f"--max-chars: got {options.max_chars}, expected 100 or more.")
    target = local_path(options.output or path / "report")
    with Results(root) as results:
        everything = read_totals(results)
        runs = ranked([each for each in everything if only in (None, each.run)])
        if not runs:
            raise InputError(f"{path}: no problem of it is finished yet.")
        content = _content(options, results, root, runs, everything, target)
    page = render_page(content)
    write_bytes(target / "report.html", page.encode(errors="replace"))
    for figure in content.figures:
        if figure.png is not None:
            write_bytes(target / "figures" / f"{figure.name}.png", figure.png)
    runs_word = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    return f"{target / 'report.html'}: {runs_word}, {len(content.problems):,} problems, {len(page) / 1e6:.1f} MB"


def _content(
    options: argparse.Namespace,
    results: Results,
    root: Path,
    runs: list[RunTotals],
    everything: list[RunTotals],
    target: Path,
) -> Content:
    focus, queries = _focus(options.focus, runs), read_queries(QUERIES)
    names = [each.run for each in runs]
    labels = label_runs(names)
    rows = problem_rows(results, names, _MOST_ROWS)
    mine = [row for row in rows if row.run == focus.run] or problem_rows(results, [focus.run], _MOST_ROWS)
    judged = [each for each in runs if each.judge_verdicts]
    row = _chosen(options.problem, mine, focus.run)
    known = points(runs)
    drawn = [figures.pareto(known, focus.run), figures.hours(known, focus.run)] if len(runs) > 1 else []
    baseline = [each for each in everything if each.run == focus.baseline_run]
    curves = [curve for each in (focus, *baseline) if (curve := vote_curve(results, each.run, queries["at_k"]))]
    drawn += [
        figures.at_k(curves, points([focus, *baseline])),
        figures.run_tokens(runs, labels) if len(runs) > 1 else figures.problem_tokens(mine, focus.speculative_weight),
        figures.clusters(mine),
        figures.margins(mine),
        figures.calibration(calibrations(results, judged, queries["judge_quality"]), focus.run, bool(judged)),
        figures.saved(runs, labels),
        timeline(None if row is None else read_timeline(results, root, row)),
    ]
    indexes = {name: [each.problem_index for each in rows if each.run == name] for name in names}
    limits = Limits(options.max_chars, options.max_mb * 1_000_000)
    return Content(
        title=f"{os.path.basename(os.path.abspath(options.path))}",
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        runs=runs,
        focus=focus,
        head=described(results, focus),
        labels=labels,
        figures=drawn,
        problems=rows,
        problems_left_out=sum(each.problems for each in runs) - len(rows),
        written=write_payload(results, names, target / "traces", limits, indexes),
        limits=limits,
        traces_folder="traces",
    )


def _focus(name: str | None, runs: list[RunTotals]) -> RunTotals:
    if name is None:
        return focus_of(runs)
    found = [each for each in runs if each.run == name]
    if not found:
        raise InputError(f"--focus: got {name!r}, expected one of {', '.join(each.run for each in runs[:20])}.")
    return found[0]


def _chosen(problem_id: str | None, rows: list[ProblemRow], run: str) -> ProblemRow | None:
    if problem_id is None:
        return choose(rows)
    found = [row for row in rows if row.problem_id == problem_id]
    if not found:
        raise InputError(f"--problem: run {run} has not finished a problem {problem_id!r}.")
    return found[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
