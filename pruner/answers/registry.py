"""All kinds of answers that there are: a module of kinds/ that defines an AnswerKind with a name is found. See ADDING.md."""

from __future__ import annotations

import importlib
import pkgutil
from functools import lru_cache

import pruner.answers.kinds as package
from pruner.answers.kinds.base import AnswerKind


def _found() -> dict[str, AnswerKind]:
    found: dict[str, AnswerKind] = {}
    for each in sorted(pkgutil.iter_modules(package.__path__), key=lambda each: each.name):
        module = importlib.import_module(f"{package.__name__}.{each.name}")
        for kind in vars(module).values():
            if (
                isinstance(kind, type)
                and issubclass(kind, AnswerKind)
                and kind.__module__ == module.__name__
                and hasattr(kind, "name")
            ):
                if kind.name in found:
                    raise TypeError(f"{module.__name__}: the name {kind.name} is taken")
                found[kind.name] = kind()
    return dict(sorted(found.items()))


KINDS = _found()


def answer_key(answer: str, kind: str = "math") -> str:
    """Return the canonical key of an answer, at most 120 characters."""
    return KINDS[kind].key(answer)


@lru_cache(maxsize=100_000)
def cached_key(answer: str, kind: str) -> str:
    """Return `answer_key`, remembered: recordings repeat their answers."""
    return answer_key(answer, kind)


def known_kind(name: str) -> str:
    """Return the name of a kind of answers. Raises ValueError: there is none such."""
    if name not in KINDS:
        raise ValueError(f"got {name!r}, expected one of {', '.join(KINDS)}")
    return name
