"""Where the final answer is in a trace's text. Pure, and linear in the text's length: a model may write anything."""

from __future__ import annotations

import re
from collections.abc import Sequence

_MARKS = re.compile(
    r"\\(?:boxed|fbox)\s*\{|\\(?:boxed|fbox)\s*(?P<bare>[^\s{}$\\A-Za-z][^\s{}$\\]*)|\\.|[{}]", re.DOTALL
)
_LETTER = re.compile(
    r"^\W{0,40}(?:(?:option|answer|choice)\b\W{0,40})?(?:\\?[a-z]{1,40}\s?\{)?\W{0,40}([a-z])(?:\W{0,40}$|[.):,])",
    re.IGNORECASE,
)
_MAX_LETTER_CHARS = 400


def last_boxed(text: str, is_cut: bool = False) -> str | None:
    r"""Return what the last complete, not empty `\boxed{...}` of the text holds, with balanced braces, or None.

    A box without braces, as in `\boxed 42`, holds everything up to the next space. Of nested boxes the inner one is the last.

    Args:
        is_cut: the text may go on, so that a box without braces at its end is not complete.
    """
    opened: list[tuple[int, bool]] = []  # where a brace's content begins, and whether a box opened it
    last_start, found = -1, None
    for match in _MARKS.finditer(text):
        mark = match.group()
        if match["bare"] is not None:
            if is_cut and match.end() == len(text):
                continue
            last_start, found = match.start("bare"), match["bare"].rstrip(".,;")
        elif mark == "}":
            if opened:
                start, is_box = opened.pop()
                if is_box and start > last_start and text[start : match.start()].strip():
                    last_start, found = start, text[start : match.start()]
        elif mark == "{" or (mark[-1] == "{" and len(mark) > 2):
            opened.append((match.end(), len(mark) > 1))
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


def extract_answer(text: str, patterns: Sequence[str] = (), is_cut: bool = False) -> str | None:
    """Return the final answer of a finished trace, or None.

    Args:
        patterns: regular expressions with one group, tried in order where no box is found; the last match counts.
        is_cut: the text was cut off: what a pattern finds in it may be half a number, so only a closed box counts.
    """
    boxed = last_boxed(text, is_cut)
    if boxed is not None:
        return boxed.strip() or None
    if is_cut:
        return None
    for pattern in patterns:
        matches = re.findall(pattern, text)
        if matches:
            found = matches[-1] if isinstance(matches[-1], str) else matches[-1][0]
            return found.strip() or None
    return None


def option_letter(answer: str) -> str | None:
    r"""Return the option letter of a multiple-choice answer: `B`, `(B)`, `\text{B}`, `B. because ...`; None if unclear."""
    match = _LETTER.match(answer.strip()[:_MAX_LETTER_CHARS].replace("$", ""))
    return match.group(1).upper() if match else None
