"""Kills at random moments, full and read-only disks, damaged files: what was committed stays, and nothing is silent."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from tests import job_processes
from tests.chaos.harness import CONFIG, SLOW, Reference, facts, run, start, wait
from tests.live.jobs_under_test import PROJECT, cannot_run

pytestmark = pytest.mark.chaos


@pytest.fixture(autouse=True)
def from_the_project(monkeypatch):
    monkeypatch.chdir(PROJECT)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A run that nothing disturbed."""
    root = tmp_path_factory.mktemp("reference") / "root"
    os.chdir(PROJECT)
    run(root)
    return Reference.of(root)


def test_random_kills_lose_and_double_nothing():
    """Twenty; a thousand by hand: python -m tests.chaos.harness --kills 1000. In a process of its own: it forks."""
    command = [sys.executable, "-m", "tests.chaos.harness", "--kills", "20", "--seed", "1"]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=850)
    print(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 lost or doubled facts, equal results each time" in result.stdout


def job(root, *overrides):
    return job_processes.run("run", *CONFIG, f"run.root={root}", *overrides)


@contextmanager
def small_disk(path, size):
    path.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], capture_output=True, text=True)
    if made.returncode != 0:
        cannot_run(f"a small file system cannot be mounted here: {made.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


@pytest.mark.parametrize("free_kib", [1, 8, 300])
def test_a_full_disk_is_reported_and_what_was_committed_stays(tmp_path, reference, free_kib):
    with small_disk(tmp_path / "disk", "12m") as disk:
        before = {}
        if free_kib != 300:
            before = interrupted_run(disk / "root")
        fill(disk, free_kib)
        result = job(disk / "root", "results.every_s=0.1", *SLOW)
        assert result.returncode == 1, f"{result.returncode}\n{result.stderr}"
        assert "No space left" in result.stderr or "could not" in result.stderr, result.stderr
        assert "Traceback" not in result.stderr, result.stderr
        (disk / "filler").unlink()
        now = facts(disk / "root")
        assert all(now.get(key) == value for key, value in before.items())
        run(disk / "root")
        reference.check(disk / "root")


def fill(disk, free_kib):
    free = shutil.disk_usage(disk).free
    with open(disk / "filler", "wb") as file:
        file.write(b"\0" * max(0, free - free_kib * 1024))


def interrupted_run(root):
    """Begin a run and kill it in the middle; return what it had committed."""
    pid = start(root, *SLOW)
    deadline = time.monotonic() + 120
    while committed(root / "run/progress/shard=0000.json") < 20 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(pid, 9)
    wait(pid)
    found = facts(root)
    assert found
    return found


def committed(progress):
    """Return how many segments a running shard has reported."""
    return json.loads(progress.read_text())["segments"] if progress.exists() else 0


def test_a_read_only_folder_is_reported_and_nothing_is_lost(tmp_path, reference):
    with small_disk(tmp_path / "disk", "12m") as disk:
        before = interrupted_run(disk / "root")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        result = job(disk / "root")
        assert result.returncode == 1 and "Read-only file system" in result.stderr, result.stderr
        assert "Traceback" not in result.stderr
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        assert facts(disk / "root") == before
        run(disk / "root")
        reference.check(disk / "root")


@pytest.mark.parametrize("suffix", ["", ".wal"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "zeroed", "emptied"])
def test_a_damaged_checkpoint_is_reported_or_harmless_and_never_begun_anew(tmp_path, reference, damage, suffix):
    root = tmp_path / "root"
    progress = root / "run/progress/shard=0000.json"
    before, told_of = interrupted_run(root), committed(progress)
    folder = root / "run/checkpoint"
    shutil.copytree(folder, tmp_path / "whole")
    path = folder / f"shard=0000.duckdb{suffix}"
    draw = random.Random(f"{damage}{suffix}")
    reported = 0
    for _ in range(3):
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "whole", folder)
        assert path.exists(), "a kill leaves the log, for only a close empties it"
        content = bytearray(path.read_bytes())
        place = draw.randrange(len(content))
        if damage == "truncated":
            del content[place:]
        elif damage == "flipped":
            content[place] ^= 1 << draw.randrange(8)
        elif damage == "zeroed":
            content[place:] = bytes(len(content) - place)
        else:
            content.clear()
        path.write_bytes(content)
        result = job(root)
        if result.returncode == 0:
            now = facts(root)
            # Killed between a commit and reporting it, and then without its log: as if killed before that commit.
            lost = sum(now.get(key) != value for key, value in before.items())
            assert lost <= len(before) - told_of, "facts were lost in silence"
            reference.check(root)
            shutil.rmtree(root / "run")
            before, told_of = interrupted_run(root), committed(progress)
            shutil.rmtree(tmp_path / "whole")
            shutil.copytree(folder, tmp_path / "whole")
            continue
        reported += 1
        assert result.returncode == 1 and "error: checkpoint" in result.stderr, result.stderr
        assert "Traceback" not in result.stderr
        assert path.exists() or not content  # DuckDB itself takes an empty log away
    print(f"{damage}{suffix}: reported {reported} of 3 times, harmless otherwise")
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "whole", folder)
    run(root)
    reference.check(root)
