"""Dotted keys: a nested configuration as one flat mapping, and what differs between two of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# What decided the results of runs that earlier versions began, and no longer does.
FORMERLY_IDENTITY = frozenset(("answer_time_limit_s",))


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one with dotted keys; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return flat


def is_within(key: str, names: Iterable[str]) -> bool:
    """Say whether a dotted key is one of these names or lies below one."""
    return any(key == name or key.startswith(f"{name}.") for name in names)


def differing_keys(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return `key: old -> new` for every key of two identities that differs."""
    keys = sorted((old.keys() | new.keys()) - FORMERLY_IDENTITY)
    return [
        f"{key}: {old.get(key, 'unset')} -> {new.get(key, 'unset')}" for key in keys if old.get(key) != new.get(key)
    ]
