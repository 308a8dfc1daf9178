"""Signals and lost streams at every moment of a process's life: it ends with the right code, and without a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

import pyarrow.parquet as pq
import pytest

from jobs import signals
from tests.chaos.test_endings import SMALL, reasons, states
from tests.job_processes import PROJECT, run, start_program

pytestmark = pytest.mark.chaos
# The job, as `python -m jobs.run` starts it, with a patch: `stop()` sends a signal to itself, and the same stop once more.
RUN = """
import atexit, os, runpy, signal, sys, time
from jobs import signals
signals.begin(is_resumable=True)
import pruner.shard.attempt, pruner.shard.build, pruner.results.writer, pruner.shard.runner, pruner.checkpoint.store
def stop():
    os.kill(os.getpid(), {number})
    time.sleep(0.05)
    os.kill(os.getpid(), {number})
def before(place, name, count=1):
    old, calls = getattr(place, name), []
    def then(*given, **named):
        calls.append(1)
        if len(calls) == count:
            stop()
        return old(*given, **named)
    setattr(place, name, then)
class Late:
    def __del__(self, kill=os.kill, pid=os.getpid()):  # when Python takes its modules apart
        kill(pid, {number})
{patch}
sys.argv = ["jobs.run", *sys.argv[1:]]
runpy.run_module("jobs.run", run_name="__main__", alter_sys=True)
"""
STOPPED = {
    "while it reads its input": "import pruner.shard.inputs; before(pruner.shard.inputs, 'read_problems')",
    "while it loads": "before(pruner.shard.build, 'wait_for_engines')",
    "while it works": "before(pruner.shard.runner.Runner, '_advance', 5)",
    "while it commits": "before(pruner.checkpoint.store.Store, 'append', 2)",
    "while it records that": "before(pruner.shard.runner.Runner, '_advance', 5); before(pruner.shard.attempt, 'finish_attempt')",
    "while it exits": "before(pruner.shard.runner.Runner, '_advance', 5); atexit.register(stop)",
    "while Python goes": "before(pruner.shard.runner.Runner, '_advance', 5); pruner.shard.attempt.late = Late()",
}
DONE = {
    "while it writes its results": "before(pruner.results.writer, 'write_results', 2)",
    "while it exits": "atexit.register(stop)",
    "while Python goes": "pruner.shard.attempt.late = Late()",
}


def job(root, *overrides, patch="", number=signal.SIGTERM):
    command = [sys.executable, "-c", RUN.format(patch=patch, number=int(number)), *SMALL, f"run.root={root}"]
    return subprocess.run([*command, *overrides], cwd=PROJECT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(("moment", "number"), list(zip(STOPPED, (1, 2, 15, 10, 12, 15, 15), strict=True)))
def test_a_job_stopped_at_any_moment_ends_with_75(tmp_path, moment, number):
    result = job(tmp_path, patch=STOPPED[moment], number=number)
    assert (result.returncode, "Traceback" in result.stderr) == (75, False), result.stderr
    assert signals.message(number) in result.stderr


@pytest.mark.parametrize("moment", DONE)
def test_a_job_whose_work_is_done_and_written_ends_with_0_whatever_comes(tmp_path, moment):
    result = job(tmp_path, patch=DONE[moment])
    assert (result.returncode, "Traceback" in result.stderr) == (0, False), result.stderr
    assert states(tmp_path) == ["done"] and reasons(tmp_path) == ["done"]


def started(module, *arguments):
    """Start a program and wait until its package is imported: its other imports take a second. Tests that a shell started in the
    background ignore Ctrl-C, which a program would inherit."""
    command = [sys.executable, "-X", "importtime", "-m", f"jobs.{module}", *arguments]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=PROJECT, stderr=pipe, stdout=pipe, text=True, preexec_fn=heard)
    wait_for_import(process, "jobs")
    return process


def wait_for_import(process, name):
    for line in process.stderr:
        if line.split("|")[-1].strip() == name:
            return


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_job_stopped_while_it_imports_has_begun_nothing_and_ends_with_75(tmp_path, number):
    process = started("run", *SMALL, f"run.root={tmp_path}")
    process.send_signal(number)
    errors = process.communicate(timeout=60)[1]
    assert (process.returncode, "Traceback" in errors) == (75, False), errors
    assert signals.message(number) in errors
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("is_working", [False, True])
def test_a_query_stopped_by_ctrl_c_ends_at_once_and_without_a_traceback(tmp_path, is_working):
    write_run(tmp_path)
    sql = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"
    process = started("query", sql, "--root", str(tmp_path))
    if is_working:
        wait_for_import(process, "pruner.results.query")
        time.sleep(1)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == -signal.SIGINT, errors  # 130 in a shell
    assert "Traceback" not in errors and "KeyboardInterrupt" not in errors


def write_run(root):
    result = run("run", *SMALL, f"run.root={root}", "method=cons")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "streams",
    ["2>&-", ">&-", "<&- >&- 2>&-", "2>&1 >/dev/null | true", "2>&1 | true", "2>/dev/full"],
)
def test_a_job_works_on_when_nobody_reads_what_it_prints(tmp_path, streams):
    arguments = " ".join((*SMALL, "method=cons", f"run.root={tmp_path}", "progress.interval_s=0.01"))
    line = f"set -o pipefail; {sys.executable} -m jobs.run {arguments} {streams}"
    assert subprocess.run(["bash", "-c", line], cwd=PROJECT, capture_output=True, timeout=120).returncode == 0
    assert states(tmp_path) == ["done"]
    assert pq.read_table(tmp_path / "run/traces/shard=0000.parquet").num_rows == 60


def test_second_signals_within_a_second_are_the_same_stop(tmp_path):
    """The processes end meanwhile. At 50 to 150 ms Python is about to take itself apart."""
    processes = {}
    for gap_s in (0.05, 0.1, 0.15, 0.5):
        root = tmp_path / str(gap_s)
        slow = (*SMALL, "sampler.step_s=0.05", "sampler.max_running_traces=4", f"run.root={root}")
        processes[gap_s] = root, start_program("run", *slow, stderr=subprocess.DEVNULL)
    for gap_s, (root, process) in processes.items():
        wait_for_segments(root, process)
        process.terminate()
        time.sleep(gap_s)
        process.terminate()
    assert {gap_s: process.wait(timeout=60) for gap_s, (_, process) in processes.items()} == dict.fromkeys(
        processes, 75
    )


def wait_for_segments(root, process):
    progress = root / "run/progress/shard=0000.json"
    while not progress.exists() or json.loads(progress.read_text())["segments"] < 4:
        assert process.poll() is None
        time.sleep(0.01)


def test_a_comparison_is_stopped_with_its_processes_and_goes_on(tmp_path):
    write_run(tmp_path)
    points = json.dumps([f"method=esc method.window={window}" for window in (2, 3, 4, 5)])
    arguments = [f"sources=[{tmp_path}/run]", f"target={tmp_path}/compared", f"points={points}"]
    arguments += ["budget=2", "bootstrap=20", "resample=1000"]
    pipe = subprocess.PIPE
    process = start_program("compare", *arguments, stderr=pipe, stdout=pipe, start_new_session=True)
    while not (done := sorted(tmp_path.glob("compared/points/run/*.parquet"))):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal and Slurm do: its processes too
    errors = process.communicate(timeout=60)[1]
    assert (process.returncode, "Traceback" in errors) == (75, False), errors
    assert errors == signals.message(signal.SIGINT) + "\n"
    written = {path: path.stat().st_mtime_ns for path in done}
    again = run("compare", *arguments)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in done} == written
