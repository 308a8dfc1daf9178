"""An engine's process as the job starts one, with a simulated engine in it that does something bad at a random moment.

`ProcessSampler` starts it with `python -m tests.chaos.faulty_engine`; what it did is a line in the file that it is given.
"""

from __future__ import annotations

import os
import random
import signal
import struct
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pruner.samplers import engine_process
from pruner.samplers.base import Completion
from pruner.samplers.simulated import SimulatedSampler, SimulatedSamplerConfig

FAULTS = (
    "aborts requests",
    "answers short",
    "answers twice",
    "answers late",
    "answers what was not asked",
    "dies",
    "dies mid-message",
    "dies while loading",
    "fails while loading",
    "hangs",
    "hangs mid-message",
    "raises",
    "sends nonsense",
)
LATEST_STEP = 12


@dataclass(frozen=True)
class FaultySpec:
    """A simulated engine, and where it writes down what it did. faults: of which it draws one."""

    config: SimulatedSamplerConfig
    seed: int
    log: Path
    faults: tuple[str, ...] = FAULTS


class FaultySampler(SimulatedSampler):
    """Works as it should until its step comes; what it does to its messages is done in `send`."""

    def __init__(self, spec: FaultySpec) -> None:
        super().__init__(spec.config, spec.seed)
        draw = random.Random(os.urandom(8))
        self.fault = draw.choice(spec.faults)
        self._steps_left = draw.randrange(1, LATEST_STEP)
        self._log = spec.log
        if "loading" in self.fault:
            self.note()
            if self.fault.startswith("fails"):
                raise RuntimeError("no such device")
            os.kill(os.getpid(), signal.SIGKILL)

    def note(self) -> None:
        with self._log.open("a") as log:
            log.write(f"{self.fault}\n")

    def step(self) -> list[Completion]:
        completions = super().step()
        if self.is_due(completions):
            if self.fault == "raises":
                self.note()
                raise ValueError("something of vLLM's own\nwith a second line")
            if self.fault == "dies":
                self.note()
                os.kill(os.getpid(), signal.SIGKILL)
            if self.fault == "hangs":
                self.note()
                time.sleep(1000)
        return completions

    def is_due(self, completions: list[Completion]) -> bool:
        self._steps_left -= bool(completions)
        return self._steps_left == 0 and bool(completions)


class FaultyConnection(Connection):
    """Spoils one message with completions."""

    sampler: FaultySampler | None = None

    def send(self, message: Any) -> None:
        kind, value = message
        sampler = FaultyConnection.sampler
        if kind != "step" or sampler is None or sampler._steps_left != 0 or not value[2]:
            super().send(message)
            return
        num_received, num_running, completions, *tokens = value
        sampler._steps_left = -1
        first = completions[0]
        half = first.num_tokens // 2
        cut = replace(first, num_tokens=half, token_ids=first.token_ids[:half], finish_reason=None)
        spoiled = {
            "aborts requests": [replace(cut, finish_reason="abort"), *completions[1:]],
            "answers short": [*completions[1:], cut],
            "answers twice": [*completions, first],
            "answers what was not asked": [*completions, replace(first, key=replace(first.key, problem_id="?"))],
        }
        sampler.note()
        if sampler.fault == "answers late":
            time.sleep(0.3)
        elif sampler.fault in ("dies mid-message", "hangs mid-message"):
            super().send(message)  # all of it fits the pipe: what the job gets is this, and then half of another
            os.write(self.fileno(), struct.pack("!i", 1000) + b"half")
            if sampler.fault.startswith("dies"):
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(1000)
        elif sampler.fault == "sends nonsense":
            os.write(self.fileno(), struct.pack("!i", 16) + os.urandom(16))
            time.sleep(1000)
        super().send((kind, (num_received, num_running, spoiled.get(sampler.fault, completions), *tokens)))


def open_faulty(spec: FaultySpec) -> SimulatedSampler:
    FaultyConnection.sampler = FaultySampler(spec)
    return FaultyConnection.sampler


if __name__ == "__main__":
    engine_process.main(open_faulty, FaultyConnection)
