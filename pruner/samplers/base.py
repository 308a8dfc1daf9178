"""What goes into an inference engine and what comes out, whichever engine it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pruner.traces import Key


@dataclass(frozen=True, slots=True)
class Decoding:
    """How tokens are chosen. One instance is shared by many requests.

    Attributes:
        stop: strings that end a completion; they are not part of its text.
        label_token_ids: score these tokens as the next one instead of sampling text.
        has_confidence: report a confidence for each token; costs throughput.
        uses_adapter: apply the engine's LoRA adapter.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    stop: tuple[str, ...] = ()
    label_token_ids: tuple[int, ...] = ()
    has_confidence: bool = False
    uses_adapter: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One plain request: continue these tokens.

    Attributes:
        prompt_token_ids: everything before the completion, the trace so far included.
        trace_tokens: how many of them, at the end, are the trace's; for samplers that make traces up or look them up.
        seed: in [0, 2**63).
        priority: lower is served first; the problem's place in its shard.
    """

    key: Key
    prompt_token_ids: Sequence[int]
    max_tokens: int
    seed: int
    priority: int
    decoding: Decoding
    trace_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """What a request gave.

    Attributes:
        num_tokens: how many it made; token_ids are as many, or none where a recording does not have them.
        text: of the new tokens alone; concatenated over a trace's requests it is the trace's text.
        finish_reason: `stop` (it ended by itself: end of sequence or stop string), `length` (a recorded trace was cut off
            there), or None: it ended at the request's max_tokens.
        label_logprobs: in the order of Decoding.label_token_ids.
    """

    key: Key
    num_tokens: int
    token_ids: Sequence[int]
    text: str
    finish_reason: str | None
    prompt_tokens: int
    cached_tokens: int
    confidence: tuple[float, ...] | None = None
    label_logprobs: tuple[float, ...] | None = None


class Sampler(Protocol):
    """An engine that works on many requests at once."""

    @property
    def num_running(self) -> int:
        """How many submitted requests have not completed."""

    @property
    def running_tokens(self) -> int:
        """How many tokens the running requests have made so far, as far as the engine has told: lost if it dies now."""

    @property
    def capacity_tokens(self) -> int | None:
        """How many tokens its cache holds at once; None: as many as there are."""

    def submit(self, requests: Sequence[Request]) -> None:
        """Hand requests to the engine."""

    def step(self) -> list[Completion]:
        """Let the engine work for a moment; return what completed.

        Raises:
            EngineError: it died.
        """

    def abort(self) -> None:
        """Drop all running requests."""

    def close(self) -> None:
        """Free the engine's memory and processes."""
