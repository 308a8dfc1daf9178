"""What several folders of tests share."""

import pytest

from tests.live.jobs_under_test import SMALL, run_job


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory):
    """A small deepprune run with the real engine that nothing disturbed."""
    root = tmp_path_factory.mktemp("uninterrupted")
    run_job(root, *SMALL)
    return root
