"""What several folders of tests share."""

from pathlib import Path

import pytest
from hypothesis import settings

from tests.live.jobs_under_test import PROJECT
from tests.results_under_test import make_sweep

# Folders whose tests share one thing that there is only one of: with xdist, one worker runs them.
GROUPS = ("slurm", "browser")
# What waits or takes long starts first, so that the many short tests run beside it.
FIRST = ("test_random_kills_lose_and_double_nothing", "slurm", "chaos", "browser", "jobs")

settings.register_profile("tests", deadline=None)  # how long an example takes depends on what else runs
settings.load_profile("tests")


def pytest_collection_modifyitems(items):
    """Group and order the tests for xdist (tests/run.sh). The order within a folder stays."""
    for item in items:
        if (folder := folder_of(item)) in GROUPS:
            item.add_marker(pytest.mark.xdist_group(folder))
    items.sort(key=place)


def place(item):
    names = [name for name in (item.originalname, folder_of(item)) if name in FIRST]
    return FIRST.index(names[0]) if names else len(FIRST)


def folder_of(item):
    return Path(item.path).parent.name


@pytest.fixture
def serving():
    """A function that starts something that serves, or that is served; all of it is closed afterwards."""
    started = []

    def start(kind, *arguments, **named):
        started.append(kind(*arguments, **named))
        return started[-1]

    yield start
    for each in reversed(started):
        each.close()


@pytest.fixture(scope="session")
def demo_project(tmp_path_factory):
    """A folder that is this project but for the outputs, so that nobody's runs are in the way."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("README.md", "pyproject.toml", "conf", "jobs", "pruner", "slurm", "tests", ".cache", ".venv"):
        (folder / name).symlink_to(PROJECT / name)
    (folder / "outputs").mkdir()
    return folder


@pytest.fixture(scope="session")
def sweep(tmp_path_factory):
    """The folder of three small simulated runs: method=cons, and deepprune with two thresholds."""
    return make_sweep(tmp_path_factory.mktemp("sweep") / "outputs")
