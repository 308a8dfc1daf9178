"""Run the main job with an engine that aborts, dies, hangs, lies and answers short, resume it, and compare.

    python -m tests.chaos.engine_faults --faults 1000 --seed 0

Every start of the engine does one bad thing after a few of its answers. It prints how many of which were done, and ends with 1
at the first difference from a run with an engine that works.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from pruner.samplers.base import SamplerContext
from pruner.samplers.process import ProcessSampler
from pruner.samplers.simulated import SimulatedSamplerConfig
from tests.chaos.facts import Difference
from tests.chaos.faulty_engine import FAULTS, FaultySpec
from tests.chaos.harness import SLOW, References, report, start, wait

RESTARTS = 10
STALL_S = 1.0
COMMAND = (sys.executable, "-m", "tests.chaos.faulty_engine")
METHODS = ("method=cons", "method=deepprune", "method=adaptive method.wave=2")


def faulty(log: Path) -> None:
    """In a forked process: put the simulated engine into a process that misbehaves."""

    def open_faulty(config: SimulatedSamplerConfig, context: SamplerContext) -> ProcessSampler:
        return ProcessSampler("the engine", FaultySpec(config, context.seed, log), STALL_S, 60.0, COMMAND)

    SimulatedSamplerConfig.open = open_faulty  # type: ignore[method-assign, assignment]
    SimulatedSamplerConfig.num_restarts = RESTARTS  # type: ignore[assignment, method-assign]


def disturb(folder: Path, faults: int, seed: int) -> Counter[str]:
    """Run jobs on engines with faults until there were so many; return how many of which.

    Raises:
        Difference: something that is not whole was taken for a fact, something was lost, or a job hung.
    """
    draw = random.Random(seed)
    done: Counter[str] = Counter()
    references = References(folder)
    log = folder / "faults.log"
    log.touch()
    number = 0
    while len(log.read_text().splitlines()) < faults:
        name = draw.choice(METHODS)
        number += 1
        root = folder / f"run{number}"
        code: int | None = None
        while code != 0:
            code = wait(start(root, *SLOW, *name.split(), before=lambda: faulty(log)), 120)
            done["calls of the job"] += 1
            text = root.with_suffix(".log").read_text()
            if code not in (0, 1) or "Traceback" in text:
                raise Difference(f"{root.name}: exit code {code}\n{text[-3000:]}")
        try:
            found = references.of(tuple(name.split())).check(root)
        except Difference as error:
            raise Difference(f"{root.name} ({name}): {error}") from None
        done["runs finished and equal"] += 1
        done["facts compared"] += len(found)
        shutil.rmtree(root)
    done["faults"] = len(log.read_text().splitlines())
    done.update(f"  {line}" for line in log.read_text().splitlines())
    return done


def main() -> int:
    parser = argparse.ArgumentParser(description="Run jobs on engines that misbehave and compare.")
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = disturb(Path(folder), arguments.faults, arguments.seed)
        except Difference as error:
            print(f"DIFFERENCE: {error}", file=sys.stderr)
            return 1
    print(report(done))
    kinds = sum(f"  {fault}" in done for fault in FAULTS)
    print(f"{kinds} kinds; 0 facts that are not whole, 0 lost, in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
