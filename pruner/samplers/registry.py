"""All samplers that there are: a module of this package that defines a SamplerConfig with a name is found. See ADDING.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pruner.samplers.base import SamplerConfig
from pruner.settings.registry import choices, one_of

SAMPLERS = choices("pruner.samplers", SamplerConfig)  # type: ignore[type-abstract]

if TYPE_CHECKING:
    AnySampler: TypeAlias = SamplerConfig
else:
    AnySampler = one_of(SAMPLERS)
