"""What goes into an inference engine and what comes out, whichever engine it is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from pruner.errors import EngineError
from pruner.prompts import Prompts
from pruner.recordings.replay import Replay
from pruner.records.traces import Key
from pruner.samplers.judge_engine import JudgeEngine
from pruner.samplers.served.addresses import Servers
from pruner.samplers.served.facts import ServerFacts
from pruner.settings.model import ModelConfig
from pruner.settings.section import Choice, Positive, Running


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
        priority: lower is served first; the problem's place in the order in which this attempt opens problems. The tokens do
            not depend on it.
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


def check_whole(request: Request, completion: Completion) -> None:
    """Refuse what is not the whole answer to a request: what an engine gives that aborts requests, or is wrong.

    Raises:
        EngineError: fewer or more tokens than asked for without a stop, or parts that do not belong together.
    """
    tokens, decoding = completion.num_tokens, request.decoding
    is_full = tokens == request.max_tokens if completion.finish_reason is None else 1 <= tokens <= request.max_tokens
    labels = None if completion.label_logprobs is None else len(completion.label_logprobs)
    confidences = None if completion.confidence is None else len(completion.confidence)
    has_ids = len(completion.token_ids) > 0  # a recording may have none, of the prompt neither
    if not (
        is_full
        and completion.finish_reason in (None, "stop", "length")
        and (not has_ids or len(completion.token_ids) == tokens)
        and (not has_ids or completion.prompt_tokens == len(request.prompt_token_ids))
        and labels == (len(decoding.label_token_ids) or None)
        and confidences in ((tokens,) if decoding.has_confidence else (None, tokens))
    ):
        raise EngineError(
            f"the engine gave {tokens} of {request.max_tokens} tokens for {request.key} and ended by "
            f"{completion.finish_reason or 'length'}, with {labels or 0} label scores and {confidences or 0} confidences: not whole"
        )


class Sampler(Protocol):
    """An engine that works on many requests at once."""

    @property
    def running_tokens(self) -> int:
        """How many tokens the running requests have made so far, as far as the engine has reported: lost if it dies now."""

    @property
    def capacity_tokens(self) -> int | None:
        """How many tokens its cache holds at once; None: as many as there are."""

    def wait_ready(self, should_stop: Callable[[], bool]) -> None:
        """Wait until it can work, or until `should_stop`.

        Raises:
            EngineError, InputError: it cannot be started.
        """

    def submit(self, requests: Sequence[Request]) -> None:
        """Hand requests to the engine."""

    def step(self) -> list[Completion]:
        """Let the engine work for a moment; return what completed, requests among it that were cancelled meanwhile.

        Raises:
            EngineError: it died.
        """

    def wait(self, wait_s: float) -> None:
        """Sleep until there is something for `step` to return, or so many seconds; an engine that works in `step` does not."""

    @property
    def cancelled_tokens(self) -> int:
        """How many tokens all cancelled requests had made, as far as the engine has reported."""

    def cancel(self, keys: Sequence[Key]) -> None:
        """Drop some running requests; one may have completed meanwhile."""

    def abort(self) -> None:
        """Drop all running requests."""

    def close(self) -> None:
        """Free the engine's memory and processes."""


@dataclass(frozen=True)
class SamplerContext:
    """What a sampler may know of the run.

    Attributes:
        seed: of the run.
        judge: the model that the judge asks; None: the judge asks none, or there is no judge.
        replay: the recorded traces; None if they are sampled now.
        servers: what its own `check_servers` gave.
    """

    seed: int
    model: ModelConfig
    judge: JudgeEngine | None = None
    replay: Replay | None = None
    servers: ServerFacts | None = None


class SamplerConfig(Choice):
    """What every sampler says of itself; each adds its own settings, and conf/sampler/<name>.yaml holds their values.

    Attributes:
        segment_tokens: the most tokens of a segment. None, for recorded traces only: as recorded, else whole traces.
        max_running_traces: requests that are worked on at once.
        cache_block_tokens: the unit of the prefix cache that the accounting reckons with; None: as recorded, else 16.
        has_engine: a model is loaded, which a judge may ask too.
        has_text: traces have a text that a judge can read.
        has_recording: traces were recorded, so what they come to is known.
    """

    segment_tokens: Positive | None
    max_running_traces: Running
    cache_block_tokens: Positive | None
    not_identity: ClassVar[tuple[str, ...]] = ("max_running_traces",)
    has_engine: ClassVar[bool] = False
    has_text: ClassVar[bool] = True
    has_recording: ClassVar[bool] = False

    @property
    def align_tokens(self) -> int | None:
        """The block of the prefix cache that segments end one token behind; None: they do not look at blocks."""
        return None

    @classmethod
    def device_defaults(cls, is_plan: bool) -> dict[str, Any]:
        """Return the values on this machine of settings that are null in the configuration; `ahead` is speculate.ahead.

        Args:
            is_plan: nothing is started; the machine is taken to have the GPUs that its environment names.
        """
        return {}

    @property
    def num_restarts(self) -> int:
        """How often the engine is started again after it died."""
        return 0

    def check(self, context: SamplerContext) -> None:
        """Refuse a model that is not there and what cannot be opened on this machine, before anything is loaded. Raises InputError."""

    @property
    def servers(self) -> Servers | None:
        """The servers that all jobs of a run work on; None: each job has an engine of its own."""
        return None

    @property
    def max_running(self) -> int:
        """Requests that are worked on at once, on all engines together."""
        return self.max_running_traces * (1 if self.servers is None else self.servers.count)

    def check_servers(self, context: SamplerContext, should_stop: Callable[[], bool]) -> ServerFacts | None:
        """Examine the servers before the run is claimed; None: there are none, or it is to be stopped.

        Raises:
            InputError: they are not what the run needs.
            Unavailable: they are away.
        """
        return None

    def fingerprints(self, context: SamplerContext) -> dict[str, str]:
        """Return hashes of the contents that the run's results depend on and the config only points at."""
        return {}

    def num_gpus(self, context: SamplerContext) -> tuple[int, int]:
        """Return how many GPUs the sampler takes, and how many the judge takes beside it."""
        return 0, 0

    def plan(self, context: SamplerContext) -> dict[str, Any]:
        """Return what would be opened, as plain values, for a dry run."""
        return {"sampler": self.model_dump()}

    @abstractmethod
    def prompts(self, context: SamplerContext) -> Prompts:
        """Return what turns questions into this sampler's tokens."""

    @abstractmethod
    def open(self, context: SamplerContext) -> Sampler:
        """Start the sampler; it may load its model while the job goes on. Raises EngineError or InputError."""

    def open_judge(self, context: SamplerContext, sampler: Sampler, should_stop: Callable[[], bool]) -> Sampler | None:
        """Start the judge's own engine; None if it needs none beside this sampler's, or it is to be stopped.

        Args:
            sampler: this sampler's engine, which may still load.
        """
        return None
