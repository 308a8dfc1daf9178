"""A job on two servers that fail in every way; a thousand faults by hand: `python -m tests.chaos.served`."""

from tests.chaos.served import disturb
from tests.fault_proxy import FAULTS


def test_faults_and_killed_servers_and_jobs_change_no_row_and_the_key_is_nowhere(tmp_path):
    done = disturb(tmp_path, is_real=False, problems=24, faults=4 * len(FAULTS), server_kills=2, job_kills=2)
    print(done)
    assert done["server killed"] == 2 and done["job killed"] >= 1
    assert all(done[kind] >= 2 for kind in FAULTS)
