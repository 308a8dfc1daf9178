"""Jobs on engines that abort, die, hang and lie; a thousand faults by hand: `python -m tests.chaos.engine_faults`."""

from tests.chaos.engine_faults import disturb
from tests.chaos.harness import report


def test_whatever_an_engine_does_only_whole_completions_become_facts_and_none_is_lost(tmp_path):
    done = disturb(tmp_path, 15, 20261126)
    print(report(done))
    assert done["faults"] >= 15
