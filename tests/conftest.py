"""What several folders of tests share."""

import pytest

from tests.live.jobs_under_test import SMALL, run_job


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Tests of one group run one after another, in one worker: engines would fight for the cores, clusters for the node."""
    for item in items:
        if item.get_closest_marker("live"):
            item.add_marker(pytest.mark.xdist_group("engine"))
        elif item.get_closest_marker("slurm"):
            item.add_marker(pytest.mark.xdist_group("slurm"))


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory):
    """A small deepprune run with the real engine that nothing disturbed."""
    root = tmp_path_factory.mktemp("uninterrupted")
    run_job(root, *SMALL)
    return root
