"""Configs as Hydra composes them from conf/; each is composed once in a process."""

from __future__ import annotations

import copy
import functools
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from jobs import entry
from pruner.config.job import Config, parse
from tests.job_processes import PROJECT

CONF = PROJECT / "conf"


def composed(name: str, *overrides: str) -> dict[str, Any]:
    """Return the plain values of a job's config. The caller may change them."""
    return copy.deepcopy(_composed(name, overrides))


def config(*overrides: str) -> Config:
    """Return the main job's config. Raises InputError."""
    return parse(composed("config", *overrides))


@functools.cache
def _composed(name: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return entry.plain(compose(name, overrides=list(overrides)))
