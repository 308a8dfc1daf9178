"""From the config to the parts that it chooses: methods, judges, prompts, engines. The wiring that jobs share.

Nothing here starts an engine but the last function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pruner.answers.readings import Reading
from pruner.config.job import Config
from pruner.judges.base import JudgeContext, Prober
from pruner.judges.probe import EngineProber
from pruner.judges.replay import RecordedProber
from pruner.methods.base import Method, MethodContext
from pruner.prompts import Prompts
from pruner.recordings.replay import Replay
from pruner.records.progress import Progress
from pruner.records.rows import RunFacts
from pruner.records.traces import Fact, Problem, Trace, TraceKey
from pruner.samplers.base import Decoding, Sampler
from pruner.shard.case import Case, CaseSetting
from pruner.shard.inputs import Inputs, sampler_context, set_name
from pruner.shard.judging import JudgeSetting
from pruner.shard.runner import KnownFacts, OpenCase, Workload
from pruner.shard.segments import PromptedProblem, TraceRule

# More tokens than any trace has.
_WHOLE = 1 << 40
# vLLM's own default.
_CACHE_BLOCK = 16


def workload(
    config: Config, inputs: Inputs, todo: Iterable[Problem], progress: Progress, known: KnownFacts
) -> Workload:
    """Return what a runner works on.

    Args:
        todo: the problems that are not answered yet.
        progress: how far earlier attempts got.
        known: their facts of these problems.

    Raises:
        InputError: the judge cannot work as configured.
    """
    prompts = make_prompts(config, inputs)
    return Workload(
        run=run_facts(config, inputs),
        problems=todo,
        progress=progress,
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
    asked = config.method.asked_tokens

    def make_prober(max_tokens: int) -> Prober:
        return prober_of(config, replay, prompts, max_tokens)

    judge = config.judge.make(judge_context(config, inputs), make_prober) if config.method.uses_judge else None
    prober = None if asked is None else make_prober(asked)
    truncation = config.prefix.make()

    def reading(trace: Trace, gold: str | None) -> Reading:
        key = TraceKey(trace.problem_id, trace.trace_index)
        if replay is not None:
            return Reading(key, answer=replay.trace(trace.problem_id, trace.trace_index).answer, gold=gold)
        is_cut = trace.finish_reason == "length" and config.problems.cut == "boxed"
        return Reading(key, text=trace.text, gold=gold, is_cut=is_cut)

    setting = CaseSetting(JudgeSetting(judge, prober, truncation), trace_rule(config, replay), reading)
    new_method = method_maker(config, inputs)

    def open_case(prompted: PromptedProblem, known: list[Fact]) -> Case:
        return Case(prompted, new_method(prompted.problem.problem_id), setting, known)

    return open_case


def method_maker(config: Config, inputs: Inputs) -> Callable[[str], Method]:
    """Return the function that makes the method of a problem, given its id."""
    truncation = config.prefix.make()
    typical = config.model.typical_tokens if inputs.replay is None else inputs.replay.typical_tokens()

    def new_method(problem_id: str) -> Method:
        return config.method.make(MethodContext(problem_id, config.budget, config.seed, truncation, typical))

    return new_method


def trace_rule(config: Config, replay: Replay | None = None) -> TraceRule:
    if replay is not None:
        # A recorded trace ends where it ended.
        cut = config.sampler.segment_tokens or replay.recording.segment_tokens or _WHOLE
        align = None if config.sampler.segment_tokens else replay.recording.align_tokens
        return TraceRule(config.seed, cut, _WHOLE, _WHOLE, Decoding(), align)
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
        align_tokens=config.sampler.align_tokens,
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


def judge_context(config: Config, inputs: Inputs) -> JudgeContext:
    return JudgeContext(
        seed=config.seed,
        answers=config.problems.answers,
        model=config.model,
        prefix=config.prefix,
        sampler=config.sampler,
        problems=inputs.problems.problems,
        replay=inputs.replay,
    )


def prober_of(config: Config, replay: Replay | None, prompts: Prompts, max_tokens: int) -> Prober:
    """Return what forces answers of so many tokens at most out of traces."""
    if replay is not None:
        return RecordedProber(replay, replay.probe_cost.output_tokens, replay.probe_cost.opening_tokens)
    model = config.model
    return EngineProber(model.probe, prompts.encode_text(model.probe), max_tokens, model.max_model_len)


def make_prompts(config: Config, inputs: Inputs) -> Prompts:
    return config.sampler.prompts(sampler_context(config, inputs))


def check_models(config: Config, inputs: Inputs) -> None:
    """Refuse models and judges that are not there or do not fit, before anything is loaded; warn of a judge that was
    trained on the problems."""
    config.sampler.check(sampler_context(config, inputs))
    if config.method.uses_judge:
        config.judge.check(judge_context(config, inputs))


def first_prompt(config: Config, inputs: Inputs) -> str | None:
    """Return the prompt of the shard's first problem as the model will see it, None if there is none or no tokenizer for it.

    Raises:
        InputError: the tokenizer cannot be loaded.
    """
    problems = inputs.problems.shard(config.shard.index, config.shard.count)
    return make_prompts(config, inputs).rendered(problems[0]) if problems else None


def wait_for_engines(
    config: Config, inputs: Inputs, sampler: Sampler, opened: list[Sampler], should_stop: Callable[[], bool]
) -> Sampler | None:
    """Start the judge's engine if it needs its own; return it when that and the sampler are loaded, or to be stopped.

    Args:
        opened: what is started is put here, to be closed.

    Raises:
        EngineError, InputError: one cannot be loaded.
    """
    judge_sampler = config.sampler.open_judge(sampler_context(config, inputs), sampler, should_stop)
    if judge_sampler is not None:
        opened.append(judge_sampler)
        judge_sampler.wait_ready(should_stop)
    sampler.wait_ready(should_stop)
    return judge_sampler
