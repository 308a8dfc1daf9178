"""Requests on servers that fail in every way: each completion is whole, its own, and there once."""

from __future__ import annotations

import socket
import time
from dataclasses import replace

import pytest

from pruner.errors import EngineError, InputError, Unavailable
from pruner.prompts import ChatPrompts
from pruner.records.traces import PairKey, SegmentKey, TokenIds
from pruner.samplers.base import Decoding, Request
from pruner.samplers.served import pool
from pruner.samplers.served.addresses import Servers
from pruner.samplers.served.examination import Requirements
from pruner.samplers.served.sampler import ServerSampler, examined
from pruner.settings.model import PromptConfig
from pruner.shard.queue import RequestQueue
from tests.fake_server import Fake, FakeServer, loaded_tokenizer
from tests.fault_proxy import FAULTS, FaultProxy, ProxyServer

SERVERS = Servers((), None, 16, connect_s=5.0, stall_s=1.0, patience_s=20.0)
PROMPT = TokenIds(range(100, 164))


def required(model=None, adapter=None):
    tokenizer = loaded_tokenizer()
    return Requirements(ChatPrompts(tokenizer, PromptConfig()), tokenizer, 2048, model, adapter)


def at(*urls, **settings):
    return replace(SERVERS, urls=urls[0] if urls[0].startswith("@") else urls, **settings)


@pytest.fixture
def sampling(serving):
    """A function that starts a sampler on servers."""

    def start(*urls, expected=None, model=None, adapter=None, **settings):
        return serving(ServerSampler, at(*urls, **settings), required(model, adapter), expected)

    return start


def requests(count, **changes):
    plain = Request(SegmentKey("p", 0, 0), PROMPT, 64, 0, 0, Decoding(temperature=0.6))
    return [replace(plain, key=SegmentKey("p", i, 0), seed=i, **changes) for i in range(count)]


def begin(sampler, asked):
    sampler.wait_ready(lambda: False)
    sampler.submit(asked)
    return sampler


def completed(sampler, asked, timeout_s=120.0):
    """Return the completions of requests that run, by key; each once."""
    found, deadline = {}, time.monotonic() + timeout_s
    while len(found) < len(asked):
        assert time.monotonic() < deadline, f"{len(found)} of {len(asked)}"
        for completion in sampler.step():
            assert completion.key not in found
            found[completion.key] = replace(completion, cached_tokens=0)
    assert found.keys() == {request.key for request in asked} and sampler.running_tokens == 0
    return found


def completions(sampler, asked):
    return completed(begin(sampler, asked), asked)


def sampled(server):
    """Return the requests that a server got from a pool, but for its examinations."""
    return [body for body in server.fake.seen if "request_id" in body]


def work_until(sampler, is_true, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline
        sampler.wait(0.02)


def work_for(sampler, seconds):
    deadline = time.monotonic() + seconds
    work_until(sampler, lambda: time.monotonic() > deadline)


def test_faults_of_every_kind_lose_double_and_mix_nothing(serving, sampling):
    fake = serving(FakeServer, Fake())
    proxy = FaultProxy(fake.url, share=0.4, most=90, hang_s=3.0)
    disturbed = sampling(serving(ProxyServer, proxy).url, stall_s=0.5)
    asked = requests(200)
    assert completions(disturbed, asked) == completions(sampling(fake.url), asked)
    assert proxy.counts.total() == 90 and proxy.counts.keys() == set(FAULTS), proxy.counts
    assert disturbed.cancelled_tokens > 0


def test_a_trace_stays_on_the_server_that_has_its_beginning(serving, sampling):
    fakes = [serving(FakeServer, Fake(keeps_seen=True)) for _ in range(2)]
    sampler = sampling(*(fake.url for fake in fakes))
    work_until(sampler, lambda: [each.state for each in sampler.servers()] == ["works", "works"])
    for segment in range(4):
        completions(sampler, [replace(each, key=SegmentKey("p", each.seed, segment)) for each in requests(24)])
    seeds = [[body["seed"] for body in sampled(fake)] for fake in fakes]
    assert not set(seeds[0]) & set(seeds[1]) and sorted(seeds[0] + seeds[1]) == sorted([*range(24)] * 4)
    assert abs(len(seeds[0]) - len(seeds[1])) <= 8


def test_traces_move_when_their_server_dies_and_come_back_to_it_when_it_lives(serving, sampling):
    first, second = serving(FakeServer, Fake(token_s=0.01)), serving(FakeServer, Fake(token_s=0.01))
    asked = requests(120)
    sampler = begin(sampling(first.url, second.url), asked)
    work_until(sampler, lambda: sampler.running_tokens > 100)
    first.close()
    again = serving(FakeServer, Fake(keeps_seen=True), first.port)
    undisturbed = sampling(serving(FakeServer, Fake()).url)
    assert completed(sampler, asked) == completions(undisturbed, asked) and sampled(again)


def test_when_all_are_gone_it_waits_and_then_ends(serving, sampling):
    fake = serving(FakeServer, Fake(token_s=0.05))
    asked = requests(4)
    sampler = begin(sampling(fake.url, patience_s=3.0), asked)
    work_until(sampler, lambda: sampler.running_tokens > 0)
    fake.close()
    started = time.monotonic()
    with pytest.raises(Unavailable, match="no server gave a sign in 3 s"):
        completed(sampler, asked)
    assert 2.0 < time.monotonic() - started < 10.0


def test_a_server_with_other_weights_is_not_used(serving, sampling, capsys):
    fake, other = serving(FakeServer, Fake()), serving(FakeServer, Fake(weights=1, keeps_seen=True))
    [known] = examined(at(fake.url), required())
    sampler = sampling(fake.url, other.url, expected=known.facts)
    completions(sampler, requests(50))
    work_until(sampler, lambda: sampler.servers()[1].state == "refused")
    assert not sampled(other)
    assert "another model: log-probabilities of a fixed text differ" in capsys.readouterr().err


@pytest.mark.parametrize("is_restarted", [True, False])
def test_a_server_whose_model_changes_ends_the_run(serving, sampling, is_restarted):
    fake = serving(FakeServer, Fake(token_s=0.02))
    asked = requests(40)
    sampler = begin(sampling(fake.url), asked)
    work_until(sampler, lambda: sampler.running_tokens > 0)
    if is_restarted:
        fake.close()
        serving(FakeServer, Fake(weights=1), fake.port)
    else:  # its answers show it
        fake.fake.weights = 1
    with pytest.raises(InputError, match="another model"):
        completed(sampler, asked)


class OtherTokenizer:
    def encode(self, text, add_special_tokens=True):
        return [1, 2, 3]


@pytest.mark.parametrize(
    ("fake", "line"),
    [
        (Fake(context=1024), "its context has 1024 tokens"),
        (Fake(model="llama"), "it serves llama, expected fake"),
        (Fake(key="secret"), "PRUNER_API_KEY"),
        (Fake(tokenizer=OtherTokenizer()), "another tokenizer than model.path"),
    ],
)
def test_a_server_that_lacks_what_is_required_is_refused_before_the_first_token(serving, fake, line):
    with pytest.raises(InputError, match=line) as refused:
        examined(at(serving(FakeServer, fake).url), required("fake"))
    assert "secret" not in str(refused.value)


def test_a_server_that_differs_from_the_others_is_refused(serving):
    urls = [serving(FakeServer, fake).url for fake in (Fake(), Fake(version="0.33.0"))]
    found = examined(at(*urls), required())
    assert sorted(each.state for each in found) == ["refused", "works"]
    [why] = [each.why for each in found if each.state == "refused"]
    assert why.startswith("vLLM: 0.3") and "on the others" in why


def test_a_server_that_is_silent_beside_one_that_is_refused_is_waited_for_at_rest(serving):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        other = serving(FakeServer, Fake(model="llama"))
        urls = other.url, f"http://127.0.0.1:{silent.getsockname()[1]}"
        deadline, looks = time.monotonic() + 1.0, []

        def should_stop():
            looks.append(time.monotonic())
            return looks[-1] > deadline

        examined(at(*urls), required("fake"), should_stop)
    assert len(looks) < 100


def test_a_key_is_sent_and_is_in_no_message(serving, sampling, capsys):
    fake = serving(FakeServer, Fake(key="secret"))
    proxy = FaultProxy(fake.url, share=0.5, most=50)
    proxy.kinds = ("status 429", "status 500", "status 503")
    url = serving(ProxyServer, proxy).url
    completions(sampling(url, key="secret", patience_s=60.0), requests(50))
    with pytest.raises(InputError) as refused:
        sampling(fake.url, key="wrong-secret").wait_ready(lambda: False)
    said = capsys.readouterr()
    assert "secret" not in str(refused.value) + said.err + said.out and "PRUNER_API_KEY" in str(refused.value)


def test_a_file_may_name_servers_later_and_others_than_before(serving, sampling, tmp_path):
    fakes, file = [serving(FakeServer, Fake(keeps_seen=True)) for _ in range(2)], tmp_path / "urls"
    sampler = sampling(f"@{file}")
    deadline = time.monotonic() + 1.0
    sampler.wait_ready(lambda: time.monotonic() > deadline)
    assert sampler.servers() == []
    file.write_text(f"# of job 7\n{fakes[0].url}/v1\n")
    completions(sampler, requests(3))
    file.write_text("".join(f"{fake.url}\n" for fake in fakes))
    work_until(sampler, lambda: [each.state for each in sampler.servers()] == ["works", "works"])
    file.write_bytes(b"\xff")  # a file that is being replaced may be unreadable for a moment
    work_for(sampler, 2.5)
    completions(sampler, requests(20))
    assert all(sampled(fake) for fake in fakes)


def test_a_server_whose_answers_make_no_sense_is_away_and_not_the_end(serving):
    server = serving(FakeServer, Fake(context=float("inf")))
    with pytest.raises(Unavailable, match="answers that are not vLLM's"):
        examined(at(server.url, patience_s=1.0), required())


def test_without_a_server_the_wait_ends(tmp_path, capsys):
    with pytest.raises(Unavailable, match=r"no server gave a sign in 1 s \(sampler.urls names none yet\)"):
        examined(at(f"@{tmp_path / 'urls'}", patience_s=1.0), required())
    assert capsys.readouterr().err.count("waiting for a server") == 1
    [away] = examined(at("http://127.0.0.1:9"), required(), lambda: True) or [None]
    assert away is None or away.state != "works"


def test_a_cancelled_request_is_counted_once_and_never_arrives(serving, sampling):
    asked = requests(10)
    sampler = begin(sampling(serving(FakeServer, Fake(token_s=0.02)).url), asked)
    work_until(sampler, lambda: sampler.running_tokens > 0)
    sampler.cancel([request.key for request in asked[:5]])
    completed(sampler, asked[5:])
    assert 0 < sampler.cancelled_tokens <= 5 * 64
    sampler.submit(asked[:5])
    work_until(sampler, lambda: sampler.running_tokens > 0)
    before = sampler.cancelled_tokens
    sampler.abort()
    assert sampler.running_tokens == 0
    work_for(sampler, 0.3)
    assert sampler.step() == [] and before < sampler.cancelled_tokens <= before + 5 * 64


def test_a_request_that_is_cancelled_and_made_again_completes_once_for_its_queue(serving, sampling):
    sampler = sampling(serving(FakeServer, Fake(token_s=0.001)).url)
    sampler.wait_ready(lambda: False)
    queue, asked, found = RequestQueue(sampler, 6), requests(6), []
    for _ in range(20):
        for request in asked[len(found) :]:
            assert queue.speculate(request, 1.0, 0)
        work_for(sampler, 0.01)
        queue.drop_speculative("p")
    queue.add(asked)
    queue.submit(0)
    while len(queue):
        found += [completion.key for completion, _ in queue.step()]
    assert len(found) == len(asked) and set(found) == {request.key for request in asked}


def test_labels_confidences_and_the_judges_adapter(serving, sampling):
    fake = serving(FakeServer, Fake(adapter="judge", keeps_seen=True))
    pair = Request(PairKey("p", 0, 1), PROMPT, 1, 0, 0, Decoding(label_token_ids=(7, 9), uses_adapter=True))
    [scored] = requests(1, decoding=Decoding(temperature=1.0, has_confidence=True))
    found = completions(sampling(fake.url, model="fake", adapter="judge"), [pair, scored])
    assert len(found[pair.key].label_logprobs) == 2
    assert len(found[scored.key].confidence) == found[scored.key].num_tokens
    assert {(body["model"], body["logprobs"]) for body in sampled(fake)} == {("judge", 1), ("fake", 20)}


def test_an_answer_that_is_never_whole_ends_the_job(serving, sampling, monkeypatch):
    monkeypatch.setattr(pool, "_MOST_SUSPECT", 3)
    sampler = sampling(serving(FakeServer, Fake(most_tokens=20)).url)
    with pytest.raises(EngineError, match="3 bad answers to .* not whole"):
        completions(sampler, requests(3))


def test_priorities_are_sent_only_to_servers_that_take_them(serving, sampling):
    fake = serving(FakeServer, Fake(refuses_priorities=True, ignores_seeds=True, keeps_seen=True))
    sampler = sampling(fake.url)
    completions(sampler, requests(2, priority=5))
    assert {body["priority"] for body in sampled(fake)} == {0}
    [server] = sampler.servers()
    assert not server.facts.has_seeds and not server.facts.takes_priorities and server.facts.block_tokens == 16
