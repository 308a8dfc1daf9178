"""Whatever is registered is complete and is run by every test that runs all of its kind."""

import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from pruner.judges.registry import JUDGES
from pruner.methods.base import MethodConfig
from pruner.methods.registry import METHODS
from pruner.samplers.registry import SAMPLERS
from pruner.settings.registry import choices, one_of
from pruner.settings.section import Section, parse_as
from tests.chaos import harness
from tests.unit.fakes import METHOD_CONFIGS, method_config

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize("found", [METHODS, JUDGES, SAMPLERS])
def test_a_choice_names_keys_of_its_own_that_may_change(found):
    for name, kind in found.items():
        assert set(kind.not_identity) <= kind.model_fields.keys(), name


def test_every_method_is_killed_and_resumed():
    killed = {override.removeprefix("method=") for each in harness.VARIANTS.values() for override in each}
    assert killed >= METHODS.keys()
    assert {config.name for config in METHOD_CONFIGS.values()} == METHODS.keys()


def test_some_method_that_is_killed_and_resumed_asks_running_traces():
    asking = {config.name for config in METHOD_CONFIGS.values() if config.asked_tokens is not None}
    assert asking & {name for name, given in harness.VARIANTS.items() if f"method={name}" in given}


def test_finding_everything_loads_no_library_that_only_some_runs_need():
    check = "import sys, jobs.run; print(sorted({'torch', 'vllm', 'transformers', 'matplotlib'} & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert result.stdout.strip() == "[]"


def test_a_name_that_is_taken_is_refused(tmp_path, monkeypatch):
    package = tmp_path / "twice"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for name in ("one", "other"):
        (package / f"{name}.py").write_text(
            "from typing import Literal\n"
            "from pruner.methods.base import MethodConfig\n"
            "class Config(MethodConfig):\n"
            "    name: Literal['same']\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TypeError, match=r"twice\.other: the name same is taken by twice\.one"):
        choices("twice", MethodConfig)


def test_a_choice_is_found_by_its_name():
    class Run(Section):
        method: one_of(METHODS)

    chosen = method_config("esc")
    assert parse_as(Run, {"method": chosen.model_dump()}).method == chosen
    assert METHODS["esc"].model_fields["name"].annotation == Literal["esc"]
