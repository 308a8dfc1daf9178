"""Jobs on servers, from the command line: what they say, what they refuse, how they end. The servers have no model."""

from __future__ import annotations

import json

import pytest

from tests.documents import PROJECT
from tests.fake_server import Fake, FakeServer
from tests.job_processes import run
from tests.live.jobs_under_test import assert_accounting_agrees

SMALL = (
    "sampler=server",
    "problems.limit=4",
    "budget=4",
    "sampler.segment_tokens=64",
    "sampler.patience_s=2",
    "method=cons",
)


@pytest.fixture
def fake(serving):
    return serving(FakeServer, Fake())


def started(root, *overrides, **named):
    return run("run", f"run.root={root}", "run.name=run", *SMALL, *overrides, **named)


def test_a_run_says_on_what_it_works_and_records_it(fake, tmp_path):
    result = started(tmp_path, f"sampler.urls=[{fake.url}]")
    assert result.returncode == 0, result.stderr
    assert "on one server with fake, vLLM 0.32.0, a context of 2,048 tokens" in result.stderr
    assert_accounting_agrees(tmp_path / "run")
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["served"]["model"] == "fake" and record["served"]["has_seeds"]
    assert "served, tokenizer" in record["identity"]["fingerprint.model"]
    assert not any("urls" in key for key in record["identity"])


def test_a_run_goes_on_at_another_address_and_not_with_another_model(serving, fake, tmp_path):
    assert started(tmp_path, f"sampler.urls=[{fake.url}]").returncode == 0
    moved, other = serving(FakeServer, Fake()), serving(FakeServer, Fake(weights=1))
    again = started(tmp_path, f"sampler.urls=[{moved.url}]")
    assert again.returncode == 0 and "nothing to do" in again.stderr
    refused = started(tmp_path, f"sampler.urls=[{other.url}]")
    assert refused.returncode == 2
    [line] = [each for each in refused.stderr.splitlines() if each.startswith("error: ")]
    assert "sampler.urls: another model: log-probabilities of a fixed text differ" in line


def test_without_a_server_a_job_waits_and_ends_resumable(tmp_path):
    result = started(tmp_path, f"sampler.urls=@{tmp_path / 'urls'}")
    assert result.returncode == 75 and "no server gave a sign in 2 s (sampler.urls names none yet)" in result.stderr
    assert "waiting for a server" in result.stderr and not (tmp_path / "run").exists()
    result = started(tmp_path, "sampler.urls=[http://127.0.0.1:9]")
    assert result.returncode == 75 and "no connection" in result.stderr


def test_a_dry_run_asks_no_server(tmp_path):
    result = started(
        tmp_path, "sampler.urls=[http://127.0.0.1:9]", "dry_run=true", environment={"PRUNER_API_KEY": "secret"}
    )
    assert (
        result.returncode == 0
        and "http://127.0.0.1:9" in result.stdout
        and "secret" not in result.stdout + result.stderr
    )


def test_a_run_is_refused_if_its_servers_differ(serving, fake, tmp_path):
    other = serving(FakeServer, Fake(weights=1))
    result = started(tmp_path, f"sampler.urls=[{fake.url},{other.url}]")
    assert result.returncode == 2 and "sampler.urls: the servers differ: http" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_wrong_key_is_named_and_not_shown(serving, tmp_path):
    fake = serving(FakeServer, Fake(key="right"))
    result = started(tmp_path, f"sampler.urls=[{fake.url}]", environment={"PRUNER_API_KEY": "wrong-key"})
    assert result.returncode == 2 and "PRUNER_API_KEY" in result.stderr and "wrong-key" not in result.stderr


def test_the_doctor_says_what_servers_hold(fake):
    arguments = [
        *SMALL,
        "sampler.max_running_traces=16",
        "sampler.cache_block_tokens=32",
        f"sampler.urls=[{fake.url},http://127.0.0.1:9]",
    ]
    result = run("doctor", "--no-engine", *arguments)
    assert result.returncode == 1 and "http://127.0.0.1:9: no connection" in result.stdout, result.stderr
    result = run("doctor", *arguments[:-1], f"sampler.urls=[{fake.url}]")
    assert "WARN servers" in " ".join(result.stdout.split()) and "sampler.cache_block_tokens=16" in result.stdout, (
        result.stdout
    )
    assert "completions equal: alone and among 16 (servers promise nothing" in result.stdout


def test_a_plan_shares_the_servers_among_tasks():
    servers = "overrides=[sampler=server,'sampler.urls=[http://a:1,http://b:2]']"
    sizes = ("num_problems=56", "budget=16", "mean_tokens=29", "curve=[[1,20],[64,240]]")
    found = [run("plan", *sizes, servers, f"tasks={tasks}") for tasks in (1, 4)]
    assert all(each.returncode == 0 for each in found), found[0].stderr
    plans = [json.loads(each.stdout.strip().splitlines()[-1]) for each in found]
    assert plans[0]["gpu_hours"] == 0 and plans[0]["servers"] == 2
    assert plans[1]["wall_s"] == pytest.approx(plans[0]["wall_s"], rel=0.5)


def test_the_shipped_file_says_that_urls_must_be_given():
    result = run("run", "sampler=server")
    assert result.returncode == 2 and "sampler.urls must be set" in result.stderr
    assert (PROJECT / "conf/sampler/server.yaml").read_text().count("???") == 1
