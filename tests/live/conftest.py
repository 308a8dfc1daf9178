"""Runs with the real engine that nothing disturbs: each is made once, and several tests compare others with it."""

import pytest

from tests.live.jobs_under_test import APART, JUDGED, SMALL, run_job


def made(tmp_path_factory, name, *overrides):
    root = tmp_path_factory.mktemp(name)
    run_job(root, *SMALL, *overrides)
    return root


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory):
    """method=deepprune, pairs judged by probes."""
    return made(tmp_path_factory, "uninterrupted")


@pytest.fixture(scope="session")
def all_traces(tmp_path_factory):
    """method=cons."""
    return made(tmp_path_factory, "all_traces", "method=cons", "results.token_ids=true")


@pytest.fixture(scope="session")
def judged(tmp_path_factory):
    """A generative judge on the sampler's engine."""
    return made(tmp_path_factory, "judged", *JUDGED)


@pytest.fixture(scope="session")
def judged_apart(tmp_path_factory):
    """The same judge on an engine of its own."""
    return made(tmp_path_factory, "judged_apart", *JUDGED, *APART)
