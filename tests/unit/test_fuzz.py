"""A short run of the fuzzer, the same inputs every time; `python -m tests.fuzz --examples 2000` is the long one."""

import pytest

from tests.fuzz.fuzzing import Outcomes, fuzz
from tests.fuzz.targets import TARGETS

# What starts whole jobs takes up to a second an example.
EXAMPLES = {"command lines": 12, "names": 6, "run.json and progress": 2, "files of runs, bytes": 3}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_bad_input_of_every_kind_ends_with_0_or_2(target):
    outcomes = Outcomes()
    fuzz(target, EXAMPLES.get(target.name, 40), outcomes)
    assert outcomes.other == 0 and outcomes.tried
