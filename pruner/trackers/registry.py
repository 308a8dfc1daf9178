"""All trackers that there are: a module of this package that defines a TrackerConfig with a name is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pruner.settings.registry import choices, one_of
from pruner.trackers.base import TrackerConfig

TRACKERS = choices("pruner.trackers", TrackerConfig)  # type: ignore[type-abstract]

if TYPE_CHECKING:
    AnyTracker: TypeAlias = TrackerConfig
else:
    AnyTracker = one_of(TRACKERS)
