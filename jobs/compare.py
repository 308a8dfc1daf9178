"""Methods side by side: every point on the same recorded traces, or runs that are there; a table and a picture.

    python -m jobs.compare                        # on the shipped recording, conf/recordings/
    python -m jobs.compare sources=[traces.parquet] target=outputs/compare/mine resample=20
    python -m jobs.compare "runs=[outputs/default,'outputs/method=cons']" target=outputs/compare/demo

A point is a setting of the main job. On recorded traces each is consulted in memory, several at a time; the rows are those that a run
with sampler=replay would write. Stopped or killed, the same command goes on. Plain voting at equal tokens (cons@k) is shown beside every point.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import hydra
import pyarrow as pa
import pyarrow.parquet as pq
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig

from jobs import entry, signals
from jobs.compose import main_config
from jobs.signals import StopSignals
from pruner.comparison.curves import (
    certificates,
    control_of_runs,
    joined,
    merged,
    plain_voting,
    run_of_folder,
    run_of_point,
)
from pruner.comparison.hours import Clock, clock_points, hours_rows
from pruner.comparison.page import Compared, View, page
from pruner.comparison.plot import plot_hours, plot_pareto
from pruner.comparison.points import Point, consult_points
from pruner.comparison.report import render_comparison
from pruner.comparison.table import ComparisonRow, flat_row, table
from pruner.config.job import Config
from pruner.errors import InputError
from pruner.recordings.recording import Recording
from pruner.records.traces import hash64
from pruner.settings.section import (
    Budget,
    FilePath,
    Folds,
    Natural,
    Orders,
    Positive,
    Processes,
    Rate,
    Resamplings,
    Running,
    Section,
    Seed,
    local_path,
    parse_as,
)
from pruner.shard.display import Countdown
from pruner.shard.inputs import read_inputs
from pruner.simulation.clocked import ClockedRun
from pruner.simulation.planning import Curve, Engine
from pruner.system.files import write_atomically, write_bytes

BASELINE = "method=cons"
SHIPPED = "conf/recordings/gsm8k_qwen25_coder_1p5b.parquet"
_MOST_TRACES = 64


class CompareConfig(Section):
    """sources: recorded traces; every point runs on each. runs: folders of runs that are there instead. points: overrides of
    the main job, separated by spaces, each with one value or with a list as for a sweep (`budget=4,8`); with a question mark before them
    they are left out where a recording has no confidences or no probes. common: overrides of all points. bootstrap: resamplings of the problems. marks: net tokens per problem at which
    frontiers are shown, also with settings chosen on other problems, over `folds` folds. against: methods whose settings the others are
    compared with at equal tokens, cons@k among them. knob: the setting by which the points of a method are a curve.
    curve: one engine's speed, for the time that each setting takes, by the numbers of traces `ahead`; None: no times."""

    sources: tuple[FilePath, ...]
    runs: tuple[FilePath, ...]
    target: FilePath
    points: tuple[str, ...]
    common: tuple[str, ...]
    budget: Budget | None
    resample: Orders | None
    seed: Seed
    processes: Processes
    bootstrap: Resamplings
    marks: tuple[Rate, ...] | None
    against: tuple[str, ...]
    knob: str | None
    folds: Folds
    curve: tuple[tuple[Positive, Rate], ...] | None
    max_running: Running
    ahead: tuple[Natural, ...]
    clocked_orders: Orders


@hydra.main(version_base="1.3", config_path="../conf", config_name="compare")
@entry.task
def main(cfg: DictConfig) -> int:
    config = parse_as(CompareConfig, entry.plain(cfg))
    if config.sources and config.runs:
        raise InputError(
            "compare: expected either sources=[...] (recorded traces) or runs=[...] (folders of runs), got both."
        )
    if not config.sources and not config.runs:
        config = config.model_copy(update={"sources": (SHIPPED,)})
    target = local_path(config.target)
    if config.runs:
        runs = [run_of_folder(Path(name)) for name in config.runs]
        write(config, Compared(runs, control_of_runs(runs)), target)
        return 0
    stop = StopSignals()
    compared = evaluate(config, target, stop)
    signals.end_at_once()  # what is left is written at its end
    if stop or compared is None:
        print(signals.message(stop.received), file=sys.stderr)
        return entry.INTERRUPTED
    write(config, compared, target)
    return 0


def evaluate(config: CompareConfig, target: Path, stop: StopSignals) -> Compared | None:
    """Evaluate every point on every recording, and plain voting; return None if it was stopped."""
    config = config.model_copy(update={"budget": config.budget or recorded_budget(config)})
    chosen = points_of(config, target)
    display = Countdown(sum(len(each) for each in chosen), "points")
    try:
        for each in chosen:
            if not consult_points(each, config.processes, lambda: bool(stop), lambda point: display.count()):
                return None
    finally:
        display.close()
    settings = list(zip(*chosen, strict=True))
    found = clocked(config, [point for each in chosen for point in each], stop)
    if found is None:
        return None
    runs = [merged([run_of_point(point) for point in same]) for same in settings]
    largest = max(point.config.budget for point in chosen[0] if point.config.method.name == "cons")
    control = joined([plain_voting(each[0].config, largest) for each in chosen])
    certified = [row for same in settings if (row := certificates(same)) is not None]
    return Compared(runs, control, certified, hours_rows(runs, settings, found) if found else ())


def clocked(
    config: CompareConfig, points: Sequence[Point], stop: StopSignals
) -> Mapping[Path, Sequence[ClockedRun]] | None:
    """Return what every point takes on an engine of the stated speed, nothing if none is stated; None if it was stopped."""
    if not config.curve:
        return {}
    try:
        engine = Engine(Curve(config.curve), config.max_running)
    except ValueError as error:
        raise InputError(f"curve: {error}.") from None
    clock = Clock(engine, config.ahead, config.clocked_orders if config.resample is not None else 1)
    display = Countdown(len(points), "points clocked")
    try:
        return clock_points(points, clock, config.processes, lambda: bool(stop), display.count)
    finally:
        display.close()


def sources(config: CompareConfig) -> list[str]:
    sets = [Path(source).stem for source in config.sources]
    if len(set(sets)) < len(sets):
        raise InputError(f"sources: got {sets}, expected files or folders with different names.")
    return list(config.sources)


def recorded_budget(config: CompareConfig) -> int:
    """Return how many traces every problem of all recordings has, 64 at most."""
    found = [len(each.traces) for source in sources(config) for each in recording_of(config, source).problems.values()]
    return min(_MOST_TRACES, *found)


def recording_of(config: CompareConfig, source: str) -> Recording:
    """Return a recording as the points read it."""
    replay = read_inputs(composed(BASELINE, overrides_of(config, source, BASELINE))).replay
    assert replay is not None
    return replay.recording


def points_of(config: CompareConfig, target: Path) -> list[list[Point]]:
    """Return all points on each recording, the baseline first; those with a question mark only where all recordings have what they need."""
    names = {BASELINE: None}
    left_out: dict[str, list[str]] = {}
    for given in (name for written in config.points for name in expanded(written)):
        name = given.removeprefix("?")
        lacks = lacking(config, name) if name != given else set()
        if lacks:
            left_out.setdefault(" and ".join(sorted(lacks)), []).append(name)
        else:
            names[name] = None
    for why, points in left_out.items():
        print(f"left out, since {why}: {', '.join(points)}", file=sys.stderr)
    return [[point_of(config, source, name, target) for name in names] for source in sources(config)]


def expanded(point: str) -> list[str]:
    """Return every point of one that has lists of values, the last list's values first; a point without lists as it is.

    Raises:
        InputError: it is not in Hydra's syntax.
    """
    choices = []
    for part in point.split():
        try:
            override = OverridesParser.create().parse_override(part.removeprefix("?"))
        except HydraException as error:
            raise InputError(f"{point}: {entry.one_line(error)}") from None
        key = part.partition("=")[0]
        is_list = override.is_sweep_override()
        choices.append([f"{key}={value}" for value in override.sweep_string_iterator()] if is_list else [part])
    return [" ".join(parts) for parts in product(*choices)]


def lacking(config: CompareConfig, name: str) -> set[str]:
    """Return what a point needs and some recording has not, in words."""
    found = set()
    for source in sources(config):
        point = composed(name, overrides_of(config, source, name))
        problems = recording_of(config, source).problems.values()
        traces = [trace for problem in problems for trace in problem.traces.values()]
        if point.method.needs_confidence and not all(trace.confidence for trace in traces):
            found.add("the recording has no confidences of tokens")
        is_asked = point.method.asked_tokens is not None or (point.method.uses_judge and point.judge.name == "probe")
        if is_asked and not any(trace.probes for trace in traces):
            found.add("the recording has no probes (answers forced out of unfinished traces)")
    return found


def point_of(config: CompareConfig, source: str, name: str, target: Path) -> Point:
    file = target / "points" / Path(source).stem / f"{label(name)}.parquet"
    return Point(name, composed(name, overrides_of(config, source, name)), file)


def overrides_of(config: CompareConfig, source: str, name: str) -> list[str]:
    """Return the main job's overrides for a point; what a point sets wins over what is common."""
    common = {
        "sampler": "replay",
        "sampler.source": json.dumps(source),
        # Without orders, a single one as recorded.
        "sampler.resample": "null" if config.resample is None else str(config.resample),
        "budget": str(config.budget or 1),
        "seed": str(config.seed),
    }
    own = dict(override.partition("=")[::2] for override in (*config.common, *name.split()))
    if own.get("sampler", "replay") != "replay":
        raise InputError(f"{name}: it needs an engine. Run it as a job of its own, then compare runs=[...].")
    return [f"{key}={value}" for key, value in (common | own).items()]


def composed(name: str, overrides: Sequence[str]) -> Config:
    """Return a point's config. Raises InputError, with the point's name."""
    try:
        return main_config(overrides)
    except InputError as error:
        raise InputError([f"{name}: {fault}" for fault in error.faults]) from None
    except HydraException as error:
        raise InputError(f"{name}: {entry.one_line(error)}") from None


def label(point: str) -> str:
    """Return a point's name as a file's: no two points have the same."""
    return f"{entry.run_name(point.split(), ())[:100]}-{hash64(point):016x}"


def write(config: CompareConfig, compared: Compared, target: Path) -> None:
    try:
        rows = table(compared.runs, compared.control, config.bootstrap, config.seed)
    except ValueError as error:
        raise InputError(f"runs: {error}. Compare runs over the same problems.") from None
    rows.sort(key=lambda row: (-row.tokens_net, row.method))
    try:
        view = View(config.marks, config.folds, config.against, config.knob, config.bootstrap, config.seed)
        text = page(rows, compared, view)
    except ValueError as error:
        raise InputError(f"against: {error}.") from None
    flat = pa.Table.from_pylist([flat_row(row) for row in rows])
    write_atomically(target / "compare.parquet", lambda path: pq.write_table(flat, path))
    write_atomically(target / "compare.md", lambda path: path.write_text(text))
    files = [write_report(config, rows, compared, target), *plot_pareto(rows, compared.control, target)]
    if compared.hours:
        files += plot_hours(compared.hours, target)
    print(text)
    print(f"written: {', '.join(str(file) for file in (target / 'compare.md', target / 'compare.parquet', *files))}")


def write_report(config: CompareConfig, rows: Sequence[ComparisonRow], compared: Compared, target: Path) -> Path:
    """Write the page; return its file."""
    title = "Methods on " + ", ".join(Path(name).stem for name in config.sources or config.runs)
    made_at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    text, figures = render_comparison(title[:200], made_at, rows, compared, questions_of(config))
    file = target / "report.html"
    write_bytes(file, text.encode(errors="replace"))
    for figure in figures:
        if figure.png is not None:
            write_bytes(target / "figures" / f"{figure.name}.png", figure.png)
    return file


def questions_of(config: CompareConfig) -> dict[str, str]:
    """Return the questions of a single recording, by problem."""
    if len(config.sources) != 1:
        return {}
    problems = recording_of(config.model_copy(update={"budget": config.budget or 1}), config.sources[0]).problems
    return {name: each.problem.question for name, each in problems.items()}


if __name__ == "__main__":
    entry.run(main)
