"""From the config to the parts that it names: methods, judges, prompts, engines. The wiring that jobs share.

Nothing here starts an engine but `open_samplers`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.inputs import Inputs, set_name
from jobs.methods import make_method
from pruner.accounting import RunFacts
from pruner.answers import cached_key
from pruner.answers.readings import Reading
from pruner.case import Case, TraceRule
from pruner.config.job import Config
from pruner.config.judges import LlmJudgeConfig, TrainedJudgeConfig
from pruner.config.model import FixedPrefixConfig, ModelConfig, ReasoningWordsPrefixConfig
from pruner.config.samplers import VllmSamplerConfig
from pruner.config.section import local_path
from pruner.errors import InputError
from pruner.judges.base import Judge, Prober
from pruner.judges.card import (
    GenerativeCard,
    JudgeCard,
    check_base,
    check_prefix,
    generative_config,
    overlap,
    read_card,
)
from pruner.judges.lexical import LexicalJudge
from pruner.judges.llm import LlmJudge
from pruner.judges.oracle import KnownTrace, OracleJudge
from pruner.judges.probe import EngineProber, ProbeJudge
from pruner.judges.reading import FEATURES
from pruner.judges.recorded import NoisyOracle, RecordedJudge, RecordedProber
from pruner.learning import lexical_weights
from pruner.lines import tell_warnings
from pruner.prefix import FixedTruncation, ReasoningWordsTruncation, Truncation
from pruner.problems import ProblemSet
from pruner.prompts import (
    BytePrompts,
    ChatPrompts,
    Prompts,
    RecordedPrompts,
    check_model_folder,
    load_tokenizer,
)
from pruner.recorded import read_run_traces
from pruner.replay import Replay, sampler_settings
from pruner.runner import JudgeSampler
from pruner.samplers.base import Decoding, Sampler
from pruner.samplers.process import ProcessSampler
from pruner.samplers.replay import ReplaySampler
from pruner.samplers.simulated import SimulatedSampler
from pruner.samplers.vllm import EngineSpec, VllmSampler, engine_arguments, environment
from pruner.traces import Fact, Problem, Trace, TraceKey

# More tokens than any trace has.
_WHOLE = 1 << 40
# vLLM's own default.
_CACHE_BLOCK = 16

OpenCase = Callable[[Problem, tuple[int, ...], int, list[Fact]], Case]


def case_opener(config: Config, inputs: Inputs, prompts: Prompts) -> OpenCase:
    """Return the function that makes a problem's case.

    Raises:
        InputError: the judge cannot work as configured.
    """
    replay = inputs.replay
    judge = make_judge(config, replay, prompts) if config.method.uses_judge else None
    asked = config.method.asked_tokens
    prober = make_prober(config, replay, prompts, asked) if asked is not None else None
    truncation = make_truncation(config.prefix)
    rule = trace_rule(config, replay)

    def reading(trace: Trace, gold: str | None) -> Reading:
        key = TraceKey(trace.problem_id, trace.trace_index)
        if replay is not None:
            return Reading(key, answer=replay.trace(trace.problem_id, trace.trace_index).answer, gold=gold)
        return Reading(key, text=trace.text, gold=gold)

    def open_case(problem: Problem, prompt: tuple[int, ...], priority: int, known: list[Fact]) -> Case:
        method = make_method(config, problem.problem_id, truncation)
        return Case(problem, prompt, priority, method, judge, prober, truncation, rule, reading, known)

    return open_case


def trace_rule(config: Config, replay: Replay | None = None) -> TraceRule:
    if replay is not None:
        # A recorded trace ends where it ended.
        cut = config.sampler.segment_tokens or replay.recording.segment_tokens or _WHOLE
        return TraceRule(config.seed, cut, _WHOLE, _WHOLE, Decoding())
    assert config.sampler.segment_tokens is not None
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
            has_confidence=config.method.needs_confidence,
        ),
    )


def run_facts(config: Config, inputs: Inputs) -> RunFacts:
    return RunFacts(
        method=config.method.name,
        model=config.model.name if inputs.replay is None else inputs.replay.recording.model,
        problem_set=set_name(config),
        judge=config.judge.name if config.method.uses_judge else None,
        budget=config.budget,
        seed=config.seed,
        cache_block_tokens=_cache_block(config, inputs),
    )


def _cache_block(config: Config, inputs: Inputs) -> int:
    recorded = None if inputs.replay is None else inputs.replay.recording.cache_block_tokens
    return config.sampler.cache_block_tokens or recorded or _CACHE_BLOCK


def make_truncation(prefix: FixedPrefixConfig | ReasoningWordsPrefixConfig) -> Truncation:
    if prefix.name == "fixed":
        return FixedTruncation(prefix.max_tokens)
    return ReasoningWordsTruncation(prefix.words, prefix.count, prefix.max_tokens)


def make_prompts(config: Config, inputs: Inputs) -> Prompts:
    if config.sampler.name == "simulated":
        return BytePrompts()
    if inputs.replay is not None:
        problems = inputs.replay.recording.problems.values()
        return RecordedPrompts({each.problem.question: each.prompt_tokens for each in problems})
    model = config.model
    return ChatPrompts(load_tokenizer(model.path, model.revision, model.trust_remote_code), model.prompt)


def make_prober(config: Config, replay: Replay | None, prompts: Prompts, max_tokens: int) -> Prober:
    if replay is not None:
        assert config.sampler.name == "replay"
        return RecordedProber(replay, config.sampler.probe_tokens, config.sampler.probe_opening_tokens)
    model = config.model
    return EngineProber(model.probe, prompts.encode_text(model.probe), max_tokens, model.max_model_len)


def make_judge(config: Config, replay: Replay | None, prompts: Prompts) -> Judge:
    """Raises InputError: the judge cannot work as configured."""

    def key_of(answer: str) -> str:
        return cached_key(answer, config.problems.answers)

    judge, model = config.judge, config.model
    if judge.name == "probe":
        return ProbeJudge(make_prober(config, replay, prompts, judge.max_tokens))
    if replay is not None and judge.name == "recorded":
        return RecordedJudge(replay)
    if replay is not None and judge.name == "noisy_oracle":
        return NoisyOracle(replay, key_of, judge.auroc, judge.prior, judge.pair_tokens, config.seed)
    if replay is not None and judge.name == "oracle" and judge.source is None:
        return NoisyOracle(replay, key_of, 1.0, 0.5, None, config.seed)
    if judge.name == "oracle":
        assert judge.source is not None
        rows = read_run_traces(local_path(judge.source))
        traces = {(row.problem_id, row.trace_index): KnownTrace(row.text, row.answer) for row in rows}
        return OracleJudge(traces, key_of)
    generative = generative_judge(config)
    if generative is None:
        assert judge.name == "trained"
        if replay is not None and not replay.recording.has_text:
            raise InputError("judge: got trained, but the recorded traces of sampler.source have no text to read.")
        return LexicalJudge(lexical_weights.load(local_path(judge.path), len(FEATURES)))
    return make_generative_judge(generative, model, judge_context(config))


def make_generative_judge(judge: LlmJudgeConfig, model: ModelConfig, max_model_len: int) -> LlmJudge:
    path = judge.path or model.path
    tokenizer = load_tokenizer(path, None if judge.path else model.revision, model.trust_remote_code)
    template = model.prompt.model_copy(update={"template_kwargs": judge.template_kwargs})
    return LlmJudge(judge, ChatPrompts(tokenizer, template), max_model_len)


def generative_judge(config: Config) -> LlmJudgeConfig | None:
    """Return the judge that needs an engine and scores pairs: a zero-shot one, or a trained one by its card."""
    if not config.method.uses_judge:
        return None
    judge = config.judge
    if isinstance(judge, LlmJudgeConfig):
        return judge
    if isinstance(judge, TrainedJudgeConfig):
        card = trained_card(judge).judge
        if isinstance(card, GenerativeCard):
            return generative_config(card, local_path(judge.path), judge)
    return None


def trained_card(judge: TrainedJudgeConfig) -> JudgeCard:
    return read_card(local_path(judge.path))


def judge_context(config: Config) -> int:
    judge = generative_judge(config)
    return judge.max_model_len if judge is not None and not judge.colocate else config.model.max_model_len


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


def check_models(config: Config, problems: ProblemSet) -> None:
    """Refuse models and judges that are not there or do not fit, before anything is loaded; warn of a judge that was
    trained on the problems."""
    if config.sampler.name == "vllm":
        check_model_folder(config.model.path, "model.path")
    if not config.method.uses_judge:
        return
    judge = config.judge
    if judge.name == "llm":
        if judge.path is not None:
            check_model_folder(judge.path, "judge.path")
        if judge.adapter is not None:
            if not (Path(judge.adapter) / "adapter_config.json").is_file():
                raise InputError(f"judge.adapter: got {judge.adapter!r}, expected a folder with adapter_config.json.")
            path, revision = (judge.path, None) if judge.path else (config.model.path, config.model.revision)
            check_base(None, Path(judge.adapter), path, revision)
    elif judge.name == "trained":
        card = check_trained(judge, config)
        warn_of_overlap(card, judge.path, [(each.problem_id, each.question) for each in problems.problems])
    elif judge.name == "oracle" and config.sampler.name == "vllm":
        assert judge.source is not None
        check_cuts(config.prefix.max_tokens, config.sampler.segment_tokens, local_path(judge.source))
    if config.sampler.name == "vllm":
        engine_specs(config, config.sampler, num_devices())  # whether the allocation is enough for both engines


def check_cuts(prefix_tokens: int, segment_tokens: int, source: Path) -> None:
    """Refuse a run whose traces are others: each segment has a seed of its own, so traces are the same only if they are cut at the
    same places, and methods cut at the prefix.

    Raises:
        InputError: with what to set.
    """
    found, _ = sampler_settings(source)
    if found != segment_tokens or prefix_tokens % segment_tokens:
        raise InputError(
            f"judge.source: {source} has segments of {found} tokens, this run has {segment_tokens} and prefixes of {prefix_tokens}, so "
            f"its traces are not these. Set sampler.segment_tokens={prefix_tokens}, or a divisor of it, in both runs."
        )


def check_trained(judge: TrainedJudgeConfig, config: Config) -> JudgeCard:
    folder = local_path(judge.path)
    card = read_card(folder)
    check_prefix(card, config.prefix, folder)
    if isinstance(card.judge, GenerativeCard):
        if not card.judge.is_adapter and judge.colocate:
            raise InputError(
                f"judge.colocate: {judge.path} is a whole model, which needs an engine of its own. "
                "Set judge.colocate=false."
            )
        if card.judge.is_adapter:
            own = judge.base or card.judge.base
            path, revision = (config.model.path, config.model.revision) if judge.colocate else (own, None)
            check_base(card.judge, folder, path, revision)
    else:
        lexical_weights.load(folder, len(FEATURES))
    return card


def warn_of_overlap(card: JudgeCard, path: str, problems: list[tuple[str, str]]) -> None:
    if shared := overlap(card, problems):
        shown = ", ".join(shared[:5]) + (", ..." if len(shared) > 5 else "")
        tell_warnings(
            [
                f"the judge {path} was trained on {len(shared)} of these {len(problems)} problems ({shown}); "
                "what it does on them says nothing about others"
            ]
        )


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
