import subprocess
import time

import pytest

from pruner.errors import InputError
from pruner.system import slurm


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("45", 45), ("1:30", 90), ("2:00:00", 7200), ("1-00:00:00", 86400), ("3-2:01", 3 * 86400 + 2 * 3600 + 60)),
        *(("2-4", 2 * 86400 + 4 * 3600), ("UNLIMITED", None), ("NOT_SET", None), ("", None), ("1:2:3:4", None)),
    ],
)
def test_times_are_read_as_slurm_writes_them(text, seconds):
    assert slurm.parse_time(text) == seconds


def test_the_time_left_comes_from_the_environment_or_from_squeue(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert slurm.seconds_left() is None
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 100))
    assert 98 <= slurm.seconds_left() <= 100
    answer = subprocess.CompletedProcess([], 0, "1:05\n", "")
    monkeypatch.setattr(subprocess, "run", lambda *given, **named: answer)
    assert slurm.seconds_left() == 65, "the limit was lowered since"
    monkeypatch.setenv("SLURM_JOB_END_TIME", "never")
    assert slurm.seconds_left() == 65

    def no_squeue(*given, **named):
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", no_squeue)
    assert slurm.seconds_left() is None


def test_an_allocation_of_several_nodes_is_refused(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "1")
    slurm.check_one_node()
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    with pytest.raises(InputError, match="an allocation of 2 nodes, expected one"):
        slurm.check_one_node()


def test_the_queue_is_read_by_job(monkeypatch):
    lines = "9_1|PENDING|BeginTime|2026-01-02T03:04:05\n9_2|PENDING|Resources|N/A\n9_3|RUNNING|None|2026-01-01T00:00:00\nnonsense\n"
    asked = []

    def squeue(command, **named):
        asked.append(command)
        return subprocess.CompletedProcess([], 0, lines, "")

    monkeypatch.setattr(subprocess, "run", squeue)
    assert slurm.queue(["9"]) == {
        "9_1": "pending (BeginTime), from 2026-01-02T03:04:05",
        "9_2": "pending (Resources)",
        "9_3": "running",
    }
    assert asked[0][-1] == "--jobs=9" and slurm.queue([]) == {}

    def no_squeue(*given, **named):
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", no_squeue)
    assert slurm.queue(["9"]) == {}


def test_the_largest_array_is_what_the_cluster_says(monkeypatch):
    said = subprocess.CompletedProcess([], 0, "MaxArraySize            = 1001\nMaxJobCount = 10000\n", "")
    monkeypatch.setattr(subprocess, "run", lambda *given, **named: said)
    assert slurm.max_array_size() == 1001
    monkeypatch.setattr(subprocess, "run", lambda *given, **named: subprocess.CompletedProcess([], 1, "", "error"))
    assert slurm.max_array_size() is None
