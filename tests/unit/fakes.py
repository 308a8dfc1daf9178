"""Fakes and builders that the unit tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

from jobs.compose import main_config
from pruner.answers.reader import AnswerReader
from pruner.answers.readings import Reading
from pruner.config.job import Config
from pruner.judges.base import Judge, Prober
from pruner.judges.probe import EngineProber, ProbeJudge
from pruner.methods.base import MethodConfig, MethodContext
from pruner.methods.deepprune import DeepPruneConfig
from pruner.methods.registry import METHODS
from pruner.prompts import BytePrompts
from pruner.records.progress import NOTHING
from pruner.records.rows import AnswerRow, RunFacts, TraceRow
from pruner.records.traces import Fact, FinalAnswer, Problem, Segment, Trace, TraceKey
from pruner.rules.prefix import FixedTruncation
from pruner.samplers.base import Decoding, Sampler
from pruner.samplers.simulated import SimulatedSampler, SimulatedSamplerConfig
from pruner.settings.section import parse_as
from pruner.shard.case import Case, CaseSetting
from pruner.shard.judging import JudgeSetting
from pruner.shard.runner import Engines, Hooks, Runner, Workload
from pruner.shard.segments import PromptedProblem, TraceRule

CONF = Path(__file__).parents[2] / "conf"
OPENING = " \\boxed{"
RUN = RunFacts("deepprune", "fake", "set", "probe", 8, 0, 4)


def said(answer: str | None) -> FinalAnswer | None:
    """An answer that is equal to those of the same spelling only."""
    return None if answer is None else FinalAnswer(answer, answer)


def simulated(**changes: object) -> SimulatedSampler:
    values: dict[str, object] = {
        "name": "simulated",
        "segment_tokens": 16,
        "max_running_traces": 16,
        "mean_tokens": 60,
        "num_answers": 3,
        "accuracy": 0.6,
        "step_tokens": 8,
        "cache_block_tokens": 4,
        "step_s": 0.0,
    }
    return SimulatedSampler(SimulatedSamplerConfig(**(values | changes)), seed=7)


def problems(count: int) -> list[Problem]:
    return [Problem(f"p{i}", i, f"question {i}", "0") for i in range(count)]


# Settings with which a method decides something about traces as short as those of `simulated`; the others are as in conf/method.
SMALL: dict[str, dict[str, object]] = {
    "adaptive": {"wave": 2, "threshold": 0.9},
    "deepconf_offline": {"score": "bottom_10", "keep": 0.5, "window": 16},
    "deepconf_online": {"warmup": 3, "keep": 0.5, "wave": 2, "window": 16},
    "deepprune": {"k": 4, "k1": 3},
    "deepprune_worth": {"price": 0.02, "tau": 0.5},
    "esc": {"window": 3},
    "first_k_equal": {"k": 3, "wave": 2},
    "certified": {"delta": 0.4, "wave": 2},
    "parallel_probe": {"every_tokens": 16, "stable": 3, "patience": 2, "warmup": 0},
    "mars": {"every_tokens": 16, "warmup": 3},
    "worth": {"price": 0.02},
}


def method_config(name: str, **changes: object) -> MethodConfig:
    """Return a registered method's shipped settings, with some changed."""
    shipped = OmegaConf.to_container(OmegaConf.load(CONF / f"method/{name}.yaml"))
    return parse_as(METHODS[name], shipped | SMALL.get(name, {}) | changes)


# Every method that is registered, and some once more with other settings.
METHOD_CONFIGS = {name: method_config(name) for name in METHODS} | {
    "mars, by confidence": method_config("mars", uses_confidence=True),
    "worth, half": method_config("worth", start="half"),
}


def deepprune_config(**changes: object) -> DeepPruneConfig:
    """Return DeepPrune with 4 clusters, 3 members compared and the changes."""
    config = method_config("deepprune", **changes)
    assert isinstance(config, DeepPruneConfig)
    return config


def open_case(
    name: str,
    budget: int,
    prompted: PromptedProblem,
    known: Iterable[Fact],
    make_judge: Callable[[Prober], Judge] = ProbeJudge,
):
    truncation = FixedTruncation(20)
    prober = EngineProber(OPENING, BytePrompts().encode_text(OPENING), 4, 4096)
    config = METHOD_CONFIGS[name]
    decoding = Decoding(temperature=1.0, has_confidence=config.needs_confidence)
    trace_rule = TraceRule(3, 16, 500, 4096, decoding)
    setting = CaseSetting(
        JudgeSetting(make_judge(prober), prober, truncation),
        trace_rule,
        lambda trace, gold: Reading(TraceKey(trace.problem_id, trace.trace_index), text=trace.text, gold=gold),
    )
    return Case(
        prompted, config.make(MethodContext(prompted.problem.problem_id, budget, 0, truncation)), setting, known
    )


class MemoryStore:
    """A store that keeps what was committed in lists."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.answers: list[AnswerRow] = []
        self.traces: list[TraceRow] = []

    def append(self, facts: list[Fact], answers: list[AnswerRow] = (), traces: list[TraceRow] = ()) -> None:
        self.facts += facts
        self.answers += answers
        self.traces += traces

    def unfinished_facts(self) -> dict[str, list[Fact]]:
        answered = {row.problem_id for row in self.answers}
        found: dict[str, list[Fact]] = {}
        for fact in self.facts:
            if fact.key.problem_id not in answered:
                found.setdefault(fact.key.problem_id, []).append(fact)
        return found


WIDTH = 16


@cache
def runner_config(every: int, ahead: int, share: float) -> Config:
    """Return a config that commits every so many segments, and by them alone."""
    return main_config(
        [
            "checkpoint.every_s=1e8",
            f"checkpoint.every_segments={every}",
            f"speculate.ahead={ahead}",
            f"speculate.share={share}",
        ]
    )


def run_once(
    store,
    name: str,
    budget: int,
    todo: list[Problem],
    steps: int | None = None,
    sampler=None,
    every: int = 8,
    reader=None,
    drain_s=0.0,
    ahead=0,
    share=1.0,
    make_judge: Callable[[Prober], Judge] = ProbeJudge,
    judge_sampler: Sampler | None = None,
):
    """Run until done or for so many engine steps; return whether it was done, and the status."""
    left = [steps if steps is not None else 10**9]

    def should_stop() -> bool:
        left[0] -= 1
        return left[0] < 0

    answered = {row.problem_id for row in store.answers} if isinstance(store, MemoryStore) else store.answered_ids()
    runner = Runner(
        config=runner_config(every, ahead, share),
        workload=Workload(
            run=RUN,
            problems=[problem for problem in todo if problem.problem_id not in answered],
            progress=replace(NOTHING, problems=len(todo), problems_done=len(answered)),
            prompts=BytePrompts(),
            open_case=lambda prompted, known: open_case(name, budget, prompted, known, make_judge),
            known=store.unfinished_facts(),
        ),
        engines=Engines(sampler or simulated(), WIDTH, judge_sampler),
        store=store,
        reader=reader or AnswerReader("math"),
        hooks=Hooks(should_stop, lambda: drain_s),
    )
    return runner.run(), runner.progress


def segment(trace: Trace, text: str, tokens: int, finish_reason: str | None = None) -> Trace:
    return trace.append(Segment(trace.next_key, tokens, tuple(range(1, tokens + 1)), text, finish_reason, 0, 0))


def trace_of(
    index: int, *pieces: tuple[str, int], finish_reason: str | None = None, answer: str | None = None
) -> Trace:
    trace = Trace("p", index)
    for number, (text, tokens) in enumerate(pieces):
        trace = segment(trace, text, tokens, finish_reason if number == len(pieces) - 1 else None)
    if answer is not None:
        trace = replace(trace, answer=said(answer))
    return trace
