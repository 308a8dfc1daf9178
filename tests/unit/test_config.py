from itertools import product

import pytest

from jobs import entry
from pruner.config.identity import identity
from pruner.config.job import parse
from pruner.errors import InputError
from pruner.judges.registry import JUDGES
from pruner.methods.base import MethodContext
from pruner.methods.registry import METHODS
from pruner.samplers.registry import SAMPLERS
from pruner.settings.dotted import differing_keys
from pruner.settings.model import FIXED_DATE
from pruner.shard import build
from tests.composed import CONF, composed, config

MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
# What a choice cannot do without.
NEEDED = {
    "model=own": ["model.path=/models/own"],
    "sampler=replay": ["sampler.source=x"],
    "sampler=server": ["sampler.urls=[http://h:1]"],
    "judge=noisy_oracle": ["sampler=replay", "sampler.source=x"],
    "judge=recorded": ["sampler=replay", "sampler.source=x"],
    "judge=oracle": ["judge.source=x"],
}


@pytest.mark.parametrize(("group", "found"), [("method", METHODS), ("judge", JUDGES), ("sampler", SAMPLERS)])
def test_whatever_is_registered_has_shipped_values_under_its_name(group, found):
    shipped = {path.stem for path in (CONF / group).glob("*.yaml")}
    assert shipped - {"deepprune_4b"} == set(found)  # a judge of the kind llm
    for name in found:
        assert composed("config", f"{group}={name}", *NEEDED.get(f"{group}={name}", []))[group]["name"] == name


def chosen(**choices):
    """Return the config with a choice in some groups. Each is composed once: a choice is a section of its own."""
    values = composed("config")
    for group, name in choices.items():
        choice = f"{group}={name}"
        values[group] = composed("config", choice, *NEEDED.get(choice, []))[group]
    return parse(values)


def test_every_shipped_choice_is_valid_with_those_that_it_has_to_do_with():
    samplers = {"noisy_oracle": "replay", "recorded": "replay"}
    for model, judge in product(MODELS, ("probe", "llm")):
        assert chosen(model=model, judge=judge, sampler="vllm").model.name == model
    for method, judge in product(METHODS, JUDGES):
        found = chosen(method=method, judge=judge, sampler=samplers.get(judge, "vllm"))
        assert (found.method.name, found.judge.name) == (method, judge)
    for method, prefix in product(METHODS, ("fixed", "reasoning_words")):
        assert chosen(method=method, prefix=prefix).prefix.name == prefix
    for method, sampler in product(METHODS, SAMPLERS):
        assert chosen(method=method, sampler=sampler).sampler.name == sampler


@pytest.mark.parametrize("name", ["aime24", "aime25", "gpqa", "own"])
def test_sets_that_a_user_brings_ask_for_their_path(name):
    with pytest.raises(InputError, match=r"problems.path must be set"):
        config(f"problems={name}")
    assert config(f"problems={name}", "problems.path=x.parquet").problems.path == "x.parquet"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method.price=-1", "method.price: got -1"),
        ("budget=0", "budget: got 0"),
        ("budget=x", "budget: got 'x'"),
        ("shard.index=3", "index: got 3, expected a number below count = 1"),
        ("+method.tua=1", "unknown key method.tua"),
        ("+nonsense=1", "unknown key nonsense"),
        ("sampler.exact=1", "sampler.exact: got 1"),
        ("method.name=other", "method: got"),
        ("run.name=a/b", "run.name: got 'a/b'"),
        ("run.name=..", "run.name: got '..'"),
        ("seed=99999999999999999999", "seed: got"),
        ("problems.patterns=['(']", "is no regular expression"),
    ],
)
def test_wrong_values_are_named(override, message):
    with pytest.raises(InputError) as caught:
        config(override)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method=adaptive", "method.threshold=0.4"], "method.threshold: got 0.4"),
        (["method=adaptive", "method.wave=0"], "method.wave: got 0"),
        (["method=esc", "method.window=1"], "method.window: got 1"),
        (["method=deepconf_offline", "method.score=median"], "method.score: got 'median'"),
        (["method=deepconf_offline", "method.keep=0"], "method.keep: got 0"),
        (["method=deepconf_online", "method.keep=10"], "method.keep: got 10"),
        (["method=deepconf_online", "method.consensus=0"], "method.consensus: got 0"),
        (["method=deepconf_online", "method.warmup=0"], "method.warmup: got 0"),
    ],
)
def test_each_method_refuses_what_is_out_of_its_range(overrides, message):
    with pytest.raises(InputError) as caught:
        config(*overrides)
    assert message in str(caught.value)


REPLAY = ("sampler=replay", "sampler.source=x")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sampler=simulated", "judge=llm"], "judge: got llm, expected oracle or probe with sampler=simulated."),
        (["sampler=simulated", "judge=recorded"], "judge: got recorded, expected oracle or probe with"),
        (
            [*REPLAY, "judge=llm"],
            "judge: got llm, which needs an engine, with sampler=replay. Expected noisy_oracle, oracle, ",
        ),
        ([*REPLAY, "judge=llm"], "recorded or trained (a lexical one)."),
        (["sampler=vllm", "judge=noisy_oracle"], "judge: got noisy_oracle, which needs sampler=replay."),
        (["sampler=vllm", "judge=oracle"], "judge.source: got null, expected the folder of a run of method=cons"),
    ],
)
def test_a_judge_that_cannot_judge_a_samplers_traces_is_refused(overrides, message):
    with pytest.raises(InputError) as caught:
        config(*overrides, "method=deepprune")
    assert message in str(caught.value)
    config(*overrides, "method=cons")  # which asks no judge


@pytest.mark.parametrize("method", METHODS)
def test_confidences_are_sampled_for_the_methods_that_need_them(method):
    found = config(f"method={method}")
    assert build.trace_rule(found).decoding.has_confidence == found.method.needs_confidence


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_made(method):
    found = config(f"method={method}")
    made = found.method.make(MethodContext("p", found.budget, found.seed, found.prefix.make()))
    assert len(made.begin()) >= 1


def test_identity_leaves_out_what_cannot_change_results():
    base = identity(config(), {})
    for override in ("shard.count=2", "checkpoint.every_s=1", "run.root=x", "sampler.max_running_traces=3"):
        assert identity(config(override), {}) == base
    online = identity(config("method=deepconf_online"), {})
    for override in ("keep=0.9", "consensus=null", "wave=1", "window=16", "warmup=4"):
        assert differing_keys(online, identity(config("method=deepconf_online", f"method.{override}"), {}))
    for override in ("seed=1", "budget=3", "model.sampling.temperature=0.1", "method.price=0.2", "sampler.exact=false"):
        assert differing_keys(base, identity(config(override), {}))


def test_a_method_without_a_judge_does_not_care_about_judges():
    for method in METHODS:
        if config(f"method={method}").method.uses_judge:
            continue
        assert identity(config(f"method={method}", "judge=llm"), {}) == identity(config(f"method={method}"), {})


def test_differing_keys_name_both_values():
    assert differing_keys({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}) == ["b: 2 -> 3", "c: unset -> 4"]


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "default"),
        (["method=cons", "budget=32"], "budget=32,method=cons"),
        (["shard.index=1", "shard.count=3", "run.root=/x"], "default"),
        (["problems.path=/data/my set.parquet"], "problems.path=my_set"),
    ],
)
def test_a_run_is_named_after_its_overrides(overrides, name):
    from jobs.run import NOT_IN_NAMES

    assert entry.run_name(overrides, NOT_IN_NAMES) == name


def test_settings_that_came_later_leave_the_identity_of_earlier_runs_as_it_was():
    before = identity(config(), {})
    assert not {"sampler.aligned", "model.hf_overrides", "model.prompt.date", "judge.opening"} & before.keys()
    was = {
        "sampler.aligned": "false",
        "model.prompt.date": f'"{FIXED_DATE}"',
        "model.hf_overrides.rope_parameters.factor": "unset",
    }
    later = {
        "sampler.aligned=true": "sampler.aligned",
        "+model.hf_overrides.rope_parameters.factor=2.0": "model.hf_overrides.rope_parameters.factor",
        "+model.prompt.date='2025-08-05'": "model.prompt.date",
    }
    for override, key in later.items():
        assert differing_keys(before, identity(config(override), {})) == [
            f"{key}: {was[key]} -> {identity(config(override), {})[key]}"
        ]
    with_opening = identity(config("method=deepprune", "judge=llm", "judge.opening='</think>'"), {})
    assert with_opening.keys() - identity(config("method=deepprune", "judge=llm"), {}).keys() == {"judge.opening"}


def test_a_date_that_is_none_is_refused():
    with pytest.raises(InputError, match="model.prompt.date"):
        config("+model.prompt.date=yesterday")
