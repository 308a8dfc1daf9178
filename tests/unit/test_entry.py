"""What a command line inherits from the demo, and what a dry run says."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from jobs.entry import inherited, quote_values

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


@pytest.mark.parametrize(
    ("given", "is_sweep", "expected"),
    [
        ("a=b", False, "a=b"),
        ("sampler.source=outputs/method=cons", False, "sampler.source='outputs/method=cons'"),
        ("sampler.source=outputs/method=cons,seed=1", False, "sampler.source='outputs/method=cons,seed=1'"),
        ("x=a=1,b=2,c", True, "x='a=1','b=2',c"),
        ("sources=[outputs/method=cons,b]", False, "sources=['outputs/method=cons',b]"),
        ("""x="'a=b'" """, False, """x="'a=b'" """),
        ("points=[\"method=worth\"]", False, "points=[\"method=worth\"]"),
        ("x={a: b=c}", False, "x={a: b=c}"),
        ("problems.path=/데이터/산수🙂.parquet", False, "problems.path='/데이터/산수🙂.parquet'"),
        ("problems.path=~/my set.parquet", False, "problems.path='~/my set.parquet'"),
        ("x=it's=1", False, r"x='it\'s=1'"),
        ("x=[a,é]", False, "x=[a,'é']"),
        ("x=[[", False, "x=[["),
        ("x=${seed}=1", False, "x=${seed}=1"),
        ("--config-dir=a=b", False, "--config-dir=a=b"),
        ("-m", False, "-m"),
    ],
)  # fmt: skip
def test_values_with_an_equals_sign_get_the_quotes_that_hydra_needs(given, is_sweep, expected):
    assert quote_values([given], is_sweep) == [expected]
    if expected != given:
        assert OverridesParser.create().parse_override(expected).key_or_group == given.partition("=")[0]
