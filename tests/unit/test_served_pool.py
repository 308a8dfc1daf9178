"""Requests on servers that fail in every way: each completion is whole, its own, and there once."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from pruner.errors import EngineError, InputError, Unavailable
from pruner.prompts import ChatPrompts
from pruner.records.traces import PairKey, SegmentKey, TokenIds
from pruner.samplers.base import Decoding, Request
from pruner.samplers.served import pool
from pruner.samplers.served.examination import Facts, differences, wanted
from pruner.samplers.served.sampler import Servers, ServerSampler, first_contact
from pruner.settings.model import PromptConfig
from tests.fake_server import Fake, FakeServer, loaded_tokenizer
from tests.fault_proxy import FAULTS, FaultProxy, ProxyServer

SERVERS = Servers((), None, 16, connect_s=5.0, stall_s=1.0, patience_s=20.0)
PROMPT = TokenIds(range(100, 164))


def want(model=None, adapter=None, context=2048):
    tokenizer = loaded_tokenizer()
    return wanted(ChatPrompts(tokenizer, PromptConfig()), tokenizer, context, model, adapter)


def requests(count, tokens=64, traces=0):
    decoding = Decoding(temperature=0.6)
    return [
        Request(
            SegmentKey("p", i % traces if traces else i, i // traces if traces else 0), PROMPT, tokens, i, 0, decoding
        )
        for i in range(count)
    ]


def drain(sampler, timeout_s=120.0):
    found, deadline = {}, time.monotonic() + timeout_s
    while sampler.num_running:
        assert time.monotonic() < deadline, f"{sampler.num_running} still run"
        for completion in sampler.step():
            assert completion.key not in found
            found[completion.key] = completion
    return found


@pytest.fixture
def serving():
    """A function that starts what serves, all of it ended afterwards."""
    started = []

    def start(kind, *arguments, **named):
        started.append(kind(*arguments, **named))
        return started[-1]

    yield start
    for each in reversed(started):
        each.close()


@pytest.fixture
def sampling(serving):
    """A function that starts a sampler on URLs."""

    def start(*urls, expected=None, model=None, adapter=None, **settings):
        chosen = replace(SERVERS, urls=urls if len(urls) != 1 or urls[0][:1] != "@" else urls[0], **settings)
        return serving(ServerSampler, chosen, want(model, adapter), expected)

    return start


def bare(completions):
    return {key: replace(completion, cached_tokens=0) for key, completion in completions.items()}


def test_a_thousand_faults_lose_double_and_mix_nothing(serving, sampling):
    fake = serving(FakeServer, Fake())
    proxy = FaultProxy(fake.url, share=0.4, most=1000, hang_s=3.0)
    sampler = sampling(serving(ProxyServer, proxy).url, stall_s=0.5)
    undisturbed = sampling(fake.url)
    asked = requests(1600)
    undisturbed.wait_ready(lambda: False)
    undisturbed.submit(asked)
    expected = drain(undisturbed)
    sampler.wait_ready(lambda: False)
    sampler.submit(asked)
    found = drain(sampler)
    assert found.keys() == {request.key for request in asked}
    assert bare(found) == bare(expected)
    assert proxy.counts.total() == 1000 and proxy.counts.keys() == set(FAULTS), proxy.counts
    assert sampler.running_tokens == 0 and sampler.cancelled_tokens > 0


def test_a_trace_stays_on_the_server_that_has_its_beginning(serving, sampling):
    fakes = [serving(FakeServer, Fake(keeps_seen=True)) for _ in range(2)]
    sampler = sampling(*(fake.url for fake in fakes))
    sampler.wait_ready(lambda: False)
    time.sleep(1.0)
    for segment in range(4):
        sampler.submit([replace(each, key=SegmentKey("p", each.seed, segment)) for each in requests(24)])
        drain(sampler)
    seeds = [[body["seed"] for body in fake.fake.seen if "request_id" in body] for fake in fakes]
    assert not set(seeds[0]) & set(seeds[1]) and sorted(seeds[0] + seeds[1]) == sorted([*range(24)] * 4)
    assert abs(len(seeds[0]) - len(seeds[1])) <= 8


def test_traces_move_when_their_server_dies_and_come_back_to_it_when_it_lives(serving, sampling):
    first, second = serving(FakeServer, Fake(token_s=0.01)), serving(FakeServer, Fake(token_s=0.01))
    sampler = sampling(first.url, second.url)
    undisturbed = sampling(serving(FakeServer, Fake()).url)
    asked = requests(120)
    for each in (sampler, undisturbed):
        each.wait_ready(lambda: False)
        each.submit(asked)
    time.sleep(1.5)
    port = first.port
    first.close()
    time.sleep(0.5)
    again = serving(FakeServer, Fake(keeps_seen=True), port)
    found = drain(sampler)
    assert bare(found) == bare(drain(undisturbed))
    assert any("request_id" in body for body in again.fake.seen)


def test_when_all_are_gone_it_waits_and_then_ends(serving, sampling):
    fake = serving(FakeServer, Fake(token_s=0.05))
    sampler = sampling(fake.url, patience_s=3.0)
    sampler.wait_ready(lambda: False)
    sampler.submit(requests(4))
    time.sleep(0.3)
    fake.close()
    started = time.monotonic()
    with pytest.raises(Unavailable, match="no server gave a sign in 3 s"):
        drain(sampler)
    assert 2.0 < time.monotonic() - started < 10.0


def test_a_server_with_other_weights_is_not_used(serving, sampling, capsys):
    fake, other = serving(FakeServer, Fake()), serving(FakeServer, Fake(weights=1, keeps_seen=True))
    known = first_contact(replace(SERVERS, urls=(fake.url,)), want())
    sampler = sampling(fake.url, other.url, expected=known)
    sampler.wait_ready(lambda: False)
    sampler.submit(requests(50))
    assert len(drain(sampler)) == 50
    time.sleep(1.0)
    assert not any("request_id" in body for body in other.fake.seen)
    assert "another model: log-probabilities of a fixed text differ" in capsys.readouterr().err


def test_a_server_that_comes_back_with_another_model_ends_the_run(serving, sampling):
    fake = serving(FakeServer, Fake(token_s=0.02))
    sampler = sampling(fake.url)
    sampler.wait_ready(lambda: False)
    sampler.submit(requests(8))
    time.sleep(0.3)
    port = fake.port
    fake.close()
    serving(FakeServer, Fake(weights=1), port)
    with pytest.raises(InputError, match="another model"):
        drain(sampler)


def test_a_model_that_changes_without_a_break_is_seen_in_its_answers(serving, sampling):
    fake = serving(FakeServer, Fake())
    sampler = sampling(fake.url)
    sampler.wait_ready(lambda: False)
    fake.fake.weights = 1
    sampler.submit(requests(8))
    with pytest.raises(InputError, match="another model"):
        drain(sampler)


@pytest.mark.parametrize(
    ("fake", "line"),
    [
        (Fake(context=1024), "its context has 1024 tokens"),
        (Fake(model="llama"), "it serves llama, expected fake"),
        (Fake(key="secret"), "PRUNER_API_KEY"),
    ],
)
def test_what_is_not_wanted_is_refused_before_the_first_token(serving, fake, line):
    server = serving(FakeServer, fake)
    with pytest.raises(InputError, match=line) as refused:
        first_contact(replace(SERVERS, urls=(server.url,)), want("fake"))
    assert "secret" not in str(refused.value)


def test_servers_that_differ_are_refused(serving):
    urls = [serving(FakeServer, fake).url for fake in (Fake(), Fake(version="0.33.0"))]
    with pytest.raises(InputError, match="the servers differ: vLLM: 0.33.0 here, 0.32.0 on the others"):
        first_contact(replace(SERVERS, urls=tuple(urls)), want())


def test_another_tokenizer_is_refused(serving):
    class Other:
        def encode(self, text, add_special_tokens=True):
            return [1, 2, 3]

    server = serving(FakeServer, Fake(tokenizer=Other()))
    with pytest.raises(InputError, match="another tokenizer than model.path"):
        first_contact(replace(SERVERS, urls=(server.url,)), want())


def test_a_key_is_sent_and_is_in_no_message(serving, sampling, capsys):
    fake = serving(FakeServer, Fake(key="secret"))
    proxy = FaultProxy(fake.url, share=0.5, most=100)
    proxy.kinds = ("status 429", "status 500", "status 503")
    url = serving(ProxyServer, proxy).url
    sampler = sampling(url, key="secret", patience_s=60.0)
    sampler.wait_ready(lambda: False)
    sampler.submit(requests(100))
    assert len(drain(sampler)) == 100
    wrong = sampling(fake.url, key="wrong-secret")
    with pytest.raises(InputError) as refused:
        wrong.wait_ready(lambda: False)
    said = capsys.readouterr()
    assert "secret" not in str(refused.value) + said.err + said.out and "PRUNER_API_KEY" in str(refused.value)


def test_a_file_may_name_the_servers_later(serving, sampling, tmp_path):
    file = tmp_path / "urls"
    sampler = sampling(f"@{file}")
    stop_at = time.monotonic() + 1.0
    sampler.wait_ready(lambda: time.monotonic() > stop_at)
    assert not sampler._pool.is_ready
    file.write_text(f"# of job 7\n{serving(FakeServer, Fake()).url}/v1\n")
    sampler.wait_ready(lambda: False)
    sampler.submit(requests(3))
    assert len(drain(sampler)) == 3


def test_a_server_that_its_file_names_later_gets_work_too(serving, sampling, tmp_path):
    fakes = [serving(FakeServer, Fake(keeps_seen=True)) for _ in range(2)]
    file = tmp_path / "urls"
    file.write_text(f"{fakes[0].url}\n")
    sampler = sampling(f"@{file}")
    sampler.wait_ready(lambda: False)
    file.write_text("".join(f"{fake.url}\n" for fake in fakes))
    time.sleep(3.0)
    file.write_bytes(b"\xff")  # what is being replaced may be unreadable for a moment
    time.sleep(3.0)
    sampler.submit(requests(20))
    assert len(drain(sampler)) == 20
    assert all(any("request_id" in body for body in fake.fake.seen) for fake in fakes)


def test_what_a_server_does_not_show_is_not_known_to_differ():
    def facts(**known):
        found = {
            "model": "m",
            "root": "",
            "version": "1",
            "max_model_len": 9,
            "fingerprint": None,
            "capacity_tokens": None,
        }
        found |= {"block_tokens": 16, "has_prefix_cache": True, "has_seeds": True, "takes_priorities": True}
        return Facts(**(found | {"reports_cached": True, "weights": (-1.0,)} | known))

    assert differences(facts(), facts(block_tokens=None, has_prefix_cache=None, has_seeds=False)) == []
    assert differences(facts(), facts(block_tokens=32)) == ["the cache's block: 32 here, 16 on the others"]
    assert differences(facts(), facts(weights=(-1.2,))) and not differences(facts(), facts(weights=(-1.02,)))


def test_a_server_that_says_nonsense_is_away_and_not_the_end(serving, monkeypatch):
    server = serving(FakeServer, Fake(context=float("inf")))
    with pytest.raises(Unavailable, match="answers that are not vLLM's"):
        first_contact(replace(SERVERS, urls=(server.url,), patience_s=1.0), want())


def test_without_a_server_first_contact_ends(tmp_path):
    with pytest.raises(Unavailable, match=r"no server answered in 1 s \(sampler.urls names none yet\)"):
        first_contact(replace(SERVERS, urls=f"@{tmp_path / 'urls'}", patience_s=1.0), want())
    assert first_contact(replace(SERVERS, urls=("http://127.0.0.1:9",)), want(), lambda: True) is None


def test_what_is_cancelled_is_counted_once_and_never_arrives(serving, sampling):
    fake = serving(FakeServer, Fake(token_s=0.02))
    sampler = sampling(fake.url)
    sampler.wait_ready(lambda: False)
    asked = requests(10)
    sampler.submit(asked)
    time.sleep(0.5)
    assert sampler.running_tokens > 0 and sampler.num_running == 10
    sampler.cancel([request.key for request in asked[:5]])
    found = drain(sampler)
    assert found.keys() == {request.key for request in asked[5:]}
    assert 0 < sampler.cancelled_tokens <= 5 * 64 and sampler.running_tokens == 0
    sampler.submit(asked[:5])
    time.sleep(0.4)
    before = sampler.cancelled_tokens
    sampler.abort()
    assert sampler.num_running == 0 and sampler.running_tokens == 0
    time.sleep(0.3)
    # What was dropped is counted, once, with what was cancelled.
    assert sampler.step() == [] and before <= sampler.cancelled_tokens <= before + 5 * 64


def test_labels_confidences_and_the_judges_adapter(serving, sampling):
    fake = serving(FakeServer, Fake(adapter="judge", keeps_seen=True))
    sampler = sampling(fake.url, model="fake", adapter="judge")
    sampler.wait_ready(lambda: False)
    pair = Request(PairKey("p", 0, 1), PROMPT, 1, 0, 0, Decoding(label_token_ids=(7, 9), uses_adapter=True))
    [plain] = requests(1)
    scored = replace(plain, decoding=Decoding(temperature=1.0, has_confidence=True))
    sampler.submit([pair, scored])
    found = drain(sampler)
    assert len(found[pair.key].label_logprobs) == 2
    assert len(found[scored.key].confidence) == found[scored.key].num_tokens
    bodies = [body for body in fake.fake.seen if "request_id" in body]
    assert {body["model"] for body in bodies} == {"fake", "judge"}
    assert {body["logprobs"] for body in bodies} == {1, 20}


def test_an_answer_that_is_never_whole_ends_the_job(serving, sampling, monkeypatch):
    monkeypatch.setattr(pool, "_MOST_BROKEN", 3)
    fake = serving(FakeServer, Fake(most_tokens=20))
    sampler = sampling(fake.url)
    sampler.wait_ready(lambda: False)
    sampler.submit(requests(3))
    with pytest.raises(EngineError, match="answers to one request that are not whole"):
        drain(sampler)


def test_priorities_are_sent_only_where_they_are_taken(serving, sampling):
    fake = serving(FakeServer, Fake(refuses_priorities=True, ignores_seeds=True, keeps_seen=True))
    sampler = sampling(fake.url)
    sampler.wait_ready(lambda: False)
    sampler.submit([replace(each, priority=5) for each in requests(2)])
    drain(sampler)
    assert {body["priority"] for body in fake.fake.seen if "request_id" in body} == {0}
    facts = first_contact(replace(SERVERS, urls=(fake.url,)), want())
    assert not facts.has_seeds and not facts.takes_priorities and facts.block_tokens == 16
