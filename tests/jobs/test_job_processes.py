"""A forked job ends as a started one: exit code, stdout and stderr."""

import re
import signal
import subprocess

import pytest

from tests.job_processes import run, run_program

COMMANDS = {
    "a config": ("run", "--cfg", "job"),
    "bad input": ("run", "method.tau=1.7"),
    "a typo": ("run", "budgt=4"),
    "options": ("query", "--list"),
    "no such option": ("query", "--nope"),
    "a sweep": ("run", "-m", "seed=0,1", "sampler=simulated", "dry_run=true"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_forked_job_prints_and_ends_as_a_started_one(name, tmp_path):
    job, *arguments = COMMANDS[name]
    if job == "run":
        arguments += [f"run.root={tmp_path}"]
    ends = [each(job, *arguments) for each in (run, run_program)]
    forked, started = [(end.returncode, end.stdout, end.stderr) for end in ends]
    assert forked == started and (forked[1] or forked[2])


def test_a_patch_is_executed_before_the_job():
    result = run("query", "--list", patch="import atexit; print('first'); atexit.register(print, 'last')")
    assert result.returncode == 0
    assert result.stdout.startswith("first\n") and result.stdout.endswith("\nlast\n")


def test_an_exception_that_nobody_catches_is_a_traceback_and_code_1():
    result = run("query", "--list", patch="import pruner.results.named_queries as q; q.listing = None; import os")
    assert result.returncode == 1 and "Traceback" in result.stderr, result.stderr
    assert re.search(r"^TypeError: ", result.stderr, re.MULTILINE)


def test_a_signal_is_a_negative_code_and_the_next_job_starts():
    assert run("query", patch="import os; os.kill(os.getpid(), 9)").returncode == -signal.SIGKILL
    assert run("query", "--list").returncode == 0


def test_a_job_that_takes_too_long_is_killed_and_the_next_one_starts():
    with pytest.raises(subprocess.TimeoutExpired):
        run("query", patch="import time; time.sleep(60)", timeout_s=0.5)
    assert run("query", "--list").returncode == 0


def test_jobs_see_the_environment_of_the_test_and_not_of_the_job_before(monkeypatch):
    shows = "import os, sys; print(os.environ.get('COLUMNS'), os.environ.get('OTHER')); sys.exit(0)"
    monkeypatch.setenv("COLUMNS", "77")
    assert run("query", patch=shows, environment={"OTHER": "x"}).stdout == "77 x\n"
    monkeypatch.delenv("COLUMNS")
    assert run("query", patch=shows).stdout == "None None\n"
