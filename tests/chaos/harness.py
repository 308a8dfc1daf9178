"""Start the main job with the simulated sampler, do something bad to it at a random moment, resume it, compare.

    python -m tests.chaos.harness --kills 1000 --seed 0 [--variants speculative] [method=deepconf_online ...]

Each attempt is a process of its own, forked from one that has imported everything, so that most of its life is work and
a thousand kills take minutes. It prints how many of what it did, and ends with 1 at the first difference.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import functools
import gc
import importlib
import itertools
import os
import random
import runpy
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

import jobs.run  # noqa: F401  # what the forked processes need not import again
import pruner.system.files
from jobs import signals
from pruner.answers.registry import KINDS
from pruner.methods.registry import METHODS
from pruner.results.audit import audit
from tests.chaos.facts import Difference, Facts, check_same, facts_of
from tests.job_server import LATE_IMPORTS
from tests.live.jobs_under_test import table

CONFIG = (
    "sampler=simulated",
    "problems.limit=10",
    "budget=8",
    "run.name=run",
    "checkpoint.every_segments=3",
    "checkpoint.lock_wait_s=20",
    "progress.interval_s=1000",
    "results.every_s=0.02",
)
SLOW = ("sampler.step_s=0.008", "sampler.max_running_traces=6")
# Settings with which a method decides something about traces as short as these.
SETTINGS = {
    "adaptive": ("method.wave=2",),
    "deepconf_offline": ("method.window=16",),
    "deepconf_online": ("method.warmup=4", "method.window=16"),
    "deepprune_worth": ("method.price=0.005",),
    "first_k_equal": ("method.k=2", "method.wave=2"),
    "certified": ("method.delta=0.4",),
    "parallel_probe": ("method.every_tokens=32", "method.stable=3", "method.patience=2", "method.warmup=0"),
    "mars": ("method.every_tokens=32", "method.warmup=4"),
    "worth": ("method.price=0.02", "method.start=half"),
}
# What is run: every registered method, and some again with other parts; {root} is the run's own folder, {cons} that of an undisturbed
# run of method=cons.
VARIANTS = {name: (f"method={name}", *SETTINGS.get(name, ())) for name in sorted(METHODS)} | {
    "deepprune, first cluster, representatives": (
        "method=deepprune",
        "method.assign=first",
        "method.answer=representatives",
    ),
    "deepprune, reasoning words": ("method=deepprune", "prefix=reasoning_words", "prefix.count=3"),
    "deepprune, oracle": ("method=deepprune", "judge=oracle", "judge.source={cons}"),
    "deepprune, checkpoint on scratch": (
        "method=deepprune",
        "checkpoint.dir={root}/scratch",
        "checkpoint.copy_every_s=0.05",
    ),
}
# Those that offer traces ahead, once more with some: compared with what they give without.
AHEAD = ("speculate.ahead=5", "sampler.max_running_traces=24")
VARIANTS |= {
    f"{name}, speculative": (*VARIANTS[name], *AHEAD)
    for name in ("adaptive", "certified", "consol", "deepprune_worth", "esc", "first_k_equal", "mars", "worth")
}
TABLES = ("answers", "traces", "verdicts", "probes")
# What is done to an attempt, and how often in a hundred.
EVENTS = {
    "SIGKILL": 55,
    "SIGTERM": 8,
    "SIGUSR1": 8,
    "SIGINT": 4,
    "SIGHUP": 2,
    "SIGSTOP": 10,
    "none": 5,
    "SIGTERM, SIGTERM": 4,
    "SIGINT, SIGTERM": 2,
    "SIGUSR1, SIGUSR1": 2,  # the same stop, heard twice
    "worker killed": 4,
    "lease reads fail": 4,
    "disk full": 4,
}


def all_by_the_worker() -> None:
    """Have every answer read by the worker process, plain numbers too."""
    for kind in KINDS.values():
        kind.plain_key = lambda answer: None  # type: ignore[method-assign]


def failing_lease_reads() -> None:
    """Let every third read of a lease fail, as a network file system's do for a moment."""
    read, draw = Path.read_text, random.Random(os.getpid())

    def read_or_fail(path: Path, *given: object, **named: object) -> str:
        if path.parent.name == "lease" and draw.random() < 0.3:
            raise OSError(draw.choice([errno.ESTALE, errno.EIO]), "as a network file system says", str(path))
        return read(path, *given, **named)

    Path.read_text = read_or_fail


def disk_full_at(number: int) -> Callable[[], None]:
    """Let the creation of a file fail, the number-th and all after it."""

    def patch() -> None:
        name, calls = pruner.system.files.partial_name, []

        def named_or_full(path: Path) -> Path:
            calls.append(path)
            if len(calls) >= number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            return name(path)

        pruner.system.files.partial_name = named_or_full

    return patch


def start(root: Path, *overrides: str, log: Path | None = None, before: Callable[[], None] = lambda: None) -> int:
    """Fork a process that runs the main job; return its pid. log: what it prints goes there. before: called in it first."""
    _import_all()
    sys.stdout.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pid = os.fork()
    if not pid:
        signals.begin(is_resumable=True)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if pid:
        return pid
    code = 1
    try:
        out = os.open(log or root.with_suffix(".log"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))
        before()
        sys.argv = ["jobs.run", *CONFIG, f"run.root={root}", *overrides]
        runpy.run_module("jobs.run", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@functools.cache
def _import_all() -> None:
    """Import what each job would import for itself, and keep its garbage collector from copying all that is there."""
    for name in LATE_IMPORTS:
        importlib.import_module(name)
    gc.freeze()


def wait(pid: int, timeout_s: float | None = None) -> int | None:
    """Return a process's exit code, negative for a signal; None if it still lives after the time."""
    deadline = time.monotonic() + (1e9 if timeout_s is None else timeout_s)
    while True:
        found, status = os.waitpid(pid, 0 if timeout_s is None else os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.002)


def run(root: Path, *overrides: str) -> None:
    """Run the main job to its end."""
    code = wait(start(root, *overrides))
    if code != 0:
        raise Difference(f"exit code {code}\n{root.with_suffix('.log').read_text()[-3000:]}")


def worker_of(pid: int) -> int | None:
    """Return the process that reads a job's answers, if it has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    for child in children.read_text().split() if children.exists() else ():
        with contextlib.suppress(OSError):
            if b"pruner.answers.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return None


def hurt(pid: int, event: str, delay_s: float, gap_s: float) -> int:
    """Do something to a running attempt after a while, a second signal a gap later; return its exit code."""
    code = wait(pid, delay_s)
    if code is not None:
        return code
    if event == "SIGSTOP":
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.05)
        os.kill(pid, signal.SIGCONT)
    elif event == "worker killed":
        if (worker := worker_of(pid)) is not None:
            os.kill(worker, signal.SIGKILL)
    elif event not in ("none", "lease reads fail", "disk full"):
        first, *second = event.split(", ")
        os.kill(pid, signal.Signals[first])
        for name in second:
            code = wait(pid, gap_s)
            if code is not None:
                return code
            os.kill(pid, signal.Signals[name])
    return wait(pid)  # type: ignore[return-value]


def right_codes(event: str) -> tuple[int, ...]:
    """Return how an attempt may end; it may be done before the event."""
    if event in ("none", "SIGSTOP", "worker killed", "lease reads fail"):
        return (0,)
    if event == "disk full":
        return (0, 1)
    return (0, -signal.SIGKILL) if event == "SIGKILL" else (0, signals.INTERRUPTED)


def facts(root: Path) -> Facts:
    """Return what a run has committed so far. Raises Difference: something is there twice."""
    on_scratch = sorted((root / "scratch").glob("*/shard=*.duckdb"))
    return facts_of(*(on_scratch or sorted((root / "run/checkpoint").glob("shard=*.duckdb"))))


def results(root: Path) -> list[bytes]:
    """Return every table of the run, without columns that only measure, as bytes.

    Raises:
        Difference: its cost accounting does not add up.
    """
    found = audit(root / "run")
    if found.faults or found.unchecked:
        raise Difference(str(found))
    tables = [without_speculation(table(root, name), name) for name in TABLES]
    return [repr((each.schema.names, each.to_pylist())).encode() for each in tables]


def without_speculation(found: pa.Table, name: str) -> pa.Table:
    """Return a table of a run as it is without speculative traces: how many of them there are depends on timing."""
    if name == "traces":
        return found.filter(pc.field("status") != "speculative")
    # The audit has checked them; all else that they are the sum of is here.
    return found.drop_columns("tokens_net") if name == "answers" else found


@dataclass(frozen=True)
class Reference:
    """An undisturbed run."""

    root: Path
    results: list[bytes]
    facts: Facts
    took_s: float

    @classmethod
    def of(cls, root: Path, took_s: float = 0.0) -> Reference:
        """Read a finished run. Raises Difference: it does not add up."""
        return cls(root, results(root), facts(root), took_s)

    def check(self, root: Path, is_speculative: bool = False) -> Facts:
        """Compare another finished run of the same config with it; return that run's facts.

        Raises:
            Difference: something was lost, doubled or came out differently.
        """
        found = facts(root)
        check_same(self.facts, found, is_speculative)
        if results(root) != self.results:
            raise Difference("other results")
        return found


class References:
    """The undisturbed runs that others are compared with, each made without speculation when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[tuple[str, ...], Reference] = {}
        self._numbers = itertools.count()

    def of(self, overrides: tuple[str, ...]) -> Reference:
        plain = tuple(each for each in overrides if each not in AHEAD)
        if plain not in self._made:
            root = self._folder / f"reference{next(self._numbers)}"
            given = self.filled_in(plain, root)
            started = time.monotonic()
            run(root, *given, "speculate.ahead=0")
            self._made[plain] = Reference.of(root, time.monotonic() - started)
        return self._made[plain]

    def filled_in(self, overrides: tuple[str, ...], root: Path) -> list[str]:
        """Return a variant's overrides for a run in a folder."""
        needs_cons = any("{cons}" in each for each in overrides)
        cons = self.of(VARIANTS["cons"]).root / "run" if needs_cons else None
        return [each.format(root=root, cons=cons) for each in overrides]


def kill_many(folder: Path, kills: int, seed: int, variants: Mapping[str, tuple[str, ...]] = VARIANTS) -> Counter[str]:
    """Hurt attempts until so many were killed or signalled; return how many of what happened.

    Args:
        variants: name -> overrides, in turn, in an order that the seed gives.

    Raises:
        Difference: something was lost, doubled or came out differently.
    """
    draw = random.Random(seed)
    done: Counter[str] = Counter()
    references = References(folder)
    names = draw.sample(list(variants), len(variants))
    for number, name in enumerate(itertools.cycle(names), start=1):
        if done["kills and signals"] >= kills:
            break
        root = folder / f"run{number}"
        reference = references.of(variants[name])
        mine = references.filled_in(variants[name], root)
        try:
            hurt_to_the_end(root, mine, reference.took_s + 0.6, draw, done)
            found = reference.check(root, is_speculative="speculat" in name)
        except Difference as error:
            raise Difference(f"run {number} ({name}): {error}") from None
        done["speculative segments"] += len(found) - len(reference.facts)
        done["runs finished and equal"] += 1
        done[f"  of {name}"] += 1
        done["facts compared"] += len(found)
        shutil.rmtree(root)
    return done


def hurt_to_the_end(root: Path, overrides: list[str], latest_s: float, draw: random.Random, done: Counter[str]) -> None:
    """Hurt one run's attempts, each within so many seconds, until it is done.

    Raises:
        Difference: an attempt ended in a wrong way, or a committed fact was lost or made again.
    """
    names, weights = list(EVENTS), list(EVENTS.values())
    committed: Facts = {}
    code = None
    while code != 0:
        event = draw.choices(names, weights)[0]
        befores = {
            "worker killed": all_by_the_worker,
            "lease reads fail": failing_lease_reads,
            "disk full": disk_full_at(draw.randrange(1, 25)),
        }
        pid = start(root, *SLOW, *overrides, before=befores.get(event, lambda: None))
        code = hurt(pid, event, draw.uniform(0.05, latest_s), draw.uniform(0.01, 1.0))
        done["attempts"] += 1
        if event in befores:
            done[event] += 1
        elif code == 0 or event == "none":
            done["attempts left alone or too quick"] += 1
        else:
            done[event] += 1
            done["kills and signals"] += 1
        log = root.with_suffix(".log").read_text()
        if code not in right_codes(event):
            raise Difference(f"exit code {code} after {event}\n{log[-3000:]}")
        if "Traceback" in log:
            raise Difference(f"a traceback after {event}\n{log[-3000:]}")
        now = facts(root)
        lost = [key for key, value in committed.items() if now.get(key) != value]
        if lost:
            raise Difference(f"{len(lost)} committed facts lost or made again, first {lost[0]}")
        committed = now


def report(done: Counter[str]) -> str:
    return "\n".join(f"{count:>8,}  {name}" for name, count in sorted(done.items(), key=lambda item: -item[1]))


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill simulated runs at random moments and compare.")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variants", default="", help="only variants whose name contains this")
    parser.add_argument("overrides", nargs="*", help="of the main job's config; none: every variant in turn")
    arguments = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            variants = {name: each for name, each in VARIANTS.items() if arguments.variants in name}
            if arguments.overrides:
                variants = {" ".join(arguments.overrides): tuple(arguments.overrides)}
            done = kill_many(Path(folder), arguments.kills, arguments.seed, variants)
        except Difference as error:
            print(f"DIFFERENCE: {error}", file=sys.stderr)
            return 1
    print(report(done))
    print(f"0 lost or doubled facts, equal results each time, in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
