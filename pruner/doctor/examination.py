"""Everything that the doctor looks at, in order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from pruner.config.job import Config
from pruner.doctor import engines, machine
from pruner.doctor.findings import Finding, findings
from pruner.doctor.resuming import killed_and_continued
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
    if config.sampler.has_engine:
        with ExitStack() as stack:
            running: list[engines.Engines] = []

            def start() -> Finding:
                started = time.monotonic()
                running.append(stack.enter_context(engines.opened(config, read_inputs(config))))
                took_s = time.monotonic() - started
                return Finding("engines", "PASS", f"loaded in {took_s:.0f} s", figures={"load_s": round(took_s, 1)})

            yield from findings([("engines", start)])
            if not running:
                return
            yield from findings(engines.checks(running[0]))
    yield from findings([("resume", lambda: killed_and_continued(config, overrides))])
