"""Runs that jobs.compare starts, with a stand-in for what it runs."""

import os
import signal
import time

import pytest

from pruner.comparison import runs
from pruner.errors import InputError


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Say what a run does instead: lines of a shell script; its arguments are -m, jobs.run and the overrides."""

    def becomes(*lines):
        path = tmp_path / "child"
        path.write_text("\n".join(("#!/usr/bin/env bash", f"cd {tmp_path}", *lines)) + "\n")
        path.chmod(0o755)
        monkeypatch.setattr(runs.sys, "executable", str(path))

    return becomes


class Stop:
    """Stops once a file is there."""

    received = signal.SIGTERM

    def __init__(self, path):
        self.path = path

    def __call__(self):
        return self.path.exists()


def test_a_run_that_writes_more_than_a_pipe_holds_does_not_wait_for_ever(child, tmp_path):
    child("head -c 1000000 /dev/zero >&2", "touch done-$3")
    assert runs.run_points([["a"], ["b"], ["c"]], 2, Stop(tmp_path / "never"))
    assert sorted(path.name for path in tmp_path.glob("done-*")) == ["done-a", "done-b", "done-c"]


def test_a_run_is_asked_once_to_stop(child, tmp_path):
    child(
        "trap 'echo asked >> asked; asked=1' TERM",
        "touch begun",
        'while [ -z "$asked" ]; do sleep 0.02; done',
        "sleep 0.6 & wait; wait",
        "exit 75",
    )
    assert not runs.run_points([["a"], ["b"]], 1, Stop(tmp_path / "begun"))
    assert (tmp_path / "asked").read_text() == "asked\n"


@pytest.mark.parametrize("ending", ["echo 'error: broken' >&2; exit 1", "exit 2", "trap - TERM; kill -s TERM $$"])
def test_what_goes_wrong_in_a_run_after_a_stop_is_part_of_the_stop(child, tmp_path, ending):
    child(f"trap '{ending.replace(chr(39), chr(34))}' TERM", "touch begun", "while true; do sleep 0.02; done")
    assert not runs.run_points([["a"]], 1, Stop(tmp_path / "begun"))


def test_a_run_that_is_stopped_by_another_stops_the_others(child, tmp_path):
    child("exit 75")
    assert not runs.run_points([["a"], ["b"]], 1, Stop(tmp_path / "never"))


def test_a_run_that_does_not_stop_is_killed_after_a_long_while(child, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "_GRACE_S", 0.2)
    child("trap '' TERM", "touch begun", "echo $$ > pid", "while true; do sleep 0.02; done")
    assert not runs.run_points([["a"]], 1, Stop(tmp_path / "pid"))
    time.sleep(0.01)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_what_runs_refuse_is_said_with_their_overrides(child, tmp_path):
    child("head -c 200000 /dev/zero | tr '\\0' '\\n' >&2", "echo 'error: budget: got 0' >&2", "exit 2")
    with pytest.raises(InputError) as caught:
        runs.run_points([["budget=0"]], 1, Stop(tmp_path / "never"))
    assert caught.value.faults == ("budget=0: budget: got 0",) or list(caught.value.faults) == [
        "budget=0: budget: got 0"
    ]


def test_a_run_that_ends_without_a_word_is_named_with_its_exit_code(child, tmp_path):
    child("exit 3")
    with pytest.raises(InputError, match="budget=0: exit code 3"):
        runs.run_points([["budget=0"]], 1, Stop(tmp_path / "never"))
