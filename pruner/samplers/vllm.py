"""The vLLM sampler: every call into vLLM is here. Plain requests, seeds and aborts; no fork, patch or logits processor.

It knows nothing of problems, methods or the checkpoint. vLLM is imported only when an engine is started, after the
environment that it reads has been set.
"""

from __future__ import annotations

import math
import os
import socket
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pruner.errors import EngineError, InputError
from pruner.records.traces import Key, TokenIds
from pruner.samplers.base import Completion, Request
from pruner.samplers.increments import CONFIDENCE_TOP_K, decode_increment
from pruner.settings.model import EngineModel
from pruner.settings.section import Gpus, Positive, Running, Section

if TYPE_CHECKING:
    from vllm import LLM, LLMEngine, RequestOutput, SamplingParams
    from vllm.lora.request import LoRARequest

# Tokens between two reports of a running request: what is lost by an abort is known to that accuracy.
REPORT_TOKENS = 16


class EngineOptions(Section):
    """How the engines of a run load and compute; conf/sampler/vllm.yaml says more."""

    max_running_traces: Running
    exact: bool
    cache_block_tokens: Positive
    gpus: Gpus | None = None
    core_process: bool | None = None
    enforce_eager: bool | None = None
    kv_cache_gib: Positive = 2


@dataclass(frozen=True)
class EngineSpec:
    """One engine.

    Attributes:
        adapter: a LoRA folder served beside the model.
    """

    model: EngineModel
    options: EngineOptions
    adapter: str | None = None
    max_lora_rank: int = 16


def environment(spec: EngineSpec, has_gpu: bool) -> dict[str, str]:
    """Return the environment variables that an engine is started with."""
    options = spec.options
    has_core_process = has_gpu if options.core_process is None else options.core_process
    values = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "1" if has_core_process else "0",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": os.environ.get("VLLM_LOGGING_LEVEL", "ERROR"),
    }
    if not has_gpu:
        values["VLLM_CPU_KVCACHE_SPACE"] = str(options.kv_cache_gib)
    else:
        # Ranks of a run on several nodes write their compiled kernels to a home that they share, and not in one piece.
        values["VLLM_CACHE_ROOT"] = os.environ.get("VLLM_CACHE_ROOT", node_cache())
        values["VLLM_BATCH_INVARIANT"] = "1" if options.exact else "0"
        if options.gpus is not None:
            values["CUDA_VISIBLE_DEVICES"] = visible_devices(options.gpus, os.environ.get("CUDA_VISIBLE_DEVICES"))
    return values


def node_cache() -> str:
    """Return a folder for vLLM's compiled kernels that only this node writes to."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "vllm", "nodes", socket.gethostname())


def visible_devices(gpus: Sequence[int], allocation: str | None) -> str:
    """Return CUDA_VISIBLE_DEVICES for some of the allocated devices.

    Raises:
        InputError: an index beyond the allocation.
    """
    allocated = allocation.split(",") if allocation else None
    if allocated is not None and (beyond := [gpu for gpu in gpus if gpu >= len(allocated)]):
        raise InputError(
            f"gpus: got {beyond}, but the allocation has only {len(allocated)}. Ask for more, or name others."
        )
    return ",".join(allocated[gpu] if allocated else str(gpu) for gpu in gpus)


def engine_arguments(spec: EngineSpec, has_gpu: bool) -> dict[str, Any]:
    """Return the arguments of `vllm.LLM`, so that a dry run can show what would be started."""
    model, options = spec.model, spec.options
    arguments: dict[str, Any] = {
        "model": model.path,
        "revision": model.revision,
        "dtype": "float32" if options.exact and not has_gpu else model.dtype,
        "max_model_len": model.max_model_len,
        "max_num_seqs": options.max_running_traces,
        "tensor_parallel_size": model.tensor_parallel_size,
        "trust_remote_code": model.trust_remote_code,
        "enable_prefix_caching": True,
        "block_size": options.cache_block_tokens,
        "scheduling_policy": "priority",
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    if has_gpu:
        arguments["gpu_memory_utilization"] = model.gpu_memory_utilization
        if options.enforce_eager is not None:
            arguments["enforce_eager"] = options.enforce_eager
    else:
        # A seeded request that is prefilled in parts crashes the CPU engine: prompts are always read whole.
        arguments["enable_chunked_prefill"] = False
        arguments["max_num_batched_tokens"] = model.max_model_len
        arguments["enforce_eager"] = True if options.enforce_eager is None else options.enforce_eager
    if model.hf_overrides:
        arguments["hf_overrides"] = dict(model.hf_overrides)
    if spec.adapter is not None:
        arguments |= {"enable_lora": True, "max_lora_rank": spec.max_lora_rank}
    return arguments


@dataclass(slots=True)
class _Running:
    """A request that the engine has, and its tokens as far as it has reported them."""

    request: Request
    token_ids: list[int] = field(default_factory=list)


class VllmSampler:
    """One vLLM engine, driven step by step; loaded by `wait_ready`. llm: the engine itself, for benchmarks that compare with it."""

    llm: LLM
    _engine: LLMEngine
    _tokenizer: Any

    def __init__(self, spec: EngineSpec, has_gpu: bool) -> None:
        self._spec = spec
        self._has_gpu = has_gpu
        self._is_loaded = False
        self._adapter: LoRARequest | None = None
        self._running: dict[str, _Running] = {}
        self._running_tokens = 0
        self.cancelled_tokens = 0
        self._count = 0

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def running_tokens(self) -> int:
        return self._running_tokens

    @property
    def capacity_tokens(self) -> int | None:
        size: int | None = self._engine.vllm_config.cache_config.kv_cache_size_tokens
        return size

    def wait_ready(self, should_stop: Callable[[], bool]) -> None:
        """Load the model, unless it is.

        Raises:
            EngineError: vLLM could not start.
            InputError: vLLM refuses the model as configured.
        """
        if self._is_loaded:
            return
        spec = self._spec
        os.environ.update(environment(spec, self._has_gpu))
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"vllm\.")
        from vllm import LLM
        from vllm.lora.request import LoRARequest

        try:
            self.llm = LLM(**engine_arguments(spec, self._has_gpu))
        except ValueError as error:
            raise InputError(f"model: vLLM refuses {spec.model.path} as configured: {_one_line(error)}") from error
        except (RuntimeError, OSError) as error:
            raise EngineError(f"vLLM could not start with {spec.model.path}: {_one_line(error)}") from error
        self._engine = self.llm.llm_engine
        self._tokenizer = self.llm.get_tokenizer()
        self._adapter = LoRARequest("adapter", 1, spec.adapter) if spec.adapter is not None else None
        self._is_loaded = True

    def submit(self, requests: Sequence[Request]) -> None:
        for request in requests:
            request_id = str(self._count)
            self._count += 1
            self._running[request_id] = _Running(request)
            self._engine.add_request(
                request_id,
                {"prompt_token_ids": list(request.prompt_token_ids)},
                self.params(request),
                lora_request=self._adapter if request.decoding.uses_adapter else None,
                priority=request.priority,
            )

    def params(self, request: Request) -> SamplingParams:
        """Return vLLM's parameters of a request; a benchmark may change them."""
        return sampling_params(request)

    def step(self) -> list[Completion]:
        if not self._running:
            return []
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            outputs = self._engine.step()
        except (EngineDeadError, RuntimeError) as error:
            raise EngineError(f"vLLM died: {_one_line(error)}") from error
        completions = []
        for output in outputs:
            # Reports are increments (DELTA); the engine may name a request by id-suffix internally, never outside.
            new_ids = output.outputs[0].token_ids
            self._running[output.request_id].token_ids.extend(new_ids)
            self._running_tokens += len(new_ids)
            if output.finished:
                completions.append(self._complete(output))
        return completions

    def forget_prompts(self) -> None:
        """Empty the prefix cache, for benchmarks and the doctor."""
        self.llm.reset_prefix_cache()

    def wait(self, wait_s: float) -> None:
        """Nothing to wait for: a step is the engine's own work."""

    def cancel(self, keys: Sequence[Key]) -> None:
        dropped = set(keys)
        self._drop([name for name, each in self._running.items() if each.request.key in dropped])

    def abort(self) -> None:
        self._drop(list(self._running))

    def _drop(self, names: list[str]) -> None:
        self._engine.abort_request(names)
        num_tokens = sum(len(self._running.pop(name).token_ids) for name in names)
        self._running_tokens -= num_tokens
        self.cancelled_tokens += num_tokens

    def close(self) -> None:
        self._running.clear()
        if not self._is_loaded:
            return
        shutdown = getattr(self._engine.engine_core, "shutdown", None)
        if shutdown is not None:
            shutdown()

    def _complete(self, output: RequestOutput) -> Completion:
        running = self._running.pop(output.request_id)
        request, token_ids = running.request, running.token_ids
        self._running_tokens -= len(token_ids)
        result = output.outputs[0]
        labels = request.decoding.label_token_ids
        if result.finish_reason not in ("stop", "length"):
            raise EngineError(f"vLLM ended {request.key} by {result.finish_reason} after {len(token_ids)} tokens")
        return Completion(
            key=request.key,
            num_tokens=len(token_ids),
            token_ids=TokenIds(token_ids),
            text=decode_increment(self._tokenizer, request, token_ids, result.finish_reason == "stop"),
            finish_reason="stop" if result.finish_reason == "stop" else None,
            prompt_tokens=len(request.prompt_token_ids),
            cached_tokens=output.num_cached_tokens or 0,
            confidence=token_confidences(result.logprobs) if request.decoding.has_confidence else None,
            label_logprobs=_label_logprobs(result.logprobs[0], labels) if labels else None,
        )


def sampling_params(request: Request) -> SamplingParams:
    """Return vLLM's parameters of a request."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    decoding = request.decoding
    # A confidence needs every token's candidates, which vLLM reports whole only at the end.
    is_whole = decoding.has_confidence or bool(decoding.label_token_ids)
    return SamplingParams(
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        top_k=decoding.top_k,
        min_p=decoding.min_p,
        stop=list(decoding.stop) or None,
        max_tokens=request.max_tokens,
        seed=request.seed if decoding.temperature > 0 else None,
        detokenize=bool(decoding.stop),
        logprobs=CONFIDENCE_TOP_K if decoding.has_confidence else None,
        logprob_token_ids=list(decoding.label_token_ids) or None,
        flat_logprobs=decoding.has_confidence,
        output_kind=RequestOutputKind.FINAL_ONLY if is_whole else RequestOutputKind.DELTA,
        stream_interval=None if is_whole else REPORT_TOKENS,
    )


def token_confidences(logprobs: Any) -> tuple[float, ...]:
    """Return one confidence a token: minus the mean log-probability of its top candidates.

    Source: DeepConf (arXiv 2508.15260), token confidence, k = 20. vLLM lists the sampled token first, then the top k.
    """
    confidences = []
    for start, end in zip(logprobs.start_indices, logprobs.end_indices, strict=True):
        top = sorted(set(zip(logprobs.ranks[start:end], logprobs.logprobs[start:end], strict=True)))[:CONFIDENCE_TOP_K]
        confidences.append(-math.fsum(value for _, value in top) / len(top))
    return tuple(confidences)


def _label_logprobs(position: Any, labels: Sequence[int]) -> tuple[float, ...]:
    return tuple(float(position[label].logprob) for label in labels)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__
