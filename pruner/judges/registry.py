"""All judges that there are: a module of this package that defines a JudgeConfig with a name is found. See ADDING.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pruner.judges.base import JudgeConfig
from pruner.settings.registry import choices, one_of

JUDGES = choices("pruner.judges", JudgeConfig)  # type: ignore[type-abstract]

if TYPE_CHECKING:
    AnyJudge: TypeAlias = JudgeConfig
else:
    AnyJudge = one_of(JUDGES)
