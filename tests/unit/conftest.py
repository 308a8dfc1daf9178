"""A small simulated run that unit tests share."""

import shutil

import pytest

from tests.fuzz.jobs_in_process import call

# A run that takes a second.
SMALL = ("sampler=simulated", "problems.limit=2", "budget=2", "method=cons", "progress.bar=false")


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A root with one small run."""
    root = tmp_path_factory.mktemp("whole")
    result = call("run", *SMALL, f"run.root={root}", "run.name=run")
    assert result.code == 0, result.errors
    return root


@pytest.fixture
def root(whole, tmp_path):
    """A copy of it, with a second run beside."""
    for name in ("run", "other"):
        shutil.copytree(whole / "run", tmp_path / "o" / name)
    return tmp_path / "o"
