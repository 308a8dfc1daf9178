"""Which of a configuration decides a run's results, and so must not change when the run goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pruner.config.job import Config
from pruner.judges.registry import JUDGES
from pruner.methods.registry import METHODS
from pruner.samplers.registry import SAMPLERS
from pruner.settings.dotted import AS_BEFORE, flatten, is_within
from pruner.settings.section import Choice

# What may change between two attempts at one run: where and how fast it works, what it shows, how it weighs.
NOT_IDENTITY = (
    "dry_run",
    "answer_time_limit_s",
    "run",
    "shard",
    "checkpoint",
    "progress",
    "results",
    "speculate",
    "accounting",
    "tracker",
    "problems.name",
    "problems.path",
    "problems.limit",
    "problems.columns",
    "model.path",
    "model.revision",
    "model.gpu_memory_utilization",
    "model.trust_remote_code",
    "model.thinking_end",
)


def identity(config: Config, fingerprints: Mapping[str, str]) -> dict[str, str]:
    """Return everything that a run's results are a function of, as dotted key -> JSON value.

    Args:
        fingerprints: of contents that config only points at, e.g. `problems` and `model`.
    """
    drop = list(NOT_IDENTITY)
    chosen = {"prefix": config.prefix, "method": config.method, "judge": config.judge, "sampler": config.sampler}
    for section, choice in chosen.items():
        drop += [*(f"{section}.{key}" for key in choice.not_identity), *choice.unused_keys]
    kept = {
        key: json.dumps(value, sort_keys=True)
        for key, value in flatten(config.model_dump(mode="json")).items()
        if not is_within(key, drop) and not (key in AS_BEFORE and value == AS_BEFORE[key])
    }
    return kept | {f"fingerprint.{name}": json.dumps(value) for name, value in sorted(fingerprints.items())}


def keys_outside_identity() -> tuple[str, ...]:
    """Return every key that may change between two attempts at one run, whichever method, judge and sampler it has."""
    kinds: dict[str, Mapping[str, type[Choice]]] = {"method": METHODS, "judge": JUDGES, "sampler": SAMPLERS}
    own = {
        f"{section}.{key}" for section, kind in kinds.items() for choice in kind.values() for key in choice.not_identity
    }
    return (*NOT_IDENTITY, *sorted(own))
