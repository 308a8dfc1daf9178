"""The interface of a judge: from a pair to the requests that it needs, and from completions to facts.

A judge drives no engine itself; it writes requests and reads completions, so the same judge serves any sampler.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from pruner.answers import cached_key
from pruner.recordings.replay import Replay
from pruner.records.traces import Fact, Key, PairKey, Probe, ProbeKey, Problem, Trace, Verdict
from pruner.rules.prefix import Prefix, PrefixConfig
from pruner.samplers.base import Completion, Request, SamplerConfig
from pruner.samplers.judge_engine import JudgeEngine
from pruner.settings.model import ModelConfig
from pruner.settings.section import Choice


@dataclass(frozen=True)
class Prefixed:
    """A trace and its prefix."""

    trace: Trace
    prefix: Prefix


@dataclass(frozen=True)
class JudgedProblem:
    """A problem as a judge may know it.

    Attributes:
        prompt_token_ids: the problem's prompt, as the sampler reads it.
        traces: those with a complete prefix, by index.
        priority: of the problem's requests.
    """

    problem: Problem
    prompt_token_ids: tuple[int, ...]
    traces: Mapping[int, Prefixed]
    priority: int


class Prober(Protocol):
    """Forces answers out of traces as they stand."""

    def request(self, key: ProbeKey, prompt: tuple[int, ...], trace: Trace, priority: int) -> Request | None:
        """Return the request for a probe of the trace's first tokens; None if there is none to make."""

    def read(self, key: ProbeKey, completion: Completion | None) -> Probe:
        """Return the fact that a completion gives, or the one without a request."""


class Judge(Protocol):
    """Scores pairs of prefixes."""

    name: str

    def prepares(self, trace_index: int, judged: JudgedProblem) -> tuple[Key, ...]:
        """Return the keys of facts that any pair with this trace will wait for."""

    def parts(self, pair: PairKey, judged: JudgedProblem) -> tuple[Key, ...]:
        """Return the keys of the facts that the pair's verdict is made of; empty if it asks for none."""

    def verdict(self, pair: PairKey, judged: JudgedProblem, parts: Sequence[Fact]) -> Verdict:
        """Return the verdict of a pair, given its parts in their order."""

    def request(self, key: Key, judged: JudgedProblem) -> Request | None:
        """Return the request for a fact; None if it would not fit the model's context, which makes the fact missing."""

    def read(self, key: Key, completion: Completion | None, judged: JudgedProblem) -> Probe | Verdict:
        """Return the fact that a completion gives, or the missing fact for a request that could not be made."""


# Returns a prober; the argument is the most tokens of an answer.
MakeProber = Callable[[int], Prober]
# Returns an answer's canonical key: equal answers have equal keys.
KeyOf = Callable[[str], str]


@dataclass(frozen=True)
class JudgeContext:
    """The run as a judge may know it.

    Attributes:
        seed: of the run.
        answers: how final answers compare, `math` or `choice`.
        problems: the whole problem set.
        replay: the recorded traces; None if they are sampled now.
    """

    seed: int
    answers: str
    model: ModelConfig
    prefix: PrefixConfig
    sampler: SamplerConfig
    problems: tuple[Problem, ...]
    replay: Replay | None

    def key_of(self, answer: str) -> str:
        """Return an answer's canonical key: equal answers have equal keys."""
        return cached_key(answer, self.answers)


class JudgeConfig(Choice):
    """A judge's settings and what it can do; each judge adds its own settings, and conf/judge/<name>.yaml holds their values.

    Attributes:
        reads_text: it reads the texts of prefixes, so it cannot judge traces without any.
        asks_engine: every pair is put to a model.
        needs_recording: it knows how the traces end, so it can judge recorded ones only.
        without_engine: which of these judges work without an engine, in words, if not all do.
    """

    reads_text: ClassVar[bool] = True
    asks_engine: ClassVar[bool] = False
    needs_recording: ClassVar[bool] = False
    without_engine: ClassVar[str] = ""

    @classmethod
    def works_with(cls, sampler: SamplerConfig) -> bool:
        """Return whether some judge of this kind can judge the sampler's traces."""
        return (
            (sampler.has_text or not cls.reads_text)
            and (sampler.has_engine or not cls.asks_engine)
            and (sampler.has_recording or not cls.needs_recording)
        )

    def fault(self, sampler: SamplerConfig) -> str | None:
        """Return what in the settings keeps this judge from working with the sampler; None if nothing does."""
        return None

    def engine(self) -> JudgeEngine | None:
        """Return the model that it asks about pairs; None if it asks none. Raises InputError."""
        return None

    def tau(self) -> float | None:
        """Return the similarity above which it takes two traces for the same; None if that is not known. Raises InputError."""
        return None

    def check(self, context: JudgeContext) -> None:
        """Refuse what cannot work before anything is loaded. Raises InputError."""

    def fingerprints(self, known: Mapping[str, str]) -> dict[str, str]:
        """Return hashes of the files and folders that its verdicts depend on.

        Args:
            known: those of the problems, and of the model if one is loaded.
        """
        return {}

    @abstractmethod
    def make(self, context: JudgeContext, make_prober: MakeProber) -> Judge:
        """Return the judge. Raises InputError: it cannot work as configured."""


class WithoutRequests:
    """For judges that ask nothing of an engine: every pair's verdict is known at once."""

    def prepares(self, trace_index: int, judged: JudgedProblem) -> tuple[Key, ...]:
        return ()

    def parts(self, pair: PairKey, judged: JudgedProblem) -> tuple[Key, ...]:
        return ()

    def request(self, key: Key, judged: JudgedProblem) -> Request | None:
        raise AssertionError(f"{type(self).__name__} asks for nothing, but for {key}")

    def read(self, key: Key, completion: Completion | None, judged: JudgedProblem) -> Probe | Verdict:
        raise AssertionError(f"{type(self).__name__} reads nothing, but {key}")


def same_answer(left: str | None, right: str | None, key_of: KeyOf) -> bool:
    """Return whether two final answers are equal; None equals none."""
    return left is not None and right is not None and key_of(left) == key_of(right)
