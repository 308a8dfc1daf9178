"""Everything that the doctor looks at, in order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from pruner.config.job import Config
from pruner.doctor import engines, machine
from pruner.doctor.findings import Finding, findings
from pruner.doctor.resuming import killed_and_continued
from pruner.errors import EngineError, InputError, Unavailable
from pruner.shard.inputs import read_inputs


def examined(config: Config, overrides: Sequence[str], with_engines: bool) -> Iterator[Finding]:
    """Make all checks; engines are not started where what they need has failed.

    Args:
        overrides: of the main job, as the user gave them.
    """
    has_failed = False
    for finding in findings(machine.checks(config)):
        has_failed = has_failed or finding.level == "FAIL"
        yield finding
    if not with_engines:
        return
    if has_failed:
        yield Finding("engines", "WARN", "not started", "Mend what failed first.")
        return
    for finding in _with_engines(config) if config.sampler.has_engine else ():
        yield finding
        if (finding.name, finding.level) == ("engines", "FAIL"):
            return
    yield from findings([("resume", lambda: killed_and_continued(config, overrides))])


def _with_engines(config: Config) -> Iterator[Finding]:
    started = time.monotonic()
    try:
        with engines.opened(config, read_inputs(config)) as running:
            took_s = time.monotonic() - started
            yield Finding("engines", "PASS", f"loaded in {took_s:.0f} s", figures={"load_s": round(took_s, 1)})
            yield from findings(engines.checks(running))
    except InputError as error:
        yield Finding("engines", "FAIL", error.faults[0], "; ".join(error.faults[1:]))
    except Unavailable as error:
        yield Finding("engines", "FAIL", str(error), "Look whether the servers are up.")
    except EngineError as error:
        advice = "What vLLM says of it is above; VLLM_LOGGING_LEVEL=INFO shows more."
        yield Finding("engines", "FAIL", str(error), advice)
