"""The vLLM engines of a run, from their configuration: which process, which GPUs, which arguments."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, ClassVar, Literal

from pruner.errors import InputError
from pruner.prompts import ChatPrompts, Prompts, check_model_folder, load_tokenizer, model_fingerprint
from pruner.samplers.base import JudgeEngine, SamplerConfig, SamplerContext
from pruner.samplers.process import ProcessSampler
from pruner.samplers.vllm import EngineSpec, VllmSampler, engine_arguments, environment
from pruner.settings.model import ModelConfig
from pruner.settings.section import Gpus, Positive


class VllmSamplerConfig(SamplerConfig):
    """exact: float32 on a CPU, batch-invariant kernels on a GPU, so that a rerun gives the same tokens.

    gpus: ids within the allocation; null: all. in_process: null puts the engine into this process on a CPU and into its
    own on a GPU. kv_cache_gib: on a CPU only. cache_block_tokens: the unit of the prefix cache; on a CPU a multiple of 32.
    """

    name: Literal["vllm"]
    exact: bool
    cache_block_tokens: Positive
    segment_tokens: Positive
    gpus: Gpus | None = None
    in_process: bool | None = None
    enforce_eager: bool | None = None
    kv_cache_gib: Positive = 4
    not_identity: ClassVar[tuple[str, ...]] = ("max_running_traces", "gpus", "in_process", "kv_cache_gib")
    has_engine: ClassVar[bool] = True

    def check_model(self, model: ModelConfig) -> None:
        check_model_folder(model.path, "model.path")

    def check(self, context: SamplerContext) -> None:
        engine_specs(self, context, num_devices())  # whether the allocation is enough for both engines

    def fingerprints(self, context: SamplerContext) -> dict[str, str]:
        return {"model": model_fingerprint(context.model)}

    def num_gpus(self, context: SamplerContext) -> tuple[int, int]:
        if num_devices() == 0:
            return 0, 0
        return context.model.tensor_parallel_size, 0 if context.judge is None else context.judge.num_gpus

    def plan(self, context: SamplerContext) -> dict[str, Any]:
        return plan(self, context)

    def prompts(self, context: SamplerContext) -> Prompts:
        model = context.model
        return ChatPrompts(load_tokenizer(model.path, model.revision, model.trust_remote_code), model.prompt)

    def open(self, context: SamplerContext) -> VllmSampler:
        spec, _ = engine_specs(self, context, num_devices())
        return VllmSampler(spec, num_devices() > 0)

    def open_judge(self, context: SamplerContext) -> ProcessSampler | None:
        _, spec = engine_specs(self, context, num_devices())
        return None if spec is None else ProcessSampler(spec, num_devices() > 0)


def engine_specs(
    sampler: VllmSamplerConfig, context: SamplerContext, num_gpus: int
) -> tuple[EngineSpec, EngineSpec | None]:
    """Return the sampler's engine and, if the judge has its own, that, each with its part of `num_gpus` allocated ones.

    Raises:
        InputError: there are too few GPUs.
    """
    model, judge = context.model, context.judge
    if judge is None or judge.colocate:
        return sampler_spec(model, sampler, judge), None
    memory = model.gpu_memory_utilization + judge.gpu_memory_utilization
    gpus = split_gpus(num_gpus, model.tensor_parallel_size, sampler.gpus, judge.gpus, memory)
    spec = sampler_spec(model, sampler.model_copy(update={"gpus": gpus[0]}), None)
    return spec, judge_spec(replace(judge, gpus=gpus[1]), model, sampler)


GpuIds = tuple[int, ...] | None


def split_gpus(
    num_gpus: int, num_samplers: int, sampler: GpuIds, judge: GpuIds, memory: float
) -> tuple[GpuIds, GpuIds]:
    """Split an allocation between the sampler and a judge with an engine of its own: the last GPU is the judge's.

    Args:
        num_gpus: allocated; 0 on a machine without.
        num_samplers: what the sampler needs (model.tensor_parallel_size).
        sampler, judge: ids within the allocation that the config names; these are kept.
        memory: share of a card's memory that both together take; up to 1 they may share one.

    Raises:
        InputError: there are too few, or one is given to both and has no room for them.
    """
    if num_gpus == 0:
        return sampler, judge
    everything = tuple(range(num_gpus))
    if judge is None:
        judge = tuple(gpu for gpu in everything if gpu not in (sampler or ()))[-1:]
    if sampler is None:
        sampler = tuple(gpu for gpu in everything if gpu not in judge)
    if len(sampler) < num_samplers or not judge or (set(sampler) & set(judge) and memory > 1.0):
        raise InputError(
            f"gpus: the allocation has {num_gpus}, of which the sampler gets {list(sampler)} and the judge {list(judge)}; "
            f"expected {num_samplers} for the sampler and others for the judge. Ask for more, set judge.colocate=true, or let them "
            "share cards: name the same for both, with gpu_memory_utilization of model and judge at most 1 together."
        )
    return sampler, judge


def sampler_spec(model: ModelConfig, sampler: VllmSamplerConfig, colocated: JudgeEngine | None) -> EngineSpec:
    return EngineSpec(
        path=model.path,
        revision=model.revision,
        dtype=model.dtype,
        max_model_len=model.max_model_len,
        tensor_parallel_size=model.tensor_parallel_size,
        gpu_memory_utilization=model.gpu_memory_utilization,
        trust_remote_code=model.trust_remote_code,
        max_running=sampler.max_running_traces,
        is_exact=sampler.exact,
        cache_block_tokens=sampler.cache_block_tokens,
        gpus=sampler.gpus,
        is_in_process=sampler.in_process,
        enforce_eager=sampler.enforce_eager,
        kv_cache_gib=sampler.kv_cache_gib,
        adapter=colocated.adapter if colocated is not None else None,
        max_lora_rank=colocated.max_lora_rank if colocated is not None else 16,
    )


def judge_spec(judge: JudgeEngine, model: ModelConfig, sampler: VllmSamplerConfig) -> EngineSpec:
    return EngineSpec(
        path=judge.path or model.path,
        revision=None if judge.path else model.revision,
        dtype=judge.dtype,
        max_model_len=judge.max_model_len,
        tensor_parallel_size=len(judge.gpus) if judge.gpus else 1,
        gpu_memory_utilization=judge.gpu_memory_utilization,
        trust_remote_code=model.trust_remote_code,
        max_running=sampler.max_running_traces,
        is_exact=sampler.exact,
        cache_block_tokens=sampler.cache_block_tokens,
        gpus=judge.gpus,
        is_in_process=True,
        enforce_eager=sampler.enforce_eager,
        kv_cache_gib=sampler.kv_cache_gib,
        adapter=judge.adapter,
        max_lora_rank=judge.max_lora_rank,
    )


def plan(sampler: VllmSamplerConfig, context: SamplerContext) -> dict[str, Any]:
    """Return what would be started: every engine's process, arguments and environment. Loads no model."""
    # Where no GPU is, an allocation in the environment shows what a node with these would start.
    num_gpus = num_devices() or len([gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu])
    has_gpu = num_gpus > 0
    spec, judge_spec = engine_specs(sampler, context, num_gpus)
    engines = {"sampler": spec} | ({"judge": judge_spec} if judge_spec is not None else {})
    return {
        name: {
            "process": engine_process(name, each, has_gpu),
            "arguments": engine_arguments(each, has_gpu),
            "environment": environment(each, has_gpu),
        }
        for name, each in engines.items()
    }


def engine_process(name: str, spec: EngineSpec, has_gpu: bool) -> str:
    """Say where an engine runs."""
    driver = "a child process" if name == "judge" else "the job's process"
    is_inside = environment(spec, has_gpu)["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    engine = "the engine in it" if is_inside else "the engine in a process below it"
    workers = f", {spec.tensor_parallel_size} workers below that" if spec.tensor_parallel_size > 1 else ""
    return f"{driver}, {engine}{workers}"


def num_devices() -> int:
    """Return the number of GPUs, without starting anything on them."""
    import torch

    return torch.cuda.device_count()
