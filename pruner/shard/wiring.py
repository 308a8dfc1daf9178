"""From the config to the parts that it names: methods, judges, prompts, engines. The wiring that jobs share.

Nothing here starts an engine but `open_samplers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pruner.answers.readings import Reading
from pruner.config.job import Config
from pruner.config.section import local_path
from pruner.errors import InputError
from pruner.judges.card import (
    check_base,
)
from pruner.judges.factory import check_cuts, check_trained, make_judge, make_prober, warn_of_overlap
from pruner.methods.factory import make_method
from pruner.prefix import make_truncation
from pruner.problems import ProblemSet
from pruner.prompts import (
    BytePrompts,
    ChatPrompts,
    Prompts,
    RecordedPrompts,
    check_model_folder,
    load_tokenizer,
)
from pruner.replay import Replay
from pruner.rows import RunFacts
from pruner.samplers.base import Decoding
from pruner.shard.case import Case, CaseSetting, PromptedProblem, TraceRule
from pruner.shard.engines import engine_specs, num_devices
from pruner.shard.inputs import Inputs, set_name
from pruner.shard.runner import KnownFacts, OpenCase, Workload
from pruner.traces import Fact, Problem, Trace, TraceKey

# More tokens than any trace has.
_WHOLE = 1 << 40
# vLLM's own default.
_CACHE_BLOCK = 16


def workload(config: Config, inputs: Inputs, todo: Sequence[Problem], num_problems: int, known: KnownFacts) -> Workload:
    """Return what a runner works on.

    Args:
        todo: the problems that are not answered yet.
        num_problems: all of the shard, answered ones included.
        known: facts of earlier attempts.

    Raises:
        InputError: the judge cannot work as configured.
    """
    prompts = make_prompts(config, inputs)
    return Workload(
        run=run_facts(config, inputs),
        problems=todo,
        num_problems=num_problems,
        num_done=num_problems - len(todo),
        prompts=prompts,
        open_case=case_opener(config, inputs, prompts),
        known=known,
    )


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

    def reading(trace: Trace, gold: str | None) -> Reading:
        key = TraceKey(trace.problem_id, trace.trace_index)
        if replay is not None:
            return Reading(key, answer=replay.trace(trace.problem_id, trace.trace_index).answer, gold=gold)
        return Reading(key, text=trace.text, gold=gold)

    setting = CaseSetting(judge, prober, truncation, trace_rule(config, replay), reading)

    def open_case(prompted: PromptedProblem, known: list[Fact]) -> Case:
        method = make_method(config, prompted.problem.problem_id, truncation)
        return Case(prompted, method, setting, known)

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


def make_prompts(config: Config, inputs: Inputs) -> Prompts:
    if config.sampler.name == "simulated":
        return BytePrompts()
    if inputs.replay is not None:
        problems = inputs.replay.recording.problems.values()
        return RecordedPrompts({each.problem.question: each.prompt_tokens for each in problems})
    model = config.model
    return ChatPrompts(load_tokenizer(model.path, model.revision, model.trust_remote_code), model.prompt)


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
