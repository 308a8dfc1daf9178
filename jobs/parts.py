"""From the config to the parts that it names: methods, judges, prompts, engines. The wiring that jobs share.

Nothing here starts an engine but `open_samplers`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pruner.accounting import RunFacts
from pruner.answers import Equivalence, extract_answer
from pruner.case import Case, TraceRule
from pruner.clustering import ClusterRule
from pruner.config import Config, FixedPrefixConfig, LlmJudgeConfig, ReasoningWordsPrefixConfig, VllmSamplerConfig
from pruner.errors import InputError
from pruner.judges.base import Judge
from pruner.judges.llm import LlmJudge
from pruner.judges.probe import ProbeJudge
from pruner.methods.base import Method
from pruner.methods.cons import Cons
from pruner.methods.deepprune import DeepPrune, DeepPruneRule
from pruner.prefix import FixedTruncation, ReasoningWordsTruncation, Truncation
from pruner.problems import ProblemSet
from pruner.prompts import (
    BytePrompts,
    ChatPrompts,
    Prompts,
    check_model_folder,
    load_tokenizer,
    model_fingerprint,
    path_fingerprint,
)
from pruner.runner import JudgeSampler
from pruner.samplers.base import Decoding, Sampler
from pruner.samplers.process import ProcessSampler
from pruner.samplers.simulated import SimulatedSampler
from pruner.samplers.vllm import EngineSpec, VllmSampler, engine_arguments, environment
from pruner.traces import Fact, Problem

OpenCase = Callable[[Problem, tuple[int, ...], int, list[Fact]], Case]


def case_opener(config: Config, prompts: Prompts, equivalence: Equivalence) -> OpenCase:
    """Return the function that makes a problem's case.

    Raises:
        InputError: the judge cannot work as configured.
    """
    judge = make_judge(config, prompts, equivalence) if config.method.uses_judge else None
    truncation = make_truncation(config.prefix)
    rule = trace_rule(config)

    def extract(text: str) -> str | None:
        return extract_answer(text, config.problems.patterns)

    def open_case(problem: Problem, prompt: tuple[int, ...], priority: int, known: list[Fact]) -> Case:
        method = make_method(config, problem.problem_id, truncation, equivalence)
        return Case(problem, prompt, priority, method, judge, truncation, rule, extract, known)

    return open_case


def trace_rule(config: Config) -> TraceRule:
    sampling = config.model.sampling
    return TraceRule(
        seed=config.seed,
        segment_tokens=config.sampler.segment_tokens,
        max_tokens=sampling.max_tokens,
        max_model_len=config.model.max_model_len,
        decoding=Decoding(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            stop=sampling.stop,
        ),
    )


def run_facts(config: Config) -> RunFacts:
    return RunFacts(
        method=config.method.name,
        model=config.model.name,
        problem_set=config.problems.name or Path(config.problems.path).stem,
        judge=config.judge.name if config.method.uses_judge else None,
        budget=config.budget,
        seed=config.seed,
        cache_block_tokens=config.sampler.cache_block_tokens,
    )


def make_method(config: Config, problem_id: str, truncation: Truncation, equivalence: Equivalence) -> Method:
    method = config.method
    if method.name == "cons":
        return Cons(config.budget, equivalence)
    rule = DeepPruneRule(
        cluster=ClusterRule(method.tau, method.k, method.k1, method.assign),
        answer=method.answer,
        num_finished=method.k2,
        num_finished_singletons=method.k3,
        finish_share=method.finish_share,
    )
    return DeepPrune(problem_id, config.budget, config.seed, rule, truncation, equivalence)


def make_truncation(prefix: FixedPrefixConfig | ReasoningWordsPrefixConfig) -> Truncation:
    if prefix.name == "fixed":
        return FixedTruncation(prefix.max_tokens)
    return ReasoningWordsTruncation(prefix.words, prefix.count, prefix.max_tokens)


def make_prompts(config: Config) -> Prompts:
    if config.sampler.name == "simulated":
        return BytePrompts()
    model = config.model
    return ChatPrompts(load_tokenizer(model.path, model.revision, model.trust_remote_code), model.prompt)


def make_judge(config: Config, prompts: Prompts, equivalence: Equivalence) -> Judge:
    judge, model = config.judge, config.model
    if judge.name == "probe":
        opening_ids = prompts.encode_text(model.probe)
        return ProbeJudge(model.probe, opening_ids, judge.max_tokens, model.max_model_len, equivalence)
    path = judge.path or model.path
    tokenizer = load_tokenizer(path, None if judge.path else model.revision, model.trust_remote_code)
    template = model.prompt.model_copy(update={"template_kwargs": judge.template_kwargs})
    return LlmJudge(judge, ChatPrompts(tokenizer, template), judge_context(config))


def judge_context(config: Config) -> int:
    judge = config.judge
    return judge.max_model_len if judge.name == "llm" and not judge.colocate else config.model.max_model_len


def open_samplers(config: Config, engines: list[Sampler]) -> tuple[Sampler, JudgeSampler | None]:
    """Start the engines; each is put into `engines` as soon as it has to be closed."""
    if config.sampler.name == "simulated":
        engines.append(SimulatedSampler(config.sampler, config.seed))
        return engines[0], None
    spec, judge_spec = engine_specs(config, config.sampler)
    has_gpu = num_devices() > 0
    judge_sampler = None
    if judge_spec is not None:
        judge_sampler = ProcessSampler(judge_spec, has_gpu)
        engines.append(judge_sampler)
    engines.insert(0, VllmSampler(spec, has_gpu))
    return engines[0], judge_sampler


def engine_specs(config: Config, sampler: VllmSamplerConfig) -> tuple[EngineSpec, EngineSpec | None]:
    """Return the sampler's engine and, if the judge has its own, that."""
    model = config.model
    judge = config.judge if config.method.uses_judge and isinstance(config.judge, LlmJudgeConfig) else None
    spec = EngineSpec(
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
        adapter=judge.adapter if judge is not None and judge.colocate else None,
        max_lora_rank=judge.max_lora_rank if judge is not None else 16,
    )
    if judge is None or judge.colocate:
        return spec, None
    judge_spec = EngineSpec(
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
    return spec, judge_spec


def plan(config: Config) -> dict[str, Any]:
    """Return what would be started: every engine's arguments and environment. Loads no model."""
    if config.sampler.name == "simulated":
        return {"sampler": config.sampler.model_dump()}
    has_gpu = num_devices() > 0
    spec, judge_spec = engine_specs(config, config.sampler)
    engines = {"sampler": spec} | ({"judge": judge_spec} if judge_spec is not None else {})
    return {
        name: {"arguments": engine_arguments(each, has_gpu), "environment": environment(each, has_gpu)}
        for name, each in engines.items()
    }


def check_models(config: Config) -> None:
    """Refuse model folders that are not there, before anything is loaded."""
    if config.sampler.name == "simulated":
        return
    check_model_folder(config.model.path, "model.path")
    if config.method.uses_judge and config.judge.name == "llm":
        if config.judge.path is not None:
            check_model_folder(config.judge.path, "judge.path")
        if config.judge.adapter is not None and not (Path(config.judge.adapter) / "adapter_config.json").is_file():
            raise InputError(
                f"judge.adapter: got {config.judge.adapter!r}, expected a folder with adapter_config.json."
            )


def fingerprints(config: Config, problems: ProblemSet) -> dict[str, str]:
    found = {"problems": problems.fingerprint}
    if config.sampler.name == "simulated":
        return found
    found["model"] = model_fingerprint(config.model)
    if config.method.uses_judge and config.judge.name == "llm":
        found["judge"] = path_fingerprint(config.judge.path) if config.judge.path else found["model"]
        found["adapter"] = path_fingerprint(config.judge.adapter) if config.judge.adapter else "none"
    return found


def num_devices() -> int:
    """Return the number of GPUs, without starting anything on them."""
    import torch

    return torch.cuda.device_count()


def num_gpus(config: Config) -> int:
    if config.sampler.name == "simulated" or num_devices() == 0:
        return 0
    own = len(config.judge.gpus or ()) if config.judge.name == "llm" and not config.judge.colocate else 0
    return config.model.tensor_parallel_size + own
