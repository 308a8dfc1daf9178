"""One request to a server and its answer: the body that is sent, and what is taken of the events that come back. Pure.

An answer is taken if it is whole and surely the request's: it names the request, the model and the server's configuration, repeats the
prompt's tokens, ends by a stop or at the token limit, and says how many tokens it has. Anything else is Broken.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pruner.errors import EngineError
from pruner.records.traces import TokenIds
from pruner.samplers.base import Completion, Request, check_whole
from pruner.samplers.increments import CONFIDENCE_TOP_K, decode_increment
from pruner.samplers.served.faults import Broken

# Tokens between two events of an answer: if the connection ends, the number of lost tokens is known to that accuracy.
REPORT_TOKENS = 16
# Bytes of an answer: for each token of the prompt, for each new one with its candidates, and the rest.
_PROMPT_BYTES, _TOKEN_BYTES, _OTHER_BYTES = 16, 4096, 1 << 16


def body(request: Request, request_id: str, model: str, takes_priorities: bool) -> dict[str, Any]:
    """Return the body of a request to `/v1/completions`. Every setting is named: a server has defaults of its own."""
    decoding = request.decoding
    values: dict[str, Any] = {
        "model": model,
        "request_id": request_id,
        "prompt": list(request.prompt_token_ids),
        "max_tokens": request.max_tokens,
        "n": 1,
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "top_k": decoding.top_k,
        "min_p": decoding.min_p,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "seed": request.seed if decoding.temperature > 0 else None,
        "stop": list(decoding.stop),
        "priority": request.priority if takes_priorities else 0,
        "stream": True,
        "stream_interval": REPORT_TOKENS,
        "stream_options": {"include_usage": True},
        "return_token_ids": True,
    }
    if decoding.label_token_ids:
        values |= {"logprobs": 1, "logprob_token_ids": list(decoding.label_token_ids)}
    elif decoding.has_confidence:
        values |= {"logprobs": CONFIDENCE_TOP_K}
    return values | ({"return_tokens_as_token_ids": True} if "logprobs" in values else {})


def most_bytes(request: Request) -> int:
    """Return a number of bytes that no answer to the request exceeds."""
    return _OTHER_BYTES + _PROMPT_BYTES * len(request.prompt_token_ids) + _TOKEN_BYTES * request.max_tokens


class Answer:
    """Reads the events of one answer.

    Args:
        model: the name that the answer must give.
        fingerprint: the `system_fingerprint` that it must have: version, parallelism and a hash of the server's configuration.
    """

    def __init__(self, request: Request, request_id: str, model: str, fingerprint: str | None) -> None:
        self._request = request
        self._id = f"cmpl-{request_id}"
        self._model = model
        self._fingerprint = fingerprint
        self._rest = b""
        self._ids: list[int] = []
        self._confidences: list[float] = []
        self._labels: tuple[float, ...] | None = None
        self._reason: str | None = None
        self._usage: Mapping[str, Any] | None = None
        self._has_prompt = False
        self._is_done = False

    @property
    def num_tokens(self) -> int:
        """Tokens so far."""
        return len(self._ids)

    def feed(self, data: bytes) -> bool:
        """Take in bytes; return whether they end an event of the answer. A comment, which keeps a connection alive, is no event.

        Raises:
            Broken: they are no part of an answer to the request.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        events = [line[5:].strip() for line in lines if line.startswith(b"data:")]
        with _well_formed():
            for event in events:
                self._take(event)
        return bool(events)

    def completion(self, tokenizer: Any) -> Completion:
        """Return the completion. tokenizer: the model's.

        Raises:
            Broken: the answer is not whole.
        """
        request, usage = self._request, self._usage
        if not self._is_done or usage is None or self._reason is None:
            raise Broken(f"cut off after {self.num_tokens} of {request.max_tokens} tokens")
        is_stopped = self._reason == "stop"
        with _well_formed():
            if usage["completion_tokens"] != self.num_tokens or usage["prompt_tokens"] != len(request.prompt_token_ids):
                raise Broken(f"{self.num_tokens} tokens, where the server counts {usage['completion_tokens']!r}")
            completion = Completion(
                key=request.key,
                num_tokens=self.num_tokens,
                token_ids=TokenIds(self._ids),
                text=decode_increment(tokenizer, request, self._ids, is_stopped),
                finish_reason="stop" if is_stopped else None,
                prompt_tokens=len(request.prompt_token_ids),
                cached_tokens=_count((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0),
                confidence=tuple(self._confidences) if request.decoding.has_confidence else None,
                label_logprobs=self._labels,
            )
        try:
            check_whole(request, completion)
        except EngineError as error:
            raise Broken(str(error)) from None
        return completion

    def _take(self, event: bytes) -> None:
        if self._is_done:
            raise Broken("more behind the last event")
        if event == b"[DONE]":
            self._is_done = True
            return
        values = json.loads(event)
        if "error" in values:
            raise Broken(f"the server failed: {values['error']}")
        if values["id"] != self._id or values["model"] != self._model:
            raise Broken("an answer to another request, or of another model")
        if choices := values["choices"]:
            [choice] = choices
            self._take_choice(choice)
        elif values.get("system_fingerprint") != self._fingerprint:
            raise Broken("the answer of a server that is configured otherwise than it was")
        else:
            self._usage = dict(values["usage"])

    def _take_choice(self, choice: Mapping[str, Any]) -> None:
        if self._reason is not None:
            raise Broken("tokens behind the end")
        prompt = choice.get("prompt_token_ids")
        if prompt is not None and list(prompt) != list(self._request.prompt_token_ids):
            raise Broken("the answer to another prompt")
        self._has_prompt = self._has_prompt or prompt is not None
        if not self._has_prompt:
            raise Broken("an answer that does not repeat its prompt")
        ids = [_count(each) for each in choice["token_ids"]]
        self._take_logprobs(choice.get("logprobs"), len(ids))
        self._ids += ids
        reason = choice.get("finish_reason")
        if reason not in (None, "stop", "length"):
            raise Broken(f"ended by {reason}")
        self._reason = reason

    def _take_logprobs(self, logprobs: Mapping[str, Any] | None, num_tokens: int) -> None:
        decoding = self._request.decoding
        if not decoding.has_confidence and not decoding.label_token_ids:
            return
        positions: Sequence[Mapping[str, float]] = [] if logprobs is None else logprobs["top_logprobs"]
        if len(positions) != num_tokens:
            raise Broken(f"{len(positions)} positions with log-probabilities for {num_tokens} tokens")
        if decoding.label_token_ids and positions:
            self._labels = tuple(_logprob(positions[0][f"token_id:{label}"]) for label in decoding.label_token_ids)
        if decoding.has_confidence:
            self._confidences += [_confidence(each) for each in positions]


@contextlib.contextmanager
def _well_formed() -> Iterator[None]:
    """Turn the errors that another form than vLLM's leads to into Broken."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise Broken(f"an answer of another form ({type(error).__name__})") from None


def _confidence(candidates: Mapping[str, float]) -> float:
    """Return minus the mean log-probability of the top candidates; see increments.CONFIDENCE_TOP_K. The sampled token is listed too."""
    top = sorted((_logprob(each) for each in candidates.values()), reverse=True)[:CONFIDENCE_TOP_K]
    return -math.fsum(top) / len(top)


def _logprob(value: Any) -> float:
    if not isinstance(value, float | int) or not math.isfinite(value):
        raise ValueError(value)
    return float(value)


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 31:
        raise ValueError(value)
    return value
