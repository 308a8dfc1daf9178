"""Start many processes on one run at the same moment, with equal and with differing configs, and look at what they leave.

    python -m tests.chaos.starts --starts 200 --seed 0

Each process is forked, reads its config and its problems, and waits at a gate; all go through it at once. Then the run is
finished with the config that it belongs to, and compared with one that a single process made. It prints how the starts
ended and what the losers said, and ends with 1 if anything was mixed, doubled or unexplained.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

import pruner.shard.run_shard
from tests.chaos.facts import Difference
from tests.chaos.harness import Reference, run, start, wait

SMALL = ("method=deepprune", "problems.limit=8", "budget=3")
HALVES = (("shard.count=2", "shard.index=0"), ("shard.count=2", "shard.index=1"))


@dataclass(frozen=True)
class Kind:
    """A round: what its processes are started with, in turn.

    Attributes:
        kill: this share of the processes is killed, at some moment of their first second.
    """

    starts: tuple[tuple[str, ...], ...]
    kill: float = 0.0


KINDS = {
    "one config": Kind((("seed=0",),)),
    "two seeds": Kind((("seed=0",), ("seed=1",))),
    "one shard beside two": Kind((("seed=0",), *(("seed=0", *half) for half in HALVES))),
    "two seeds on two shards": Kind((("seed=0", *HALVES[0]), ("seed=1", *HALVES[1]))),
    "two seeds, some killed": Kind((("seed=0",), ("seed=1",), ("seed=0", *HALVES[1])), kill=0.4),
}


@dataclass
class Tally:
    """What came of all rounds. endings: how many starts ended with (exit code, last line)."""

    endings: Counter[tuple[int, str]] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    mixed: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    problems: int = 0


class Gate:
    """Where forked processes wait until all have come to it."""

    def __init__(self) -> None:
        self._ready_out, self._ready_in = os.pipe()
        self._open_out, self._open_in = os.pipe()

    def stop_here(self) -> None:
        """In a forked process: have it wait once it knows its identity, before it looks at the run's folder."""
        before = pruner.shard.run_shard.identity
        os.close(self._open_in)

        def gated(*given: object) -> dict[str, str]:
            found = before(*given)  # type: ignore[arg-type]
            os.write(self._ready_in, b".")
            os.read(self._open_out, 1)
            return found

        pruner.shard.run_shard.identity = gated

    def open_after(self, count: int) -> None:
        """Wait until so many stand at the gate, and open it."""
        while count > 0:
            count -= len(os.read(self._ready_out, count))
        for end in (self._open_in, self._open_out, self._ready_in, self._ready_out):
            os.close(end)


def race(root: Path, kind: Kind, count: int, wait_s: float, draw: random.Random, reported: Tally) -> None:
    """Start so many processes at one moment, wait for them, and note how each ended."""
    gate, started = Gate(), []
    for number in range(count):
        overrides = kind.starts[number % len(kind.starts)]
        log = root.with_name(f"{root.name}-{number}.log")
        given = (*SMALL, f"checkpoint.lock_wait_s={wait_s}", *overrides)
        started.append((start(root, *given, log=log, before=gate.stop_here), overrides, log))
    gate.open_after(count)
    victims = draw.sample(started, int(count * kind.kill))
    for (pid, _, _), moment in zip(victims, sorted(draw.uniform(0, 1.0) for _ in victims), strict=True):
        time.sleep(moment / max(1, len(victims)))
        os.kill(pid, signal.SIGKILL)
    done = [(wait(pid), overrides, log) for pid, overrides, log in started]
    owner = owner_of(root)
    for code, overrides, log in done:
        assert code is not None
        reported.endings[code, last_line(log, root)] += 1
        if code == 0 and as_owner(overrides) != owner:
            reported.mixed.append(f"{root.name}: exit 0 with {overrides}, but the run is {owner}'s")


def as_owner(overrides: tuple[str, ...]) -> tuple[int, int]:
    """Return the seed and the number of shards."""
    values = dict(each.split("=") for each in overrides)
    return int(values["seed"]), int(values.get("shard.count", 1))


def owner_of(root: Path) -> tuple[int, int]:
    values = json.loads((root / "run/run.json").read_text())
    return values["seed"], values["shard_count"]


def last_line(log: Path, root: Path) -> str:
    """Return a process's last line, without what differs between two."""
    lines = log.read_text().strip().splitlines() or [""]
    line = lines[-1].replace(str(root), "outputs")
    line = re.sub(r"host \S+, pid \d+", "host H, pid P", line)
    line = re.sub(r"seed: (\d) -> (\d)", "seed: A -> B", re.sub(r"count: (\d) -> (\d)", "count: M -> N", line))
    return re.sub(r"shard=\d+", "shard=NNNN", line) if "error" in line else "(its summary)"


def finish(root: Path, references: dict[int, Reference], reported: Tally) -> None:
    """Finish a run with the config that it belongs to, and compare it with that of a single process."""
    seed, shards = owner_of(root)
    try:
        for index in range(shards):
            run(root, *SMALL, f"seed={seed}", f"shard.count={shards}", f"shard.index={index}")
    except Difference as error:
        reported.mixed.append(f"{root.name}: cannot be finished: {str(error).splitlines()[-1]}")
        return
    ids = [name for path in sorted((root / "run/answers").glob("*.parquet")) for name in problem_ids(path)]
    reported.problems += len(set(ids))
    if len(ids) != len(set(ids)):
        reported.doubled.append(f"{root.name}: {len(ids)} answers for {len(set(ids))} problems")
    try:
        references[seed].check(root)
    except Difference as error:
        reported.mixed.append(f"{root.name}: {error}")


def problem_ids(path: Path) -> list[str]:
    return list(pq.read_table(path, columns=["problem_id"]).column(0).to_pylist())


def start_many(
    folder: Path, starts: int, at_once: int, seed: int, kinds: list[str], show: Callable[[str], object]
) -> Tally:
    """Start so many processes, in rounds of some at once, each kind in turn."""
    draw = random.Random(seed)
    references = {}
    for number in (0, 1):
        root = folder / f"reference{number}"
        run(root, *SMALL, f"seed={number}")
        references[number] = Reference.of(root)
    reported, left, number = Tally(), starts, 0
    while left > 0:
        count = min(at_once, left)
        name = kinds[number % len(kinds)]
        root = folder / f"round{number}"
        began = time.monotonic()
        race(root, KINDS[name], count, draw.choice((0.0, 0.0, 5.0)), draw, reported)
        finish(root, references, reported)
        show(f"{count} starts, {name}: {time.monotonic() - began:.1f} s")
        reported.kinds[name] += count
        left, number = left - count, number + 1
    return reported


def report(reported: Tally) -> str:
    lines = [f"{sum(reported.endings.values()):>6}  starts"]
    lines += [f"{count:>6}    of {name}" for name, count in reported.kinds.items()]
    lines += [f"{count:>6}  exit {code:>3}: {line}" for (code, line), count in sorted(reported.endings.items())]
    lines += [f"{reported.problems:>6}  problems answered in all, each compared with the run of one process"]
    lines += [
        f"{len(reported.mixed):>6}  mixed",
        f"{len(reported.doubled):>6}  doubled",
        *reported.mixed,
        *reported.doubled,
    ]
    return "\n".join(lines)


def is_explained(code: int, line: str) -> bool:
    """Return whether a start may end so: it won or found nothing left to do, was refused with one line, or was killed."""
    refused = ("belongs to another config", "works on it. Wait for it, or stop it.")
    return code in (0, -signal.SIGKILL) or (code == 2 and any(words in line for words in refused))


def main() -> int:
    parser = argparse.ArgumentParser(description="Start many processes on one run at the same moment.")
    parser.add_argument("--starts", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=25, help="how many in a round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS, help="default: each in turn")
    given = parser.parse_args()
    kinds = list(KINDS) if given.kind is None else [given.kind]
    with tempfile.TemporaryDirectory() as folder:
        reported = start_many(Path(folder), given.starts, given.at_once, given.seed, kinds, log_line)
    print(report(reported))
    unexplained = [ending for ending in reported.endings if not is_explained(*ending)]
    return int(bool(reported.mixed or reported.doubled or unexplained))


def log_line(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
