"""From the config to the engines that it names: which process, which GPUs, which arguments."""

from __future__ import annotations

import os
from typing import Any

from pruner.config.job import Config
from pruner.config.judges import LlmJudgeConfig
from pruner.config.model import ModelConfig
from pruner.config.samplers import VllmSamplerConfig
from pruner.errors import InputError
from pruner.judges.factory import generative_judge
from pruner.samplers.base import Sampler
from pruner.samplers.process import ProcessSampler
from pruner.samplers.replay import ReplaySampler
from pruner.samplers.simulated import SimulatedSampler
from pruner.samplers.vllm import EngineSpec, VllmSampler, engine_arguments, environment
from pruner.shard.inputs import Inputs
from pruner.shard.runner import JudgeSampler


def open_samplers(config: Config, inputs: Inputs, engines: list[Sampler]) -> tuple[Sampler, JudgeSampler | None]:
    """Start the engines; each is put into `engines` as soon as it has to be closed."""
    if config.sampler.name == "simulated":
        engines.append(SimulatedSampler(config.sampler, config.seed))
        return engines[0], None
    if config.sampler.name == "replay":
        assert inputs.replay is not None
        engines.append(ReplaySampler(inputs.replay))
        return engines[0], None
    spec, judge_spec = engine_specs(config, config.sampler, num_devices())
    has_gpu = num_devices() > 0
    judge_sampler = None
    if judge_spec is not None:
        judge_sampler = ProcessSampler(judge_spec, has_gpu)
        engines.append(judge_sampler)
    engines.insert(0, VllmSampler(spec, has_gpu))
    return engines[0], judge_sampler


def engine_specs(config: Config, sampler: VllmSamplerConfig, num_gpus: int) -> tuple[EngineSpec, EngineSpec | None]:
    """Return the sampler's engine and, if the judge has its own, that, each with its part of `num_gpus` allocated ones."""
    model = config.model
    judge = generative_judge(config)
    if judge is None or judge.colocate:
        return sampler_spec(model, sampler, judge), None
    memory = model.gpu_memory_utilization + judge.gpu_memory_utilization
    gpus = split_gpus(num_gpus, model.tensor_parallel_size, sampler.gpus, judge.gpus, memory)
    spec = sampler_spec(model, sampler.model_copy(update={"gpus": gpus[0]}), None)
    return spec, judge_spec(judge.model_copy(update={"gpus": gpus[1]}), model, sampler)


Gpus = tuple[int, ...] | None


def split_gpus(num_gpus: int, num_samplers: int, sampler: Gpus, judge: Gpus, memory: float) -> tuple[Gpus, Gpus]:
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


def sampler_spec(model: ModelConfig, sampler: VllmSamplerConfig, colocated: LlmJudgeConfig | None) -> EngineSpec:
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


def judge_spec(judge: LlmJudgeConfig, model: ModelConfig, sampler: VllmSamplerConfig) -> EngineSpec:
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


def plan(config: Config) -> dict[str, Any]:
    """Return what would be started: every engine's process, arguments and environment. Loads no model."""
    if config.sampler.name != "vllm":
        return {"sampler": config.sampler.model_dump()}
    # Where no GPU is, an allocation in the environment shows what a node with these would start.
    num_gpus = num_devices() or len([gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu])
    has_gpu = num_gpus > 0
    spec, judge_spec = engine_specs(config, config.sampler, num_gpus)
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


def num_gpus(config: Config) -> tuple[int, int]:
    """Return how many GPUs the sampler's engine takes, and the judge's own."""
    if config.sampler.name != "vllm" or num_devices() == 0:
        return 0, 0
    judge = generative_judge(config)
    own = len(judge.gpus or (0,)) if judge is not None and not judge.colocate else 0
    return config.model.tensor_parallel_size, own
