"""How servers are named and described: settings, addresses, keys, and what a plan makes of them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from jobs.compose import main_config
from jobs.entry import quote_values
from pruner.errors import InputError
from pruner.samplers.base import SamplerContext
from pruner.samplers.served.addresses import Servers, api_key
from pruner.samplers.served.facts import ServerFacts, check_recorded, differences
from pruner.simulation.planning import Curve

URL = "sampler.urls=[http://127.0.0.1:8000]"
FACTS = ServerFacts("m", "/m", "0.32.0", 2048, "vllm", 1000, 16, True, True, True, True, (-1.0,))


def composed(*overrides):
    return main_config(["sampler=server", *overrides])


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("sampler.urls=[]", "sampler.urls: got none"),
        ("sampler.urls=http://h:1", "expected .http://HOST:PORT,.... or @FILE"),
        ("sampler.urls=[ftp://h:1]", "expected http://HOST:PORT"),
        ("sampler.urls=['http://h:99999']", "no URL"),
        ("sampler.urls=['http://user:secret@h:1']", "PRUNER_API_KEY"),
        ("sampler.urls=['http://h:1/?key=secret']", "without"),
        ("sampler.urls=['http:/user:secret@h:1']", "expected http://HOST:PORT"),
        ("sampler.urls=@", "@FILE"),
    ],
)
def test_what_names_no_server_is_refused(override, line):
    with pytest.raises(InputError, match=line) as refused:
        composed(override)
    assert "secret" not in str(refused.value)


def test_the_servers_of_a_judge_are_its_own():
    with pytest.raises(InputError, match="judge.urls: a colocated judge runs on the sampler's engine"):
        composed(URL, "method=deepprune", "judge=llm", "judge.urls=[http://h:2]")
    config = composed(URL, "method=deepprune", "judge=llm", "judge.colocate=false", "judge.urls=[http://h:2]")
    engine = config.judge.engine()
    assert engine.urls == ("http://h:2",) and engine.num_gpus == 0
    lacking = composed(URL, "method=deepprune", "judge=llm", "judge.colocate=false")
    with pytest.raises(InputError, match="judge.urls"):
        lacking.sampler.check(SamplerContext(0, lacking.model, lacking.judge.engine()))


def test_a_colocated_adapter_needs_the_name_that_servers_give_it():
    config = composed(URL, "method=deepprune", "judge=llm", "judge.adapter=outputs")
    with pytest.raises(InputError, match="judge.served_name"):
        config.sampler.check(SamplerContext(0, config.model, config.judge.engine()))


def test_urls_are_read_without_v1_and_each_once(tmp_path):
    listed = Servers(("http://h:1/v1/", "http://h:1", "https://g/x/v1"), None, 16)
    assert listed.addresses() == ("http://h:1", "https://g/x") and listed.count == 2
    file = tmp_path / "urls"
    servers = Servers(f"@{file}", None, 16, setting="judge.urls")
    assert servers.addresses() == () and servers.count == 1
    file.write_text("# two\nhttp://a:1  # one\n\nhttp://b:2/v1\n")
    assert servers.addresses() == ("http://a:1", "http://b:2")
    file.write_text("http://a:1\nnot a url\n")
    with pytest.raises(InputError, match="judge.urls: .*urls: got"):
        servers.addresses()
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read"):
        servers.addresses()


def test_a_key_comes_from_the_environment_and_must_fit_a_header(monkeypatch):
    monkeypatch.delenv("PRUNER_API_KEY", raising=False)
    assert api_key("PRUNER_API_KEY") is None
    monkeypatch.setenv("PRUNER_API_KEY", " abc ")
    assert api_key("PRUNER_API_KEY") == "abc"
    monkeypatch.setenv("PRUNER_API_KEY", "a\nb: c")
    with pytest.raises(InputError, match="printable") as refused:
        api_key("PRUNER_API_KEY")
    assert "b: c" not in str(refused.value)


def test_a_run_is_warned_of_what_servers_lack():
    assert FACTS.warnings(16) == []
    lacking = replace(
        FACTS,
        block_tokens=32,
        has_prefix_cache=False,
        has_seeds=False,
        takes_priorities=False,
        reports_cached=False,
    )
    warnings = " ".join(lacking.warnings(16))
    assert all(word in warnings for word in ("priorities", "seeded", "prefixes", "blocks of 32"))


def test_servers_of_one_run_are_alike_as_far_as_they_show_it():
    assert differences(FACTS, replace(FACTS, block_tokens=None, has_prefix_cache=None, has_seeds=False)) == []
    assert differences(FACTS, replace(FACTS, block_tokens=32)) == ["the cache's block: 32 here, 16 on the others"]
    assert differences(FACTS, replace(FACTS, weights=(-1.2,)))
    assert not differences(FACTS, replace(FACTS, weights=(-1.02,)))


def test_a_run_goes_on_with_its_model_and_a_newer_server():
    recorded = json.loads(json.dumps({"servers": 2} | FACTS.record()))  # as an earlier version wrote it
    check_recorded(recorded, replace(FACTS, version="0.33.0", max_model_len=4096))
    with pytest.raises(InputError, match="it was begun with m, the servers have n"):
        check_recorded(recorded, replace(FACTS, model="n"))
    with pytest.raises(InputError, match="another model"):
        check_recorded(recorded, replace(FACTS, weights=(-2.0,)))
    with pytest.raises(InputError, match=r"run\.json: its record of the servers cannot be read"):
        check_recorded({}, FACTS)


def test_where_a_run_works_is_no_part_of_its_identity():
    sampler = composed(URL).sampler
    assert {"urls", "patience_s", "max_running_traces"} <= set(sampler.not_identity)
    assert sampler.servers.count == 1 and sampler.max_running == 256 and sampler.align_tokens == 16
    assert composed("sampler.urls=[http://a:1,http://b:1]").sampler.max_running == 512


def test_tasks_share_the_servers():
    curve = Curve(((1, 20.0), (64, 240.0)))
    assert curve.shared(2, 1).points == ((2, 40.0), (128, 480.0))
    assert curve.shared(1, 4).points == ((1, 5.0), (16, 60.0))


def test_lists_within_lists_keep_their_commas():
    [found] = quote_values(["overrides=[sampler=server,'sampler.urls=[http://a:1,http://b:2]',x=64]"])
    assert found == "overrides=['sampler=server','sampler.urls=[http://a:1,http://b:2]','x=64']"
    assert quote_values(["stop=[don't=a,can't]"]) == [r"stop=['don\'t=a','can\'t']"]
