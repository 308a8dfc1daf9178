"""One answer of a server: what is taken of it, and everything that is not."""

from __future__ import annotations

import json

import pytest

from pruner.records.traces import PairKey, SegmentKey, TokenIds
from pruner.samplers.base import Decoding, Request
from pruner.samplers.served.answer import Answer, body
from pruner.samplers.served.faults import Broken
from tests.fake_server import loaded_tokenizer

FINGERPRINT = "vllm-0.32.0-abc"
PROMPT = TokenIds([504, 2365, 6354])
IDS = [30, 216, 33, 34]


def request(tokens=4, **decoding):
    return Request(SegmentKey("p", 0, 0), PROMPT, tokens, 7, 3, Decoding(temperature=0.6, **decoding))


def event(choice=None, **values):
    head = {"id": "cmpl-r1", "model": "fake"}
    choices = [] if choice is None else [{"index": 0, "text": "", "finish_reason": None, "logprobs": None} | choice]
    return head | {"choices": choices} | values


def events(ids=IDS, reason="length"):
    first, second = ids[:2], ids[2:]
    usage = {"prompt_tokens": 3, "completion_tokens": len(ids), "prompt_tokens_details": {"cached_tokens": 2}}
    return [
        event({"token_ids": first, "prompt_token_ids": list(PROMPT)}),
        event({"token_ids": second, "prompt_token_ids": None, "finish_reason": reason}),
        event(usage=usage, system_fingerprint=FINGERPRINT),
        "[DONE]",
    ]


def text(found):
    return "".join(f"data: {each if isinstance(each, str) else json.dumps(each)}\n\n" for each in found).encode()


def completed(found, asked=None, pieces=1):
    answer = Answer(asked or request(), "r1", "fake", FINGERPRINT)
    data = found if isinstance(found, bytes) else text(found)
    size = -(-len(data) // pieces)
    for start in range(0, len(data), size):
        answer.feed(data[start : start + size])
    return answer.completion(loaded_tokenizer())


@pytest.mark.parametrize("pieces", [1, 2, 7, 1000])
def test_a_whole_answer_is_taken_however_it_is_cut_into_pieces(pieces):
    found = completed(events(), pieces=pieces)
    assert list(found.token_ids) == IDS and found.finish_reason is None and found.cached_tokens == 2
    assert found.text == loaded_tokenizer().decode(IDS)


def test_a_stop_may_come_early():
    assert completed(events([30, 2], "stop")).finish_reason == "stop"


def test_comments_keep_a_connection_alive_and_say_nothing():
    answer = Answer(request(), "r1", "fake", FINGERPRINT)
    assert not answer.feed(b": keep-alive\n\n") and answer.feed(text(events()))
    assert answer.completion(loaded_tokenizer()).num_tokens == 4


def changed(place, choice=None, **values):
    found = events()
    found[place] = found[place] | values
    if choice:
        found[place]["choices"][0] |= choice
    return found


BROKEN = {
    "no end": events()[:-1],
    "no usage": [*events()[:2], "[DONE]"],
    "cut": [*events()[:1], *events()[2:]],
    "nothing": ["[DONE]"],
    "fewer than asked for": events([30, 216, 33]),
    "more than asked for": events([30, 216, 33, 34, 35]),
    "twice": [events()[0], *events()],
    "behind the end": [*events(), events()[1]],
    "tokens behind the last": [*events()[:2], events()[1], *events()[2:]],
    "another id": changed(0, id="cmpl-r2"),
    "a longer id": changed(0, id="cmpl-r10"),
    "usage without counts": changed(2, usage={}),
    "usage that is none": changed(2, usage=[1, 2]),
    "cached tokens that are none": changed(
        2, usage={"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": -1}}
    ),
    "another model": changed(1, model="other"),
    "another configuration": changed(2, system_fingerprint="vllm-0.32.0-abd"),
    "no configuration": changed(2, system_fingerprint=None),
    "another prompt": changed(0, {"prompt_token_ids": [1, 2, 3]}),
    "no prompt": changed(0, {"prompt_token_ids": None}),
    "aborted": changed(1, {"finish_reason": "abort"}),
    "miscounted": changed(2, usage={"prompt_tokens": 3, "completion_tokens": 5}),
    "no tokens": changed(1, {"token_ids": None}),
    "tokens that are none": changed(1, {"token_ids": ["33", 34]}),
    "negative tokens": changed(1, {"token_ids": [-1, 34]}),
    "huge tokens": changed(1, {"token_ids": [1 << 40, 34]}),
    "two choices": changed(1, choices=[{}, {}]),
    "an error": [events()[0], {"error": {"message": "engine dead"}}],
    "no JSON": b"data: {\n\n",
    "no object": b"data: [1]\n\n",
    "deep": b"data: " + b"[" * 100_000 + b"\n\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_anything_else_is_broken(name):
    with pytest.raises(Broken):
        completed(BROKEN[name])


def test_labels_and_confidences_are_read_by_their_token_ids():
    key = PairKey("p", 0, 1)
    asked = Request(key, PROMPT, 1, 0, 0, Decoding(label_token_ids=(7, 9)))
    top = {"token_id:30": -0.1, "token_id:7": -2.0, "token_id:9": -3.5}
    found = [
        event(
            {
                "token_ids": [30],
                "prompt_token_ids": list(PROMPT),
                "finish_reason": "length",
                "logprobs": {"top_logprobs": [top]},
            }
        )
    ]
    usage = {"prompt_tokens": 3, "completion_tokens": 1}
    found += [event(usage=usage, system_fingerprint=FINGERPRINT), "[DONE]"]
    assert completed(found, asked).label_logprobs == (-2.0, -3.5)
    del top["token_id:9"]
    with pytest.raises(Broken):
        completed(found, asked)
    scored = Request(SegmentKey("p", 0, 0), PROMPT, 1, 0, 0, Decoding(temperature=0.6, has_confidence=True))
    assert completed(found, scored).confidence == (pytest.approx(1.05),)
    top["token_id:7"] = float("nan")
    with pytest.raises(Broken):
        completed(found, scored)


def test_a_body_names_every_setting_that_a_server_has_a_default_for():
    sent = body(request(), "r1", "fake", takes_priorities=False)
    assert sent["prompt"] == list(PROMPT) and sent["seed"] == 7 and sent["priority"] == 0 and sent["max_tokens"] == 4
    assert {sent[name] for name in ("repetition_penalty", "presence_penalty", "frequency_penalty")} == {1.0, 0.0}
    assert "logprobs" not in sent and body(request(), "r1", "fake", True)["priority"] == 3
    assert body(request(has_confidence=True), "r1", "fake", True)["logprobs"] == 20
