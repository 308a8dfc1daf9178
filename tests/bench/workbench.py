"""The real runner, cases, methods and store over any sampler, simulated ones above all: what is ours, without an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pruner.answers.reader import AnswerReader
from pruner.checkpoint.store import Store, open_store
from pruner.config.job import Config
from pruner.records.progress import NOTHING
from pruner.records.traces import Problem
from pruner.samplers.base import Sampler
from pruner.samplers.simulated import SimulatedSampler, SimulatedSamplerConfig
from pruner.shard import build
from pruner.shard.attempt import killed_attempt, this_process
from pruner.shard.case import Case
from pruner.shard.commits import FactStore
from pruner.shard.inputs import Inputs, read_inputs
from pruner.shard.runner import Engines, Hooks, KnownFacts, Runner, Workload

TRACES, SEGMENTS_A_TRACE = 16, 8
# A step of the simulated engine, as if it reported on its requests every so many tokens.
_STEP_TOKENS = 64


def simulated_overrides(segment_tokens: int, overrides: Sequence[str]) -> list[str]:
    """Return the overrides for voting over 16 traces of about 8 segments for each problem."""
    whole = SEGMENTS_A_TRACE * segment_tokens
    own = ["sampler=simulated", "method=cons", f"budget={TRACES}", f"sampler.segment_tokens={segment_tokens}"]
    own += [f"sampler.mean_tokens={whole}", f"sampler.step_tokens={_STEP_TOKENS}", f"model.max_model_len={4 * whole}"]
    return [*own, f"model.sampling.max_tokens={2 * whole}", *overrides]


class WholeSegments(SimulatedSampler):
    """Simulated traces that end where a segment ends."""

    def __init__(self, config: SimulatedSamplerConfig, seed: int) -> None:
        super().__init__(config, seed)
        assert config.segment_tokens is not None
        self._unit = config.segment_tokens

    def trace_tokens(self, problem_id: str, trace_index: int) -> int:
        return -(-super().trace_tokens(problem_id, trace_index) // self._unit) * self._unit


def fake_problems(segments: int) -> list[Problem]:
    """Return as many problems as have about so many segments."""
    count = max(1, segments // (TRACES * SEGMENTS_A_TRACE))
    return [Problem(f"p{index}", index, f"question {index}", "0") for index in range(count)]


@dataclass(frozen=True)
class Workbench:
    """A config, and what works as it says on problems that are given later."""

    config: Config
    inputs: Inputs
    sampler: Sampler

    @classmethod
    def of(cls, config: Config) -> Workbench:
        """Return a workbench with whole simulated segments; `config` is composed with `simulated_overrides`."""
        assert isinstance(config.sampler, SimulatedSamplerConfig)
        return cls(config, read_inputs(config), WholeSegments(config.sampler, config.seed))

    def open(self, path: Path) -> Store:
        return open_store(path, {"bench": "simulated"}, 0.0)

    def runner(
        self,
        store: FactStore,
        reader: AnswerReader,
        problems: Iterable[Problem],
        num_problems: int,
        known: KnownFacts,
        should_stop: Callable[[], bool] = lambda: False,
        case_of: Callable[[Case], Case] = lambda case: case,
    ) -> Runner:
        """Return a runner over these problems. case_of: given each case, returns what the runner works with in its place."""
        config = self.config
        prompts = build.make_prompts(config, self.inputs)
        open_case = build.case_opener(config, self.inputs, prompts)
        return Runner(
            config=config,
            workload=Workload(
                run=build.run_facts(config, self.inputs),
                problems=problems,
                progress=replace(NOTHING, problems=num_problems),
                prompts=prompts,
                open_case=lambda prompted, facts: case_of(open_case(prompted, facts)),
                known=known,
            ),
            engines=Engines(self.sampler, config.sampler.max_running_traces),
            store=store,
            reader=reader,
            hooks=Hooks(should_stop),
        )


def begin(store: Store) -> None:
    """Begin an attempt after whatever was there."""
    store.begin_attempt(this_process(), killed_attempt(None))
