"""The main job's config, composed outside of Hydra's own frame: for benchmarks and plans."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from jobs import entry
from pruner.config.job import Config, parse

CONF = Path(__file__).parents[1] / "conf"


def main_config(overrides: Sequence[str]) -> Config:
    """Return the main job's config with these overrides. Raises InputError as the job itself."""
    is_inside = GlobalHydra.instance().is_initialized()  # a job's own Hydra reads the same folder
    with nullcontext() if is_inside else initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return parse(entry.plain(compose("config", list(overrides))))
