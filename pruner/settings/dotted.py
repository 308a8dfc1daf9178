"""Dotted keys: a nested configuration as one flat mapping, and what differs between two of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pruner.settings.model import FIXED_DATE

# What decided the results of runs that earlier versions began, and no longer does.
FORMERLY_IDENTITY = frozenset(("answer_time_limit_s",))
# Keys that came later, at the values with which everything is as it was before: they are left out of an identity, so that runs go on that
# were begun without them.
AS_BEFORE: dict[str, Any] = {
    "problems.cut": "any",
    "sampler.aligned": False,
    "model.hf_overrides": {},
    "model.prompt.date": FIXED_DATE,
    "judge.opening": "",
    "judge.correlation": 0.0,
    "method.similarity": "probabilities",
}


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
    unset = {key: json.dumps(AS_BEFORE[key]) if key in AS_BEFORE else "unset" for key in keys}
    return [
        f"{key}: {old.get(key, unset[key])} -> {new.get(key, unset[key])}"
        for key in keys
        if old.get(key) != new.get(key)
    ]
