"""Every command of every README runs, in order, from the folder of a project like this one."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.documents import PROJECT, README, documents
from tests.live.jobs_under_test import DEMO_COMMANDS, DEMO_PROBLEMS

pytestmark = pytest.mark.live

BLOCK = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)
# The test command is what runs this test.
TEST_COMMAND = "bash tests/run.sh"


def blocks() -> list[tuple[Path, str]]:
    """Return every bash block with its document, the README's first: the others query its runs.

    The guides' commands need the guides' files and are run by tests of their own.
    """
    found = [path for path in documents() if path.name != "ADDING.md"]
    return [(path, block.strip()) for path in found for block in BLOCK.findall(path.read_text())]


COMMANDS = [(path, block) for path, block in blocks() if block != TEST_COMMAND]


def name_of(value: object) -> str:
    if isinstance(value, Path):
        return str(value.relative_to(PROJECT))
    return str(value).splitlines()[0][:60]


def test_the_readme_names_the_test_command():
    assert (README, TEST_COMMAND) in blocks()
    first_minute, *runs = [block for path, block in COMMANDS if path == README]
    assert first_minute.endswith("-m jobs.compare") and runs[:2] == list(DEMO_COMMANDS)


def test_no_command_is_in_two_documents():
    lines = [line for _, block in COMMANDS for line in block.splitlines()]
    assert len(lines) == len(set(lines)), sorted({line for line in lines if lines.count(line) > 1})


@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("document", "block"), COMMANDS, ids=name_of)
def test_every_command_works(demo_project, document, block):
    """The first two on a part of the demo set, to take less time; what follows uses their runs."""
    result = subprocess.run(
        ["bash", "-euc", DEMO_COMMANDS.get(block, block)], cwd=demo_project, capture_output=True, text=True
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    if block == "bash slurm/run.sh":
        assert f"{DEMO_PROBLEMS} problems, results in outputs/default" in result.stdout
        assert "by vote" in result.stdout and "saved" in result.stdout
    if "jobs.query leaderboard" in block:
        assert "cons" in result.stdout and "worth" in result.stdout
    if "--signal=INT" in block:
        assert "exit code 75" in result.stdout and "resumable" in result.stdout
        assert "56 problems, results in .cache/example" in result.stdout
