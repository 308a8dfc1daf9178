"""What a checkpoint holds, fact by fact, and a store that loses, doubles or alters some: each harness must notice that."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from pruner.checkpoint.store import Store
from pruner.records.schemas import KEYS
from pruner.records.traces import Ending, Fact, Probe, Segment, Verdict

# Columns that differ between two runs that must be the same: when a fact was made, and what the engine's cache held.
_MEASURED = ("attempt", "committed_at", "cached_tokens")
_KINDS: dict[str, type[Fact]] = {"segments": Segment, "probes": Probe, "verdicts": Verdict, "endings": Ending}
DAMAGES = ("dropped", "doubled", "altered")
# One fact of so many is damaged, the first one too.
_EVERY = 5


class Difference(Exception):
    """What must never happen."""


@dataclass(frozen=True)
class Held:
    """A fact as the checkpoint holds it, and the attempt that made it."""

    content: tuple[Any, ...]
    attempt: int


# By table and key.
Facts = dict[tuple[Any, ...], Held]


def facts_of(*checkpoints: Path) -> Facts:
    """Return all that is committed in some shards' checkpoints; one that is not there holds nothing.

    Raises:
        Difference: a fact is there twice.
    """
    found: Facts = {}
    for path in checkpoints:
        if not path.exists():
            continue
        with duckdb.connect(str(path), read_only=True) as connection:
            for name, keys in KEYS.items():
                rows = connection.sql(f"FROM {name}").to_arrow_table().to_pylist()
                own = {(name, *(row[key] for key in keys)): _held(row, keys) for row in rows}
                if len(own) != len(rows) or own.keys() & found.keys():
                    raise Difference(f"{path}: doubled facts in {name}")
                found |= own
    return found


def _held(row: dict[str, Any], keys: Sequence[str]) -> Held:
    content = [value for name, value in row.items() if name not in (*keys, *_MEASURED)]
    return Held(tuple(tuple(value) if isinstance(value, list) else value for value in content), row["attempt"])


def contents(facts: Facts) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Return the facts without who made them."""
    return {key: held.content for key, held in facts.items()}


def check_same(expected: Facts, found: Facts, may_have_more: bool = False) -> None:
    """Compare the facts of two runs.

    Args:
        may_have_more: segments that a method never asked for, from speculation.

    Raises:
        Difference: one is missing, is another, or is too many.
    """
    wanted, own = contents(expected), contents(found)
    for key, content in wanted.items():
        if own.get(key) != content:
            raise Difference(f"{key}: {'another fact' if key in own else 'no such fact'}")
    more = [key for key in own.keys() - wanted.keys() if not (may_have_more and key[0] == "segments")]
    if more:
        raise Difference(f"{len(more)} facts too many, first {min(more)}")


def damaging(table: str, damage: str) -> Callable[[], None]:
    """Return what makes the store of this process drop, double or alter every fifth fact of a table, before it commits it."""

    def patch() -> None:
        append, numbers = Store.append, itertools.count()

        def damaged(store: Store, facts: Sequence[Fact], *more: Any) -> None:
            kept: list[Fact] = []
            for fact in facts:
                is_hurt = isinstance(fact, _KINDS[table]) and next(numbers) % _EVERY == 0
                kept += _hurt(fact, damage) if is_hurt else [fact]
            append(store, kept, *more)

        Store.append = damaged  # type: ignore[method-assign]

    return patch


def _hurt(fact: Fact, damage: str) -> list[Fact]:
    if damage == "dropped":
        return []
    return [fact, fact] if damage == "doubled" else [_altered(fact)]


def _altered(fact: Fact) -> Fact:
    if isinstance(fact, Segment):
        return replace(fact, token_ids=(1 + fact.token_ids[0], *fact.token_ids[1:]))
    if isinstance(fact, Probe):
        return replace(fact, text=f"{fact.text}1")
    if isinstance(fact, Verdict):
        return replace(fact, score=0.5)
    return replace(fact, answer_key=f"{fact.answer_key}1")
