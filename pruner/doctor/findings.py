"""The doctor's findings: one line each, with what to do about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pruner.errors import AnswerError, CheckpointError, EngineError, InputError, Unavailable
from pruner.system.lines import printable

Level = Literal["PASS", "WARN", "FAIL"]
Figure = float | int | str | bool | None


@dataclass(frozen=True)
class Finding:
    """One check's result.

    Attributes:
        what: the result in words.
        advice: what to do; empty if nothing.
        figures: measurements, for programs.
    """

    name: str
    level: Level
    what: str
    advice: str = ""
    figures: Mapping[str, Figure] = field(default_factory=dict)


Check = Callable[[], Finding]


def findings(checks: Sequence[tuple[str, Check]]) -> Iterator[Finding]:
    """Make the checks one after the other. One that raises is a failed one."""
    for name, check in checks:
        try:
            yield check()
        except InputError as error:
            yield Finding(name, "FAIL", error.faults[0], "; ".join(error.faults[1:]))
        except EngineError as error:
            yield Finding(
                name, "FAIL", str(error), "What vLLM says of it is above; VLLM_LOGGING_LEVEL=INFO shows more."
            )
            return  # nothing more can be asked of it
        except Unavailable as error:
            yield Finding(name, "FAIL", str(error), "Look whether the servers are up.")
            return
        except (AnswerError, CheckpointError, OSError) as error:
            yield Finding(name, "FAIL", str(error))


def line(finding: Finding) -> str:
    """Return a finding as it is printed: a line, and a second one where there is advice."""
    text = f"{finding.level}  {finding.name:<12} {printable(finding.what)}"
    return f"{text}\n      {'':<12} {printable(finding.advice)}" if finding.advice else text


def total(made: Sequence[Finding]) -> str:
    counts = {level: sum(each.level == level for each in made) for level in ("PASS", "WARN", "FAIL")}
    return ", ".join(f"{count} {level}" for level, count in counts.items() if count)


def to_json(made: Sequence[Finding]) -> str:
    return json.dumps([vars(each) for each in made], indent=1)
