import os
import shutil
import subprocess

import pytest

from tests.live.jobs_under_test import PROJECT, cannot_run


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A real Slurm on this machine; taken down with everything on it."""
    if os.geteuid() != 0 or shutil.which("slurmctld") is None:
        cannot_run("slurm/cluster.sh needs root and Debian's slurm-wlm and munge")
    folder = tmp_path_factory.mktemp("slurm") / "cluster"
    environment = os.environ | {"PRUNER_CLUSTER": str(folder), "PRUNER_CLUSTER_CPUS": "8"}
    command = ["bash", str(PROJECT / "slurm/cluster.sh")]
    result = subprocess.run([*command, "up"], env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    os.environ["SLURM_CONF"] = result.stdout.strip().removeprefix("export SLURM_CONF=")
    try:
        yield command
    finally:
        del os.environ["SLURM_CONF"]
        result = subprocess.run([*command, "down"], env=environment, capture_output=True, text=True, timeout=120)
        assert result.returncode == 0 and not folder.exists(), result.stderr
