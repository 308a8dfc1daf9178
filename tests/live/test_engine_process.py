"""What happens to the engine's processes while a job works: in a child of it, and with vLLM's core below that as on a GPU."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pruner.system.processes import process, session_members
from tests.live.jobs_under_test import (
    PROJECT,
    assert_same_results,
    attempts,
    committed_segments,
    run_job,
    start_job,
    wait_for_segments,
)

pytestmark = pytest.mark.live
APART = ("sampler.in_process=false", "sampler.core_process=true")
DEMO = (
    "method=deepprune",
    "problems.limit=12",
    "budget=4",
    "method.k=2",
    "sampler.segment_tokens=16",
    "sampler.max_running_traces=16",
    "sampler.kv_cache_gib=1",
    "checkpoint.every_segments=4",
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed")
    run_job(root, *DEMO)
    return root


def leaders(job: int) -> list[int]:
    """Return the processes of ours that hold an engine, of a job."""
    found = []
    for child in Path(f"/proc/{job}/task/{job}/children").read_text().split():
        try:
            if b"engine_process" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
        except OSError:
            continue
    return found


def named(session: int, name: str) -> list[int]:
    """Return the processes of a session with a name."""
    found = []
    for pid in session_members(session):
        try:
            if name in Path(f"/proc/{pid}/cmdline").read_text():
                found.append(pid)
        except OSError:
            continue
    return found


def wait_for(what, holds, job=None, timeout_s=200.0):
    deadline = time.monotonic() + timeout_s
    while not (found := holds()):
        assert time.monotonic() < deadline, what
        assert job is None or job.poll() is None, f"{what}: the job ended with {job.returncode}"
        time.sleep(0.05)
    return found


def engine_of(job, other_than=()):
    """Wait for the process that holds the engine, one that was not seen before."""

    def found():
        return [leader for leader in leaders(job.pid) if leader not in other_than]

    return wait_for("an engine's process", found, job)[0]


def core_of(job, other_than=()):
    """Wait for vLLM's engine core in a process below that, one that was not seen before."""

    def found():
        return [core for leader in leaders(job.pid) for core in named(leader, "EngineCore") if core not in other_than]

    return wait_for("vLLM's engine core", found, job)[0]


def test_an_engine_that_is_killed_at_any_time_is_started_again(tmp_path, undisturbed):
    whole = committed_segments(undisturbed)
    job = start_job(tmp_path, *DEMO, "sampler.restarts=3")
    seen = []
    for moment, segments in (("while it loads", 0), ("after the first commit", 1), ("near the end", 2 * whole // 3)):
        engine = engine_of(job, seen)
        if segments:
            wait_for_segments(tmp_path, max(segments, committed_segments(tmp_path) + 1), job)
        else:
            time.sleep(2.0)
        seen.append(engine)
        os.kill(engine, signal.SIGKILL)
        began, before = time.monotonic(), committed_segments(tmp_path)
        engine_of(job, seen)
        print(f"killed {moment}: a new engine starts {time.monotonic() - began:.1f} s later")
        wait_for_segments(tmp_path, before + 1, job)
        print(f"killed {moment}: the next commit {time.monotonic() - began:.1f} s later")
    assert job.wait(timeout=300) == 0, (tmp_path / "log.txt").read_text()
    assert_same_results(tmp_path, undisturbed)
    rows = attempts(tmp_path)
    assert [row["end_reason"] for row in rows] == ["failed"] * 3 + ["done"]
    assert all("engine" in row["message"] for row in rows[:3])
    assert (tmp_path / "log.txt").read_text().count("It is started again") == 3


def test_signals_do_no_harm_a_dead_core_is_replaced_and_nothing_outlives_a_killed_job(tmp_path, undisturbed):
    before = set(os.listdir("/dev/shm"))
    job = start_job(tmp_path, *DEMO, *APART, "sampler.restarts=1")
    core = core_of(job)
    for segments in (0, 1, 12):
        if segments:
            wait_for_segments(tmp_path, segments, job)
        for leader in leaders(job.pid):
            for pid in session_members(leader):
                os.kill(pid, signal.SIGTERM)
                os.kill(pid, signal.SIGUSR2)
        time.sleep(0.5)
        assert job.poll() is None and process(core) is not None and process(core).is_alive
    os.kill(core, signal.SIGKILL)
    began = time.monotonic()
    core_of(job, [core])
    print(f"vLLM's core killed: a new one starts {time.monotonic() - began:.1f} s later")
    wait_for_segments(tmp_path, committed_segments(tmp_path) + 1, job)
    [leader] = leaders(job.pid)
    assert len(session_members(leader)) >= 3
    job.kill()
    job.wait()
    began = time.monotonic()
    wait_for("every process gone", lambda: not session_members(leader), None, 10.0)
    print(f"nothing of a killed job is left {time.monotonic() - began:.1f} s later")
    wait_for("no shared memory left", lambda: set(os.listdir("/dev/shm")) <= before, None, 10.0)
    run_job(tmp_path, *DEMO)
    assert_same_results(tmp_path, undisturbed)
    assert [row["end_reason"] for row in attempts(tmp_path)] == ["failed", "killed", "done"]


def test_a_judges_own_engine_that_is_killed_is_started_again(tmp_path):
    own = ("judge=llm", "judge.colocate=false", "judge.dtype=float32", "judge.max_model_len=2048", "problems.limit=4")
    reference = tmp_path / "reference"
    run_job(reference, *DEMO, *own)
    root = tmp_path / "killed"
    root.mkdir()
    job = start_job(root, *DEMO, *own)
    both = wait_for("both engines", lambda: found if len(found := leaders(job.pid)) == 2 else None, job)
    wait_for_segments(root, 1, job)
    os.kill(max(both), signal.SIGKILL)
    assert job.wait(timeout=300) == 0, (root / "log.txt").read_text()
    assert_same_results(root, reference)
    assert [row["end_reason"] for row in attempts(root)] == ["failed", "done"]
    assert "the judge's engine" in attempts(root)[0]["message"] or "the engine" in attempts(root)[0]["message"]


def test_an_engine_that_keeps_dying_ends_the_job(tmp_path):
    """A variable that vLLM reads keeps it from starting."""
    environment = os.environ | {"VLLM_LOGGING_CONFIG_PATH": "/nowhere"}
    command = [*("python", "-m", "jobs.run"), f"run.root={tmp_path}", "run.name=run", *DEMO]
    result = subprocess.run(
        [str(PROJECT / ".venv/bin/python"), *command[1:]], cwd=PROJECT, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 1, result.stderr
    assert "error: the engine: vLLM could not start with .cache/models/smollm2_135m" in result.stderr
    assert "Could not load logging config" in result.stderr
    assert "It was started again once, the last time without getting anything done" in result.stderr
    assert result.stderr.count("Traceback") == 0, result.stderr
