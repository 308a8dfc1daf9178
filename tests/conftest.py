"""What several folders of tests share."""

import pytest

from tests.live.jobs_under_test import SMALL, run_job
from tests.results_under_test import make_sweep


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory):
    """A small deepprune run with the real engine that nothing disturbed."""
    root = tmp_path_factory.mktemp("uninterrupted")
    run_job(root, *SMALL)
    return root


@pytest.fixture(scope="session")
def sweep(tmp_path_factory):
    """The folder of three small simulated runs: method=cons, and deepprune with two thresholds."""
    return make_sweep(tmp_path_factory.mktemp("sweep") / "outputs")
