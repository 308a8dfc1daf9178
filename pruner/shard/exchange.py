"""Between a case and its runner: the facts that are known, and the step that follows from a new one. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from pruner.answers.readings import Reading
from pruner.records.traces import Fact, Key
from pruner.samplers.base import Request


@dataclass(frozen=True)
class Step:
    """Facts to store (the given one and those derived from it), requests to make and answers to read."""

    facts: tuple[Fact, ...]
    requests: tuple[Request, ...]
    readings: tuple[Reading, ...] = ()


class Exchange:
    """One problem's facts, and what its next step will say.

    Attributes:
        facts: all that are known, by key.
        deliveries: those that the method asked for and has not been given yet.
        num_awaited: requests and readings that were handed over and have not come back.
    """

    def __init__(self, known: Iterable[Fact]) -> None:
        self.facts: dict[Key, Fact] = {fact.key: fact for fact in known}
        self.deliveries: deque[Fact] = deque()
        self.num_awaited = 0
        self._new_facts: list[Fact] = []
        self._requests: list[Request] = []
        self._readings: list[Reading] = []

    def store(self, fact: Fact) -> None:
        """Keep a new fact."""
        self.facts[fact.key] = fact
        self._new_facts.append(fact)

    def request(self, request: Request) -> None:
        """Ask an engine."""
        self.num_awaited += 1
        self._requests.append(request)

    def read(self, reading: Reading) -> None:
        """Have an answer read."""
        self.num_awaited += 1
        self._readings.append(reading)

    def step(self) -> Step:
        """Return all since the last step."""
        step = Step(tuple(self._new_facts), tuple(self._requests), tuple(self._readings))
        self._new_facts.clear()
        self._requests.clear()
        self._readings.clear()
        return step
