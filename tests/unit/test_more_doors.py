"""The examples of conf/problems/ADDING.md and conf/query/ADDING.md: their files are put in place and their commands run."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

PROJECT = Path(__file__).parents[2]
# A file of the example: the line before it ends with its path.
FILE = re.compile(r"`([\w./]+)`:\n\n```(?:python|yaml|sql|json)\n(.*?)```", re.DOTALL)
COMMANDS = re.compile(r"```bash\n(.*?)```", re.DOTALL)


@pytest.fixture
def project(tmp_path):
    """A copy of jobs/ and conf/ to add files to, with everything else as it is."""
    ignored = shutil.ignore_patterns("__pycache__", "shipped_judges", "ADDING.md")
    shutil.copytree(PROJECT / "jobs", tmp_path / "jobs", ignore=ignored)
    shutil.copytree(PROJECT / "conf", tmp_path / "conf", ignore=ignored)
    (tmp_path / "pruner").symlink_to(PROJECT / "pruner")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


def follow(project, door):
    """Write a door's files into the project; return its commands."""
    text = (PROJECT / door).read_text()
    for path, content in FILE.findall(text):
        (project / path).write_text(content)
    return [line for block in COMMANDS.findall(text) for line in block.splitlines()]


def outputs(project, commands):
    """Run commands as a user does; return what each printed."""
    printed = []
    for command in commands:
        result = subprocess.run(["bash", "-euc", command], cwd=project, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
        printed.append(result.stdout)
    return printed


def test_the_problem_set_of_the_example_is_run(project):
    commands = follow(project, "conf/problems/ADDING.md")
    outputs(project, commands)
    [run_json] = (project / "outputs").glob("*/run.json")
    rows = pq.read_table(run_json.parent / "answers/shard=0000.parquet").to_pylist()
    assert [(row["problem_id"], row["gold"]) for row in rows] == [("sky", "B"), ("legs", "C")]
    assert rows[1]["question"] == "How many legs does a spider have?\n\nA) 4\nB) 6\nC) 8\nD) 10"
    assert json.loads(run_json.read_text())["config"]["problems"]["answers"] == "choice"


def test_the_query_of_the_example_is_listed_and_answers(project, sweep):
    commands = follow(project, "conf/query/ADDING.md")
    (project / "outputs").symlink_to(sweep)
    listed, shown, as_csv = outputs(project, commands)
    assert "vote_share\n    How often answers are right" in listed and "--param step=0.25   width of a step" in listed
    assert "share_from" in shown and "cons" in shown
    head, *rows = as_csv.splitlines()
    assert head == "run,share_from,problems,accuracy"
    assert {row.split(",")[-3] for row in rows} <= {"0.0", "0.5", "1.0"} and rows
