"""Accuracy against time: each setting of a comparison replayed on an engine of a stated speed, with and without speculative traces."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pruner.comparison.points import Point, in_processes, is_known, prepare, write_known
from pruner.comparison.table import ComparedRun, thousands
from pruner.results.formats import markdown_table
from pruner.simulation.clocked import ClockedRun, clocked_orders
from pruner.simulation.planning import Engine


@dataclass(frozen=True)
class Clock:
    """How time is stated. aheads: numbers for speculate.ahead. orders: of the traces; a time is their mean."""

    engine: Engine
    aheads: tuple[int, ...]
    orders: int


@dataclass(frozen=True)
class HoursRow:
    """One setting at one `ahead`, over all recordings.

    Attributes:
        accuracy: of the comparison's own orders.
        hours: of one engine, recordings one after another.
        tokens_net, tokens_speculative: per problem; what was discarded counts among the speculative, and among the net.
    """

    method: str
    settings: str
    ahead: int
    accuracy: float
    hours: float
    tokens_net: float
    tokens_speculative: float


def clock_points(
    points: Sequence[Point], clock: Clock, processes: int, should_stop: Callable[[], bool], on_done: Callable[[], None]
) -> dict[Path, list[ClockedRun]] | None:
    """Return, by a point's file, what it takes for each number ahead; None if it was stopped: what was finished is kept.

    Raises: as points.consult_points.
    """
    found: dict[Path, list[ClockedRun]] = {}
    files = {point.file: point.file.with_name(f"{point.file.stem}-hours.parquet") for point in points}
    given = {point.file: json.dumps([prepare(point), asdict(clock)]) for point in points}
    for point in points:
        if is_known(files[point.file], given[point.file]):
            found[point.file] = [ClockedRun(**row) for row in pq.read_table(files[point.file]).to_pylist()]
            on_done()
    todo = [point for point in points if point.file not in found]
    calls = [(point, partial(clocked_point, point, clock)) for point in todo]
    for point, runs in in_processes(calls, processes, should_stop) if todo else ():
        write_known(files[point.file], pa.Table.from_pylist([asdict(run) for run in runs]), given[point.file])
        found[point.file] = runs
        on_done()
    return None if should_stop() else found


def clocked_point(point: Point, clock: Clock) -> list[ClockedRun]:
    """Return what one setting takes, for each number ahead."""
    return [clocked_orders(point.config, clock.engine, ahead, clock.orders) for ahead in clock.aheads]


def hours_rows(
    compared: Sequence[ComparedRun], settings: Sequence[Sequence[Point]], found: Mapping[Path, Sequence[ClockedRun]]
) -> list[HoursRow]:
    """Return the rows of the table, by method and setting.

    Args:
        compared: each setting over all recordings.
        settings: the points of each setting, one per recording, in the same order.
    """
    out = []
    for own, points in zip(compared, settings, strict=True):
        for runs in zip(*(found[point.file] for point in points), strict=True):
            count = sum(run.problems for run in runs)
            out.append(
                HoursRow(
                    method=own.method,
                    settings=own.settings,
                    ahead=runs[0].ahead,
                    accuracy=float(own.correct.mean()),
                    hours=sum(run.wall_hours for run in runs),
                    tokens_net=sum(run.tokens_net * run.problems for run in runs) / count,
                    tokens_speculative=sum(run.tokens_speculative * run.problems for run in runs) / count,
                )
            )
    unique = {(each.method, each.settings, each.hours, each.tokens_net): each for each in reversed(out)}
    return sorted(unique.values(), key=lambda each: (each.method, each.settings, each.ahead))


_HEADER = ("method", "settings", "speculate.ahead", "accuracy", "hours", "net k tokens", "of these speculative")


def markdown(rows: Sequence[HoursRow]) -> str:
    """Return the table as Markdown; tokens are thousands per problem."""
    cells = [
        [
            row.method,
            row.settings,
            str(row.ahead),
            f"{row.accuracy:.1%}",
            f"{row.hours:,.3g}",
            thousands(row.tokens_net),
            thousands(row.tokens_speculative),
        ]
        for row in rows
    ]
    lines = markdown_table(_HEADER, cells)
    lines += [
        "",
        "Hours of one engine of the stated speed. Speculative: sampled before the method asked for it, and never asked for. Where the number",
        "ahead changes nothing, a setting has one line.",
    ]
    return "\n".join(lines) + "\n"
