"""Every command of the README runs, in order, from the project's folder."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.live.jobs_under_test import PROJECT

pytestmark = pytest.mark.live

# The test command is what runs this test.
BLOCKS = [block.strip() for block in re.findall(r"```bash\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)]
COMMANDS = [block for block in BLOCKS if block != "bash tests/run.sh"]


def test_the_readme_names_the_test_command():
    assert "bash tests/run.sh" in BLOCKS and len(COMMANDS) >= 6


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: block.splitlines()[0][:60])
def test_every_command_works(block):
    result = subprocess.run(["bash", "-euc", block], cwd=PROJECT, capture_output=True, text=True)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    if block == "bash slurm/run.sh":
        assert "56 problems, results in outputs/default" in result.stdout
        assert "by vote" in result.stdout and "saved" in result.stdout
    if "jobs.query" in block:
        assert "cons" in result.stdout and "deepprune" in result.stdout
