"""The child process of reader.AnswerReader: reads texts or answers as JSON lines, says answer, key and grade.

It is started as `python -m pruner.answers.worker KIND TIME_LIMIT_S PATTERNS`, ignores the signals that stop jobs, and ends when its parent
closes the pipe. A key takes a bounded amount of work; only grading has a limit of time, beyond which an answer is wrong, as it
is to math-verify itself. Grading that cannot be interrupted ends the process with SIGVTALRM; the parent then asks a new one for the
key alone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import signal
import sys
from types import FrameType
from typing import Any

from pruner.answers.extraction import extract_answer
from pruner.answers.registry import KINDS
from pruner.system.processes import end_with_parent

MEMORY_BYTES = 4 << 30


class OutOfTime(BaseException):
    """Grading used up its processor time. No Exception: sympy swallows these."""


# How much later than the handler the kernel ends the process: a loop in native code (a regular expression) sees no handler.
END_AFTER_S = 0.4


def _out_of_time(signum: int, frame: FrameType | None) -> None:
    raise OutOfTime


def graded(gold: str | None, answer: str, kind: str, time_limit_s: float) -> int | None:
    """Return 1 if the answer is right, 0 if it is wrong, None without a gold answer."""
    if gold is None:
        return None
    if gold == answer:
        return 1
    plain = KINDS[kind].plain_grade(gold, answer)
    if plain is not None:
        return plain
    try:
        signal.setitimer(signal.ITIMER_PROF, time_limit_s)
        signal.setitimer(signal.ITIMER_VIRTUAL, time_limit_s + END_AFTER_S)
        return KINDS[kind].grade(gold, answer)
    except (Exception, OutOfTime):  # whatever sympy or the parser raises on a model's text means: not shown to be right
        return 0
    finally:
        # The signal may come between the last line above and this one.
        with contextlib.suppress(OutOfTime):
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def answered(request: dict[str, Any], kind: str, time_limit_s: float, patterns: list[str]) -> dict[str, Any]:
    """Return the answer with its key and its grade; an answer of None where the text gives none."""
    answer = request["answer"]
    if answer is None and request["text"] is not None:
        answer = extract_answer(request["text"], patterns, bool(request.get("is_cut")))
    if answer is None:
        return {"answer": None}
    is_graded = not request.get("is_given_up")
    correct = graded(request["gold"], answer, kind, time_limit_s) if is_graded else 0
    return {"answer": answer, "answer_key": KINDS[kind].key(answer), "correct": correct}


def main(kind: str, time_limit_s: float, patterns: list[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
    signal.signal(signal.SIGPROF, _out_of_time)
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    logging.disable(logging.CRITICAL)
    KINDS[kind].prepare()
    for line in sys.stdin:
        reply = answered(json.loads(line), kind, time_limit_s, patterns)
        try:
            sys.stdout.write(json.dumps(reply) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:  # the parent is gone
            os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), json.loads(sys.argv[3]))
