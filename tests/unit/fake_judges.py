"""Every kind of judge on simulated traces: probes, verdicts that are known at once, readings, and pairs that an engine scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

from omegaconf import OmegaConf

from pruner.judges.base import Judge, Prober
from pruner.judges.lexical import LexicalJudge
from pruner.judges.llm import LlmJudge, LlmJudgeConfig
from pruner.judges.prefix_features import FEATURES
from pruner.judges.probe import ProbeJudge
from pruner.judges.replay import NoisyOracle, NoisyOracleJudgeConfig
from pruner.prompts import BytePrompts
from pruner.records.traces import Key, PairKey
from pruner.samplers.base import Completion, Request
from pruner.samplers.simulated import SimulatedSampler
from pruner.settings.section import parse_as
from tests.unit.fakes import CONF, METHOD_CONFIGS, run_once, simulated

_SCORED_AT_ONCE = 3


class PairPrompts(BytePrompts):
    """One token per byte of the messages."""

    def encode_messages(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        return self.encode_text("\n".join(message["content"] for message in messages))


@dataclass(frozen=True)
class KnownAnswers:
    """Stands for a recording: it knows the answer that each simulated trace ends in."""

    sampler: SimulatedSampler

    def trace(self, problem_id: str, trace_index: int) -> SimpleNamespace:
        return SimpleNamespace(answer=str(self.sampler.final_answer(problem_id, trace_index)))


def _noisy_oracle(prober: Prober, sampler: SimulatedSampler) -> Judge:
    config = NoisyOracleJudgeConfig(name="noisy_oracle", auroc=0.87, prior=0.5, pair_tokens=20)
    return NoisyOracle(config, KnownAnswers(sampler), str, 0)


def _lexical(prober: Prober, sampler: SimulatedSampler) -> Judge:
    """Make a judge whose score follows from how much two prefixes differ."""
    ones = (1.0,) * len(FEATURES)
    return LexicalJudge(SimpleNamespace(mean=(0.5,) * len(FEATURES), scale=ones, weights=ones, bias=0.0))


def _llm(prober: Prober, sampler: SimulatedSampler) -> Judge:
    values = OmegaConf.to_container(OmegaConf.load(CONF / "judge/llm.yaml"))
    return LlmJudge(parse_as(LlmJudgeConfig, values), PairPrompts(), 4096)


def _probe(prober: Prober, sampler: SimulatedSampler) -> Judge:
    return ProbeJudge(prober)


JUDGES: dict[str, Callable[[Prober, SimulatedSampler], Judge]] = {
    "probe": _probe,
    "noisy_oracle": _noisy_oracle,
    "lexical": _lexical,
    "llm": _llm,
    "llm, own engine": _llm,
}
# Every method, once for each judge if it compares traces.
METHODS_AND_JUDGES = [
    (name, judge)
    for name, config in METHOD_CONFIGS.items()
    for judge in JUDGES
    if config.uses_judge or judge == "probe"
]


class PairScorer:
    """A judge's engine: a few steps later it tells whether two simulated traces end in the same answer."""

    capacity_tokens = None
    cancelled_tokens = running_tokens = 0

    def __init__(self, sampler: SimulatedSampler) -> None:
        self._answer = sampler.final_answer
        self._waiting: list[Request] = []

    @property
    def num_running(self) -> int:
        return len(self._waiting)

    def submit(self, requests: Sequence[Request]) -> None:
        self._waiting += requests

    def wait(self, wait_s: float) -> None:
        """It makes progress in `step` alone."""

    def step(self) -> list[Completion]:
        done, self._waiting = self._waiting[:_SCORED_AT_ONCE], self._waiting[_SCORED_AT_ONCE:]
        return [self._score(request) for request in done]

    def cancel(self, keys: Sequence[Key]) -> None:
        self._waiting = [request for request in self._waiting if request.key not in keys]

    def abort(self) -> None:
        self._waiting = []

    def _score(self, request: Request) -> Completion:
        key = request.key
        assert isinstance(key, PairKey)
        left, right = (self._answer(key.problem_id, index) for index in (key.left_trace, key.right_trace))
        logprobs = (-0.1, -3.0) if left == right else (-3.0, -0.1)
        return Completion(key, 1, (1,), "", "stop", len(request.prompt_token_ids), 0, label_logprobs=logprobs)


class SamplerWithPairs:
    """The simulated sampler as an engine that judges pairs beside its traces."""

    def __init__(self, sampler: SimulatedSampler) -> None:
        self._sampler, self._scorer = sampler, PairScorer(sampler)

    def __getattr__(self, name: str) -> object:
        return getattr(self._sampler, name)

    @property
    def num_running(self) -> int:
        return self._sampler.num_running + self._scorer.num_running

    def submit(self, requests: Sequence[Request]) -> None:
        pairs = [request for request in requests if isinstance(request.key, PairKey)]
        self._scorer.submit(pairs)
        self._sampler.submit([request for request in requests if request not in pairs])

    def step(self) -> list[Completion]:
        return self._scorer.step() + self._sampler.step()

    def cancel(self, keys: Sequence[Key]) -> None:
        self._sampler.cancel(keys)
        self._scorer.cancel(keys)

    def abort(self) -> None:
        self._sampler.abort()
        self._scorer.abort()


def run_judged(judge: str, store, name: str, budget: int, todo, sampler: SimulatedSampler | None = None, **options):
    """Call `run_once` with one of JUDGES and the engine that it asks."""
    sampler = sampler or simulated()
    make_judge = partial(_make, judge, sampler)
    own = PairScorer(sampler) if judge.endswith("own engine") else None
    return run_once(
        store,
        name,
        budget,
        todo,
        sampler=SamplerWithPairs(sampler),
        make_judge=make_judge,
        judge_sampler=own,
        **options,
    )


def _make(judge: str, sampler: SimulatedSampler, prober: Prober) -> Judge:
    return JUDGES[judge](prober, sampler)
