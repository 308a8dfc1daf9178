"""Whether an answer is right: math-verify's word on a gold answer and an answer, lenient and in that one direction.

It decides `correct` and nothing else, once for each trace; votes and judges go by keys. Runs in the worker process only, since
sympy can run for long.
"""

from __future__ import annotations

import re

MAX_CHARS = 4000
_WORDS = re.compile(r"[A-Za-z][A-Za-z ]{2,}")
_NUMBERS = re.compile(r"[\d.,\s+-]+")
_WRAPPED = re.compile(r"\\(?:text|mathrm|textbf|mbox)\s*\{([A-Za-z ]{3,})\}")


def bare_words(text: str) -> str | None:
    """Return an answer's words without case, None if it is none of words only."""
    bare = _WRAPPED.sub(r"\1", text.strip("$ ")).strip(" .")
    return bare.casefold() if _WORDS.fullmatch(bare) else None


def grade(gold: str, answer: str) -> int:
    """Return 1 if math-verify takes the answer for the gold one, else 0. What it cannot parse is wrong.

    Source: math-verify's `verify(gold, answer)`, with its own extraction from `$...$`.
    """
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    config = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]

    def is_same(left: str, right: str) -> bool:
        read = [parse(text, extraction_config=config, parsing_timeout=None) for text in (left, right)]
        return bool(read[0] and read[1]) and bool(verify(read[0], read[1], timeout_seconds=None))

    if is_same(_wrapped(gold), _wrapped(answer)):
        return 1
    # As plain numbers, `1 000` and `1000,99` are read in other ways than as LaTeX.
    return int(bool(_NUMBERS.fullmatch(gold) and _NUMBERS.fullmatch(answer)) and is_same(gold, answer))


def _wrapped(text: str) -> str:
    """Return a text as math-verify finds LaTeX in it: what a box held has lost its signs of mathematics."""
    has_signs = any(sign in text for sign in ("$", "\\[", "\\(", "\\boxed"))
    return text if has_signs else "$" + " ".join(text.split()) + "$"
