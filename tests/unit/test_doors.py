"""The guides on adding a method, a judge and a sampler hold: what they show is put in place as it stands, and run."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pruner.results.audit import audit

PROJECT = Path(__file__).parents[2]
KINDS = {"methods": "short_only", "judges": "coin", "samplers": "dice", "answers": "yes_no"}
# A kind of answers has no settings.
WITHOUT_YAML = ("answers",)
_FILE = re.compile(r"`([\w/]+\.(?:py|yaml))`:\n\n```(?:python|yaml)\n(.*?)```", re.DOTALL)
_COMMAND = re.compile(r"```bash\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the packages and their configuration with everything in place that the guides show."""
    copy = tmp_path_factory.mktemp("project")
    for name in ("pruner", "jobs", "conf"):
        shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    for kind in KINDS:
        for path, text in files(kind).items():
            assert not (copy / path).exists(), f"{path} is there already"
            (copy / path).write_text(text)
    return copy


def guide(kind):
    return (PROJECT / "pruner" / kind / "ADDING.md").read_text()


def files(kind):
    """Return the files that a guide shows, by path."""
    return dict(_FILE.findall(guide(kind)))


def start(project, *overrides):
    command = [sys.executable, "-m", "jobs.run", *overrides]
    result = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_a_guide_shows_one_module_and_one_yaml_and_how_to_start_it(kind):
    assert [Path(path).suffix for path in files(kind)] == ([".py"] if kind in WITHOUT_YAML else [".py", ".yaml"])
    assert {Path(path).stem for path in files(kind)} == {KINDS[kind]}
    assert len(_COMMAND.findall(guide(kind))) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_guide_shows_runs_resumes_and_balances(project, tmp_path, kind):
    [command] = _COMMAND.findall(guide(kind))
    python, module, job, *overrides = shlex.split(command)
    assert (python, module, job) == (".venv/bin/python", "-m", "jobs.run")
    own = [*overrides, f"run.root={tmp_path}", "run.name=run"]
    start(project, *own)
    rows = pq.read_table(tmp_path / "run/answers/shard=0000.parquet").to_pylist()
    assert len(rows) == 4 and all(row["tokens_sampled"] > 0 for row in rows)
    found = audit(tmp_path / "run")
    assert not found.faults and not found.unchecked, str(found)
    assert "nothing to do" in start(project, *own).stderr


def test_a_new_method_replays_what_was_sampled(project, tmp_path):
    own = ["problems.limit=4", "budget=6", f"run.root={tmp_path}"]
    short = ["method=short_only", "method.max_tokens=200"]
    start(project, *own, "sampler=dice", "sampler.trace_tokens=150", "method=cons", "run.name=cons")
    start(project, *own, "sampler=dice", "sampler.trace_tokens=150", *short, "run.name=sampled")
    start(project, *own, "sampler=replay", f"sampler.source={tmp_path}/cons", *short, "run.name=replayed")
    columns = ["problem_id", "answer", "vote_counts", "traces_pruned", "tokens_sampled", "tokens_net"]
    sampled, replayed = (
        pq.read_table(tmp_path / name / "answers/shard=0000.parquet").select(columns).to_pylist()
        for name in ("sampled", "replayed")
    )
    assert sampled == replayed
