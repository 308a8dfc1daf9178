"""Which of a configuration decides a run's results, and so must not change when the run goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pruner.config.job import Config

# What may change between two attempts at one run: where and how fast it works, what it shows, how it weighs.
NOT_IDENTITY = (
    "dry_run",
    "answer_time_limit_s",
    "run",
    "shard",
    "checkpoint",
    "progress",
    "results",
    "accounting",
    "problems.name",
    "problems.path",
    "problems.limit",
    "model.path",
    "model.revision",
    "model.gpu_memory_utilization",
    "model.trust_remote_code",
    "sampler.source",
    "sampler.max_running_traces",
    "sampler.gpus",
    "sampler.in_process",
    "sampler.kv_cache_gib",
    "sampler.step_s",
    "judge.path",
    "judge.base",
    "judge.source",
    "judge.adapter",
    "judge.colocate",
    "judge.gpus",
    "judge.gpu_memory_utilization",
)
# What decided the results of runs that earlier versions began, and no longer does.
FORMERLY_IDENTITY = frozenset(("answer_time_limit_s",))


def identity(config: Config, fingerprints: Mapping[str, str]) -> dict[str, str]:
    """Return everything that a run's results are a function of, as dotted key -> JSON value.

    Args:
        fingerprints: of contents that config only points at, e.g. `problems` and `model`.
    """
    flat = flatten(config.model_dump(mode="json"))
    drop = NOT_IDENTITY if config.method.uses_judge else (*NOT_IDENTITY, "judge", "prefix")
    if not config.method.uses_judge and config.method.asked_tokens is None:
        drop = (*drop, "model.probe")
    if config.sampler.name == "replay":
        drop = (*drop, "model")
    if config.prefix.name == "fixed":
        drop = (*drop, "model.prefix_tokens")
    kept = {
        key: json.dumps(value, sort_keys=True)
        for key, value in flat.items()
        if not any(key == name or key.startswith(name + ".") for name in drop)
    }
    return kept | {f"fingerprint.{name}": json.dumps(value) for name, value in sorted(fingerprints.items())}


def differing_keys(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return `key: old -> new` for every key of two identities that differs."""
    keys = sorted((old.keys() | new.keys()) - FORMERLY_IDENTITY)
    return [
        f"{key}: {old.get(key, 'unset')} -> {new.get(key, 'unset')}" for key in keys if old.get(key) != new.get(key)
    ]


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one with dotted keys; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return flat
