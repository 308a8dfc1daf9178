"""Drives a target with drawn input and counts how it ended."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from tests.fuzz.target import Target


@dataclass
class Outcomes:
    """How many inputs ended with exit code 0, with 2, and otherwise: another code, a traceback, a hang, a wrong result."""

    good: int = 0
    refused: int = 0
    other: int = 0

    @property
    def tried(self) -> int:
        return self.good + self.refused + self.other


def fuzz(target: Target, examples: int, outcomes: Outcomes, seed: int | None = None) -> None:
    """Try a target; raises what the first finding raised, made as small as may be.

    Args:
        seed: None: the same inputs every time.
    """

    def check(drawn: object) -> None:
        try:
            code = target.check(drawn)
        except BaseException:
            outcomes.other += 1
            raise
        assert code in (0, 2), code
        if code:
            outcomes.refused += 1
        else:
            outcomes.good += 1

    wanted = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=seed is None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink) if seed is None else (Phase.generate,),
    )
    test = wanted(given(target.draw)(check))
    (test if seed is None else seeded(seed)(test))()
