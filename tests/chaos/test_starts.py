"""Processes that start on one run at the same moment: one identity wins, and nothing is mixed or doubled.

The 200 of a release: python -m tests.chaos.starts --starts 200
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pruner.manifest import read_manifest
from tests.chaos.starts import KINDS, Kind, Told, is_explained, owner_of, report
from tests.live.jobs_under_test import PROJECT

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize("kind", KINDS)
def test_of_starts_at_one_moment_one_identity_wins(kind):
    """In a process of its own: it forks."""
    command = [sys.executable, "-m", "tests.chaos.starts", "--starts", "5", "--at-once", "5", "--kind", kind]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    print(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0  mixed" in result.stdout and "0  doubled" in result.stdout


SIMULATED = ("sampler=simulated", "method=cons", "problems.limit=4", "budget=2", "run.name=run")


def job(root, *overrides, patch=""):
    script = (
        "import os, runpy, sys\nimport jobs.parts, pruner.ownership, pruner.store\n"
        f"{patch}\nsys.argv = ['jobs.run', *sys.argv[1:]]\n"
        "runpy.run_module('jobs.run', run_name='__main__', alter_sys=True)"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, f"run.root={root}", *SIMULATED, *overrides]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)


KILL = "os.kill(os.getpid(), 9)"
FAILURES = {
    "an engine that cannot be opened": (
        "from pruner.errors import EngineError\n"
        "def fail(*_): raise EngineError('engine: no such device')\njobs.parts.open_samplers = fail",
        1,
    ),
    "prompts that cannot be made": (
        "from pruner.errors import InputError\n"
        "def fail(*_): raise InputError('model: no tokenizer')\njobs.parts.make_prompts = fail",
        2,
    ),
    "a kill before run.json": (f"pruner.ownership.create_text = lambda *_: {KILL}", -9),
    "a kill after run.json": (f"pruner.ownership.write_views = lambda *_: {KILL}", -9),
    "a kill while the engine is opened": (f"jobs.parts.open_samplers = lambda *_: {KILL}", -9),
    "a kill before the first commit": (f"pruner.store.Store.append = lambda *_: {KILL}", -9),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_first_start_that_sampled_nothing_does_not_refuse_a_corrected_config(tmp_path, failure):
    patch, code = FAILURES[failure]
    failed = job(tmp_path, "seed=1", "shard.count=2", patch=patch)
    assert failed.returncode == code, failed.stderr
    corrected = job(tmp_path, "seed=2")
    assert corrected.returncode == 0, corrected.stderr
    assert owner_of(tmp_path) == (2, 1)
    assert [shard.state for shard in read_manifest(tmp_path / "run").shards] == ["done"]
    again = job(tmp_path, "seed=1", "shard.count=2")
    assert again.returncode == 2, again.stderr
    assert again.stderr.splitlines() == [
        f"error: run {tmp_path}/run: belongs to another config (seed: 2 -> 1; shard.count: 1 -> 2). Undo the change, or "
        "choose another run.name."
    ]


def test_a_start_on_scratch_that_sampled_nothing_does_not_refuse_a_corrected_config(tmp_path):
    scratch = f"checkpoint.dir={tmp_path / 'scratch'}"
    failed = job(tmp_path, "seed=1", scratch, patch=FAILURES["a kill before the first commit"][0])
    assert failed.returncode == -9, failed.stderr
    corrected = job(tmp_path, "seed=2", scratch)
    assert corrected.returncode == 0, corrected.stderr
    assert json.loads((tmp_path / "run/run.json").read_text())["identity"]["seed"] == "2"


def test_the_table_of_starts_names_what_is_not_explained():
    told = Told(mixed=["round1: other results"])
    told.endings[(2, "error: shard shard=NNNN: host H, pid P works on it. Wait for it, or stop it.")] += 3
    assert "     3  exit   2: error: shard" in report(told) and "     1  mixed\n     0  doubled\nround1" in report(told)
    assert (
        is_explained(0, "")
        and is_explained(-9, "")
        and not is_explained(1, "error: engine")
        and not is_explained(75, "")
    )
    assert not is_explained(2, "error: something else") and Kind(()).kill == 0.0
