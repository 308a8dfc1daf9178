"""What a command line inherits from the demo, and what a dry run says."""

import pytest

from jobs.entry import inherited

VALUES = {"sampler": {"name": "vllm"}, "model": {"name": "small", "prompt": {"few_shot": [1, 2]}}}
PATTERNS, PROMPT = "the demo set's answer patterns apply", "the demo model's prompt with 2 examples"


@pytest.mark.parametrize(
    ("overrides", "sampler", "expected"),
    [
        ((), "vllm", []),
        (("problems.path=a",), "vllm", [PATTERNS, f"small answers, the demo's model, and {PROMPT} applies"]),
        (("problems.path=a", "problems=own", "model=own"), "vllm", []),
        (
            ("problems.path=a", "problems.patterns=[]", "+model.path=b"),
            "vllm",
            [f"{PROMPT}, its sampling and its limits apply"],
        ),
        (("problems.path=a", "model.path=b", "model.prompt.few_shot=[]"), "vllm", [PATTERNS]),
        (("problems.path=a", "model.path=b"), "simulated", [PATTERNS]),
        (("problems.path=a",), "replay", []),
    ],
)
def test_what_is_the_demos_is_said(overrides, sampler, expected):
    lines = inherited(overrides, VALUES | {"sampler": {"name": sampler}})
    assert len(lines) == len(expected) and all(part in line for part, line in zip(expected, lines, strict=True)), lines
