"""The vLLM engines of a run, from their configuration: which process, which GPUs, which arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from pruner.errors import InputError
from pruner.prompts import Prompts, check_model_folder, model_prompts, model_type, path_fingerprint
from pruner.samplers.base import Sampler, SamplerConfig, SamplerContext
from pruner.samplers.devices import check_build, exact_faults, exact_setting, num_devices, planned_devices
from pruner.samplers.judge_engine import JudgeEngine
from pruner.samplers.process import ProcessSampler
from pruner.samplers.served.addresses import Servers
from pruner.samplers.served.sampler import open_served_judge
from pruner.samplers.vllm import EngineOptions, EngineSpec, VllmSampler, engine_arguments, environment
from pruner.settings.model import ModelConfig
from pruner.settings.section import Natural, Positive, Seconds
from pruner.system.lines import print_warnings

# Exactness costs little on a CPU and more than half of the speed on a GPU, where more must run at once, and longer.
_CPU_DEFAULTS = {"ahead": 0, "exact": True, "aligned": False, "segment_tokens": 256, "max_running_traces": 64}
# Traces ahead take half of the time for about as many speculative tokens as others; 15 take a fifth less for twice as many
# (slurm/README.md). On a CPU a wider engine is hardly faster, so that they cost time.
_GPU_DEFAULTS = {"ahead": 7, "exact": False, "aligned": True, "segment_tokens": 1024, "max_running_traces": 256}


class VllmSamplerConfig(SamplerConfig, EngineOptions):
    """exact: float32 on a CPU, batch-invariant kernels on a GPU, so that a rerun gives the same tokens. aligned: segments end one token
    behind a block of the prefix cache, so that the next one computes one token again. These, segment_tokens and max_running_traces are
    null in conf/sampler/vllm.yaml and become what fits the machine.

    gpus: ids within the allocation; null: all. in_process: in the job's own process, not in a child of it. core_process: vLLM's
    engine core in a process below that; null: on a GPU only. restarts: of an engine that died, in one call of the job. stall_s, load_s: an
    engine that reports nothing for so long, while it works or loads, is taken for dead. kv_cache_gib: on a CPU only.
    cache_block_tokens: the unit of the prefix cache; on a CPU a multiple of 32.
    """

    name: Literal["vllm"]
    cache_block_tokens: Positive
    segment_tokens: Positive
    aligned: bool = False
    in_process: bool = False
    restarts: Natural = 2
    stall_s: Seconds = 600.0
    load_s: Seconds = 3600.0
    not_identity: ClassVar[tuple[str, ...]] = (
        "max_running_traces",
        "gpus",
        "in_process",
        "core_process",
        "restarts",
        "stall_s",
        "load_s",
        "kv_cache_gib",
    )
    has_engine: ClassVar[bool] = True

    def check(self, context: SamplerContext) -> None:
        check_model_folder(context.model.path, "model.path")
        check_build()
        engine_specs(self, context, num_devices())  # whether the allocation is enough for both engines
        if self.exact and num_devices():
            fault, doubt = exact_faults(model_type(context.model))
            if fault is not None:
                raise InputError(f"{fault}. Set sampler.exact=false.")
            print_warnings([doubt] if doubt is not None else [])

    def fingerprints(self, context: SamplerContext) -> dict[str, str]:
        exact = exact_setting() if self.exact and num_devices() else {}
        return {"model": path_fingerprint(context.model.path, context.model.revision)} | exact

    def num_gpus(self, context: SamplerContext) -> tuple[int, int]:
        if num_devices() == 0:
            return 0, 0
        return context.model.tensor_parallel_size, 0 if context.judge is None else context.judge.num_gpus

    def plan(self, context: SamplerContext) -> dict[str, Any]:
        return plan(self, context)

    def prompts(self, context: SamplerContext) -> Prompts:
        return model_prompts(context.model)[0]

    @classmethod
    def device_defaults(cls, is_plan: bool) -> dict[str, Any]:
        num_gpus = planned_devices() if is_plan else num_devices()
        return _GPU_DEFAULTS if num_gpus else _CPU_DEFAULTS

    @property
    def align_tokens(self) -> int | None:
        return self.cache_block_tokens if self.aligned else None

    @property
    def num_restarts(self) -> int:
        return 0 if self.in_process else self.restarts

    def open(self, context: SamplerContext) -> Sampler:
        spec, _ = engine_specs(self, context, num_devices())
        return VllmSampler(spec, num_devices() > 0) if self.in_process else self.start("the engine", spec)

    def open_judge(self, context: SamplerContext, sampler: Sampler, should_stop: Callable[[], bool]) -> Sampler | None:
        if context.judge is not None and context.judge.urls is not None:
            servers = Servers(context.judge.urls, None, self.max_running_traces)
            return open_served_judge(context.judge, context.model, servers)
        spec, judge = engine_specs(self, context, num_devices())
        if judge is None:
            return None
        own, others = spec.options.gpus, judge.options.gpus
        if not own or not others or set(own) & set(others):
            # On one card each would count the other's memory while it measures what is left; on a CPU both want all cores.
            sampler.wait_ready(should_stop)
        return None if should_stop() else self.start("the judge's engine", judge)

    def start(self, name: str, spec: EngineSpec) -> ProcessSampler:
        """Start an engine in a process of its own, with this sampler's patience. name: in messages."""
        return ProcessSampler(name, (spec, num_devices() > 0), self.stall_s, self.load_s)


def engine_specs(
    sampler: VllmSamplerConfig, context: SamplerContext, num_gpus: int
) -> tuple[EngineSpec, EngineSpec | None]:
    """Return the sampler's engine and, if the judge has its own, that, each with its part of `num_gpus` allocated ones.

    Raises:
        InputError: there are too few GPUs.
    """
    model, judge = context.model, context.judge
    if judge is None or judge.colocate or judge.urls is not None:
        return sampler_spec(model, sampler, judge), None
    memory = model.gpu_memory_utilization + judge.gpu_memory_utilization
    gpus = split_gpus(num_gpus, model.tensor_parallel_size, sampler.gpus, judge.gpus, memory)
    spec = sampler_spec(model, sampler.model_copy(update={"gpus": gpus[0]}), None)
    return spec, judge_spec(judge.model_copy(update={"gpus": gpus[1]}), model, sampler)


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
    if colocated is None:
        return EngineSpec(model, sampler)
    return EngineSpec(model, sampler, colocated.adapter, colocated.max_lora_rank)


def judge_spec(judge: JudgeEngine, model: ModelConfig, sampler: VllmSamplerConfig) -> EngineSpec:
    """Return the judge's own engine, with the sampler's options on the judge's GPUs."""
    options = sampler.model_copy(update={"gpus": judge.gpus})
    return EngineSpec(judge.own_model(model), options, judge.adapter, judge.max_lora_rank)


def plan(sampler: VllmSamplerConfig, context: SamplerContext) -> dict[str, Any]:
    """Return what would be started: every engine's process, arguments and environment. Loads no model."""
    num_gpus = planned_devices()
    has_gpu = num_gpus > 0
    spec, judge_spec = engine_specs(sampler, context, num_gpus)
    engines = {"sampler": spec} | ({"judge": judge_spec} if judge_spec is not None else {})
    return {
        name: {
            "process": engine_process(each, has_gpu, sampler.in_process and name == "sampler"),
            "arguments": engine_arguments(each, has_gpu),
            "environment": environment(each, has_gpu),
        }
        for name, each in engines.items()
    }


def engine_process(spec: EngineSpec, has_gpu: bool, is_in_process: bool) -> str:
    """Say where an engine runs."""
    driver = "the job's process" if is_in_process else "a child process"
    is_inside = environment(spec, has_gpu)["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    engine = "the engine in it" if is_inside else "the engine in a process below it"
    workers = f", {spec.model.tensor_parallel_size} workers below that" if spec.model.tensor_parallel_size > 1 else ""
    return f"{driver}, {engine}{workers}"
