"""A small simulated run that unit tests share."""

import shutil

import pytest

from tests.fuzz.target import one_run


@pytest.fixture(scope="session")
def whole():
    """A root with one small run."""
    return one_run()


@pytest.fixture
def root(whole, tmp_path):
    """A copy of it, with a second run beside."""
    for name in ("run", "other"):
        shutil.copytree(whole / "run", tmp_path / "o" / name)
    return tmp_path / "o"
