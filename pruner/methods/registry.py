"""All methods that there are: a module of this package that defines a MethodConfig with a name is found. See ADDING.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pruner.methods.base import MethodConfig
from pruner.settings.registry import choices, one_of

METHODS = choices("pruner.methods", MethodConfig)  # type: ignore[type-abstract]

if TYPE_CHECKING:
    AnyMethod: TypeAlias = MethodConfig
else:
    AnyMethod = one_of(METHODS)
