"""The doctor on setups that are broken, each in its own way. With an engine it is tried in tests/live."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.job_processes import PROJECT, run

MODEL = PROJECT / ".cache/models/smollm2_135m"
OFFLINE = {"HF_HUB_OFFLINE": "1"}


def doctor(tmp_path, *overrides, patch="", environment=None):
    found = tmp_path / "found.json"
    arguments = ["--no-engine", "--json", str(found), f"run.root={tmp_path / 'outputs'}", *overrides]
    result = run("doctor", *arguments, patch=patch, environment=environment)
    findings = json.loads(found.read_text()) if found.exists() else []
    return result, {each["name"]: each for each in findings}


def test_a_sound_setup_passes(tmp_path):
    result, found = doctor(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert {"packages", "gpu", "memory", "disk", "locks", "model", "problems", "slurm"} == set(found)
    assert all(each["level"] == "PASS" for each in found.values()), result.stdout
    assert found["problems"]["figures"]["problems"] == 56
    assert list((tmp_path / "outputs").iterdir()) == []


def a_copy(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    return folder


def fake_smi(tmp_path):
    script = tmp_path / "bin" / "nvidia-smi"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\necho "NVIDIA A100, 535.104, 81920"\n')
    script.chmod(0o755)
    return {"PATH": f"{script.parent}:/usr/bin:/bin"}


NO_LOCKS = """
import os
def link(source, target, old=os.link):
    if os.path.exists(target):
        os.unlink(target)
    old(source, target)
os.link = link
"""
FULL = """
import shutil
shutil.disk_usage = lambda path: shutil._ntuple_diskusage(10**12, 10**12 - 10**6, 10**6)
"""
MORE_NEEDED = """
import pathlib, tempfile, pruner.system.packages as packages
text = packages._PROJECT.read_text().replace('dependencies = [', 'dependencies = ["no-such-package>=3",', 1)
packages._PROJECT = pathlib.Path(tempfile.mkstemp()[1])
packages._PROJECT.write_text(text)
"""


@pytest.mark.parametrize(
    ("name", "overrides", "patch", "environment", "says"),
    [
        ("model", ["model.path=/nowhere/model"], "", {}, "expected a model folder"),
        ("model", ["model.path={damaged}"], "", {}, "no readable safetensors file"),
        ("model", ["model.path=some/model"], "", OFFLINE, "jobs.fetch_model"),
        ("disk", [], FULL, {}, "Free some"),
        ("disk", ["run.root=/proc/nowhere"], "", {}, "/proc"),
        ("locks", [], NO_LOCKS, {}, "checkpoint.dir"),
        ("gpu", [], "", "fake", "PRUNER_ENGINE=cuda"),
        ("memory", ["sampler.kv_cache_gib=4000"], "", {}, "sampler.kv_cache_gib"),
        ("slurm", [], "", {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2"}, "--nodes=1"),
        ("problems", ["problems.path=nowhere.parquet"], "", {}, "nowhere.parquet"),
        ("problems", ["model.max_model_len=100"], "", {}, "max_model_len"),
        ("packages", [], MORE_NEEDED, {}, "no-such-package: not installed"),
    ],
)
def test_a_broken_setup_fails_with_the_mend(tmp_path, name, overrides, patch, environment, says):
    if "{damaged}" in "".join(overrides):
        folder = a_copy(tmp_path)
        weights = next(folder.glob("*.safetensors"))
        with weights.open("r+b") as file:
            file.truncate(weights.stat().st_size // 2)
        overrides = [f"model.path={folder}"]
    environment = fake_smi(tmp_path) if environment == "fake" else environment
    result, found = doctor(tmp_path, *overrides, patch=patch, environment=environment)
    assert result.returncode == 1, result.stdout + result.stderr
    assert found[name]["level"] == "FAIL", result.stdout
    assert says in found[name]["what"] + found[name]["advice"], found[name]
    assert "Traceback" not in result.stderr


def test_what_is_no_config_is_bad_input(tmp_path):
    result, _ = doctor(tmp_path, "budget=0")
    assert result.returncode == 2 and "error: budget: got 0" in result.stderr


def test_engines_that_cannot_be_started_fail(tmp_path):
    patch = "import pruner.shard.build as w\nfrom pruner.errors import EngineError\n"
    patch += "def fail(*_): raise EngineError('the engine died (exit code 1)')\nw.wait_for_engines = fail"
    result = run("doctor", f"run.root={tmp_path}", patch=patch)
    assert result.returncode == 1 and "FAIL  engines" in result.stdout and "VLLM_LOGGING_LEVEL" in result.stdout
    assert "resume" not in result.stdout
