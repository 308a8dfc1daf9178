"""All samplers that there are: a module of this package that defines a SamplerConfig with a name is found. See ADDING.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from pruner.samplers.base import SamplerConfig
from pruner.settings.registry import choices, one_of

SAMPLERS = choices("pruner.samplers", SamplerConfig)  # type: ignore[type-abstract]


def with_device_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration's plain values with those filled in that the sampler leaves to the machine, so that what is recorded of a
    run says them and no later attempt takes others."""
    filled, sampler = dict(values), values.get("sampler")
    is_plan = values.get("dry_run") is True
    kind = SAMPLERS.get(str(sampler.get("name"))) if isinstance(sampler, Mapping) else None
    if kind is not None and isinstance(sampler, Mapping):
        nulls = [key for key, value in sampler.items() if value is None]
        defaults = kind.device_defaults(is_plan)
        filled["sampler"] = dict(sampler) | {key: defaults[key] for key in nulls if key in defaults}
        speculate, accounting = values.get("speculate"), values.get("accounting")
        if isinstance(speculate, Mapping) and speculate.get("ahead") is None:
            is_paid = isinstance(accounting, Mapping) and accounting.get("price_per_million_tokens") is not None
            filled["speculate"] = dict(speculate) | {"ahead": 0 if is_paid else defaults.get("ahead", 0)}
    return filled


if TYPE_CHECKING:
    AnySampler: TypeAlias = SamplerConfig
else:
    AnySampler = one_of(SAMPLERS)
