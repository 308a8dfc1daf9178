"""The child process of answers.SymbolicWorker: reads pairs of answers as JSON lines, answers true or false.

It is started as `python -m pruner.equivalence_worker TIME_LIMIT_S`, limits its own processor time and memory, ignores the
signals that stop jobs, and ends when its parent closes the pipe.
"""

from __future__ import annotations

import json
import logging
import math
import resource
import signal
import sys
from types import FrameType

MEMORY_BYTES = 4 << 30


class OutOfTime(Exception):
    """The comparison used up its processor time."""


def _out_of_time(signum: int, frame: FrameType | None) -> None:
    raise OutOfTime


def _limit_processor_seconds(limit_s: float) -> None:
    """Let the kernel end this process that much processor time from now: a loop in native code sees no signal handler."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(usage.ru_utime + usage.ru_stime + limit_s), hard))


def equal(left: str, right: str) -> bool:
    """Compare in both directions, since math-verify treats gold and prediction differently."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    def read(answer: str) -> list[object]:
        config = [LatexExtractionConfig(), ExprExtractionConfig()]
        return list(parse(f"${answer}$", extraction_config=config, parsing_timeout=None))

    first, second = read(left), read(right)
    if not first or not second:
        return False
    return bool(verify(first, second, timeout_seconds=None) or verify(second, first, timeout_seconds=None))


def main(time_limit_s: float) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, _out_of_time)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    logging.disable(logging.CRITICAL)
    equal("1", "1")  # the imports of sympy are not the first pair's time
    for line in sys.stdin:
        left, right = json.loads(line)
        _limit_processor_seconds(time_limit_s + 2)
        try:
            signal.setitimer(signal.ITIMER_PROF, time_limit_s)
            verdict = equal(left, right)
            signal.setitimer(signal.ITIMER_PROF, 0)
        except Exception:  # whatever sympy or the parser raises on a model's text means: not shown to be equal
            signal.setitimer(signal.ITIMER_PROF, 0)
            verdict = False
        sys.stdout.write(json.dumps(verdict) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(float(sys.argv[1]))
