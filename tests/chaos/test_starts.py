"""Processes that start on one run at the same moment: one identity wins, and nothing is mixed or doubled.

The 200 of a release: python -m tests.chaos.starts --starts 200
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

import pruner.checkpoint.store
import pruner.shard.build
import pruner.shard.claim
from pruner.errors import EngineError, InputError
from pruner.results.status import read_manifest
from tests.chaos.harness import start, wait
from tests.chaos.starts import KINDS, SMALL, Kind, Tally, is_explained, owner_of, report
from tests.live.jobs_under_test import PROJECT

pytestmark = pytest.mark.chaos


def test_of_starts_at_one_moment_one_identity_wins():
    """In a process of its own: it forks. Every kind of start, three at once."""
    command = [sys.executable, "-m", "tests.chaos.starts", "--starts", str(3 * len(KINDS)), "--at-once", "3"]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    print(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0  mixed" in result.stdout and "0  doubled" in result.stdout


def job(root, *overrides, before=lambda: None):
    """Run the main job in a forked process; return its exit code and its last line."""
    log = root.parent / f"log{len(list(root.parent.glob('log*')))}"
    code = wait(start(root, *SMALL, *overrides, log=log, before=before))
    return code, (log.read_text().splitlines() or [""])[-1]


def killed_at(module, name):
    """Return what makes a forked process kill itself when a function is called."""
    return replacing(module, name, lambda *_: os.kill(os.getpid(), signal.SIGKILL))


def failing_at(module, name, error):
    def fail(*_):
        raise error

    return replacing(module, name, fail)


def replacing(module, name, function):
    """Return what replaces a function that is there: one that has moved would never be called."""
    assert hasattr(module, name), f"{module} has no {name}"
    return lambda: setattr(module, name, function)


FAILURES = {
    "an engine that cannot be opened": (
        failing_at(pruner.shard.build, "wait_for_engines", EngineError("no such device")),
        1,
    ),
    "prompts that cannot be made": (failing_at(pruner.shard.build, "make_prompts", InputError("no tokenizer")), 2),
    "a kill before run.json": (killed_at(pruner.shard.claim, "create_text"), -9),
    "a kill after run.json": (killed_at(pruner.shard.claim, "write_views"), -9),
    "a kill while the engine is opened": (killed_at(pruner.shard.build, "wait_for_engines"), -9),
    "a kill before the first commit": (killed_at(pruner.checkpoint.store.Store, "append"), -9),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_after_a_start_that_sampled_nothing_the_same_config_goes_on_and_another_is_refused(
    tmp_path, monkeypatch, failure
):
    monkeypatch.chdir(PROJECT)
    root = tmp_path / "root"
    before, code = FAILURES[failure]
    assert job(root, "seed=1", before=before)[0] == code
    has_owner = (root / "run/run.json").exists()
    assert has_owner == (failure != "a kill before run.json")
    if has_owner:
        assert job(root, "seed=2") == (
            2,
            f"error: run {root}/run: belongs to another config (seed: 1 -> 2). Undo the change, choose another run.name, or remove that "
            "folder if you need nothing in it.",
        )
    assert job(root, "seed=1")[0] == 0, (tmp_path / "log1").read_text()
    assert owner_of(root) == (1, 1)
    assert [shard.state for shard in read_manifest(root / "run").shards] == ["done"]


def test_the_table_of_starts_names_what_is_not_explained():
    reported = Tally(mixed=["round1: other results"])
    reported.endings[(2, "error: shard shard=NNNN: host H, pid P works on it. Wait for it, or stop it.")] += 3
    assert "     3  exit   2: error: shard" in report(reported) and "     1  mixed\n     0  doubled\nround1" in report(
        reported
    )
    assert (
        is_explained(0, "")
        and is_explained(-9, "")
        and not is_explained(1, "error: engine")
        and not is_explained(75, "")
    )
    assert not is_explained(2, "error: something else") and Kind(()).kill == 0.0
