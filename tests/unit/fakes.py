"""Fakes and builders that the unit tests share."""

from __future__ import annotations

from collections.abc import Iterable

from pruner.answers.reader import AnswerReader
from pruner.answers.readings import Reading
from pruner.clustering import ClusterRule
from pruner.config.samplers import SimulatedSamplerConfig
from pruner.judges.probe import EngineProber, ProbeJudge
from pruner.methods.adaptive import Adaptive
from pruner.methods.base import Method
from pruner.methods.cons import Cons
from pruner.methods.deepconf_offline import DeepConfOffline, DeepConfOfflineRule
from pruner.methods.deepconf_online import DeepConfOnline, DeepConfOnlineRule
from pruner.methods.deepprune import DeepPrune, DeepPruneRule
from pruner.methods.esc import Esc
from pruner.prefix import FixedTruncation, Truncation
from pruner.prompts import BytePrompts
from pruner.rows import AnswerRow, RunFacts, TraceRow
from pruner.samplers.base import Decoding
from pruner.samplers.simulated import SimulatedSampler
from pruner.shard.case import Case, CaseSetting, PromptedProblem, TraceRule
from pruner.shard.runner import Engines, Hooks, Runner, RunnerConfig, Workload
from pruner.traces import Fact, FinalAnswer, Problem, Segment, Trace, TraceKey

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


def rule(tau: float = 0.5, k: int = 4, k1: int = 3, assign: str = "best", answer: str = "vote") -> DeepPruneRule:
    return DeepPruneRule(ClusterRule(tau, k, k1, assign), answer, 20, 20, 0.25)


def method(name: str, problem_id: str, budget: int, truncation: Truncation) -> Method:
    made: dict[str, Method] = {
        "cons": Cons(budget),
        "deepprune": DeepPrune(problem_id, budget, 0, rule(), truncation),
        "adaptive": Adaptive(budget, 2, 0.9),
        "esc": Esc(budget, 3),
        "deepconf_offline": DeepConfOffline(budget, DeepConfOfflineRule("bottom_10", 0.5, 16)),
        "deepconf_online": DeepConfOnline(budget, DeepConfOnlineRule(3, 0.5, 0.95, 2, 16)),
    }
    return made[name]


def open_case(name: str, budget: int, prompted: PromptedProblem, known: Iterable[Fact]):
    truncation = FixedTruncation(20)
    prober = EngineProber(OPENING, BytePrompts().encode_text(OPENING), 4, 4096)
    decoding = Decoding(temperature=1.0, has_confidence=name.startswith("deepconf"))
    trace_rule = TraceRule(3, 16, 500, 4096, decoding)
    setting = CaseSetting(
        ProbeJudge(prober),
        prober,
        truncation,
        trace_rule,
        lambda trace, gold: Reading(TraceKey(trace.problem_id, trace.trace_index), text=trace.text, gold=gold),
    )
    return Case(prompted, method(name, prompted.problem.problem_id, budget, truncation), setting, known)


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

    def open_facts(self) -> dict[str, list[Fact]]:
        answered = {row.problem_id for row in self.answers}
        found: dict[str, list[Fact]] = {}
        for fact in self.facts:
            if fact.key.problem_id not in answered:
                found.setdefault(fact.key.problem_id, []).append(fact)
        return found


def run_once(
    store,
    name: str,
    budget: int,
    todo: list[Problem],
    steps: int | None = None,
    sampler=None,
    every: int = 8,
    reader=None,
):
    """Run until done or for so many engine steps; return whether it was done."""
    left = [steps if steps is not None else 10**9]

    def should_stop() -> bool:
        left[0] -= 1
        return left[0] < 0

    answered = {row.problem_id for row in store.answers} if isinstance(store, MemoryStore) else store.answered_ids()
    runner = Runner(
        config=RunnerConfig(16, 1e9, every, 0),
        workload=Workload(
            run=RUN,
            problems=[problem for problem in todo if problem.problem_id not in answered],
            num_problems=len(todo),
            num_done=len(answered),
            prompts=BytePrompts(),
            open_case=lambda prompted, known: open_case(name, budget, prompted, known),
            known=store.open_facts(),
        ),
        engines=Engines(sampler or simulated()),
        store=store,
        reader=reader or AnswerReader("math"),
        hooks=Hooks(should_stop),
    )
    return runner.run(), runner.status


def segment(trace: Trace, text: str, tokens: int, finish_reason: str | None = None) -> Trace:
    return trace.append(Segment(trace.next_key, tokens, tuple(range(1, tokens + 1)), text, finish_reason, 0, 0))


def trace_of(
    index: int, *pieces: tuple[str, int], finish_reason: str | None = None, answer: str | None = None
) -> Trace:
    trace = Trace("p", index)
    for number, (text, tokens) in enumerate(pieces):
        trace = segment(trace, text, tokens, finish_reason if number == len(pieces) - 1 else None)
    if answer is not None:
        from dataclasses import replace

        trace = replace(trace, answer=said(answer))
    return trace
