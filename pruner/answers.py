"""Final answers: extract them from a trace's text and tell whether two are equal.

Everything here is pure but the last resort of `Equivalence`: symbolic comparison by math-verify, which runs in a child
process (equivalence_worker.py) because sympy can run for ever and its own time limit works in a main thread only.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from types import TracebackType
from typing import IO, Self

MAX_SYMBOLIC_CHARS = 400
_MAX_REMEMBERED = 100_000
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_LETTER = re.compile(
    r"^\W*(?:(?:option|answer|choice)\b\W*)?(?:\\?[a-z]+\s*\{)?\W*([a-z])(?:\W*$|[.):,])", re.IGNORECASE
)
_WORDS = re.compile(r"[A-Za-z][A-Za-z ]{2,}")
_FRACTION = re.compile(r"^(-?)\\[dt]?frac\{(-?\d+)\}\{(-?\d+)\}$")
_SHORT_FRACTION = re.compile(r"^(-?)\\[dt]?frac(\d)(\d)$")


def last_boxed(text: str) -> str | None:
    r"""Return what the last complete, not empty `\boxed{...}` of the text holds, with balanced braces, or None."""
    found = None
    for match in _BOX.finditer(text):
        content = balanced(text, match.end())
        if content is not None and content.strip():
            found = content
    return found


def balanced(text: str, start: int) -> str | None:
    """Return the text from `start` to the brace that closes what was opened just before it; None if it never closes."""
    depth = 1
    position = start
    while position < len(text):
        char = text[position]
        if char == "\\":
            position += 2
            continue
        depth += {"{": 1, "}": -1}.get(char, 0)
        if depth == 0:
            return text[start:position]
        position += 1
    return None


def extract_answer(text: str, patterns: Sequence[str] = ()) -> str | None:
    """Return the final answer of a finished trace, or None.

    Args:
        patterns: regular expressions with one group, tried in order where no box is found; the last match counts.
    """
    boxed = last_boxed(text)
    if boxed is not None:
        return boxed.strip() or None
    for pattern in patterns:
        matches = re.findall(pattern, text)
        if matches:
            found = matches[-1] if isinstance(matches[-1], str) else matches[-1][0]
            return found.strip() or None
    return None


def option_letter(answer: str) -> str | None:
    r"""Return the option letter of a multiple-choice answer: `B`, `(B)`, `\text{B}`, `B. because ...`; None if unclear."""
    match = _LETTER.match(answer.strip().replace("$", ""))
    return match.group(1).upper() if match else None


def normalize(answer: str) -> str:
    """Strip what never changes an answer's meaning: outer dollars, spaces, `\\left`, thin spaces, a final full stop."""
    text = answer.strip().strip("$").strip()
    for old, new in (("\\left", ""), ("\\right", ""), ("\\!", ""), ("\\,", ""), ("\\;", ""), ("dfrac", "frac")):
        text = text.replace(old, new)
    text = text.replace("tfrac", "frac").replace("\\$", "").replace("\\%", "%")
    text = re.sub(r"\s+", " ", text)
    return text.rstrip(".").strip()


def numeric(answer: str) -> Fraction | None:
    """Return the exact value of a plain number, fraction or percentage-free decimal, or None."""
    text = normalize(answer).replace(" ", "")
    text = re.sub(r"(?<=\d),(?=\d{3}(?:\D|$))", "", text)
    match = _FRACTION.match(text) or _SHORT_FRACTION.match(text)
    if match:
        sign, top, bottom = match.groups()
        return None if int(bottom) == 0 else Fraction(int(top), int(bottom)) * (-1 if sign else 1)
    if re.fullmatch(r"-?\d{1,40}/\d{1,40}", text):
        top, bottom = text.split("/")
        return None if int(bottom) == 0 else Fraction(int(top), int(bottom))
    if not re.fullmatch(r"[-+]?(?:\d{1,60}(?:\.\d{0,60})?|\.\d{1,60})", text):
        return None
    try:
        return Fraction(Decimal(text))
    except (InvalidOperation, ValueError):
        return None


class Equivalence:
    """Says whether two answers of one problem are equal. Call it like a function; it remembers what it compared.

    Args:
        kind: `math` (numbers, then math-verify) or `choice` (option letters).
        time_limit_s: processor seconds that one symbolic comparison may take; beyond it the two count as different.

    Symmetric and reflexive by construction; `21+49=70` equals `70` (math-verify reads the last side of an equation).
    """

    def __init__(self, kind: str, time_limit_s: float = 5.0) -> None:
        if kind not in ("math", "choice"):
            raise ValueError(f"answers: got kind {kind!r}, expected math or choice")
        self._kind = kind
        self._time_limit_s = time_limit_s
        self._known: dict[tuple[str, str], bool] = {}
        self._worker: SymbolicWorker | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def __call__(self, left: str, right: str) -> bool:
        if left == right:
            return True
        key = (left, right) if left < right else (right, left)
        if key not in self._known:
            self._known[key] = self._compare(*key)
        return self._known[key]

    def forget(self) -> None:
        """Drop what is remembered once it is much; called when a problem is finished, so that memory stays bounded. Problems that
        a replay repeats have the same answers again."""
        if len(self._known) > _MAX_REMEMBERED:
            self._known.clear()

    def _compare(self, left: str, right: str) -> bool:
        if self._kind == "choice":
            letters = option_letter(left), option_letter(right)
            return letters[0] is not None and letters[0] == letters[1]
        if normalize(left) == normalize(right):
            return True
        values = numeric(left), numeric(right)
        if values[0] is not None and values[1] is not None:
            return values[0] == values[1]
        if _WORDS.fullmatch(normalize(left)) and _WORDS.fullmatch(normalize(right)):
            # To algebra a word is a product of letters, and `listen` would equal `silent`.
            return normalize(left).casefold() == normalize(right).casefold()
        if max(len(left), len(right)) > MAX_SYMBOLIC_CHARS:
            return False
        if self._worker is None:
            self._worker = SymbolicWorker(self._time_limit_s)
        return self._worker.equal(left, right)


class SymbolicWorker:
    """A child process that compares with math-verify, is killed when it hangs, and started again when next needed."""

    def __init__(self, time_limit_s: float) -> None:
        self._time_limit_s = time_limit_s
        self._process: subprocess.Popen[str] | None = None

    def equal(self, left: str, right: str) -> bool:
        """Return math-verify's word on two answers; False if it runs out of time or dies."""
        process = self._start()
        # The worker limits its own processor time; this is for one that sleeps or starves.
        watchdog = threading.Timer(60 + 10 * self._time_limit_s, process.kill)
        watchdog.start()
        try:
            line = self._ask(process, json.dumps([left, right]))
        finally:
            watchdog.cancel()
        if not line:
            self.close()
            return False
        return bool(json.loads(line))

    def _ask(self, process: subprocess.Popen[str], line: str) -> str:
        requests: IO[str] | None = process.stdin
        replies: IO[str] | None = process.stdout
        assert requests is not None and replies is not None
        try:
            requests.write(line + "\n")
            requests.flush()
            return replies.readline()
        except BrokenPipeError:
            return ""

    def _start(self) -> subprocess.Popen[str]:
        if self._process is None:
            command = [sys.executable, "-m", "pruner.equivalence_worker", str(self._time_limit_s)]
            # A session of its own: a Slurm signal to the job's processes must not end it before its parent has finished.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
        return self._process

    def close(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self._process.wait()
        self._process = None
