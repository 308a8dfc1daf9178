"""The interface of a method: facts in, actions out.

A method is a state machine for one problem. It never sees a model, SQL, a clock or a global random generator, and what
it decides must not depend on the order in which facts of different traces reach it: only then do a resumed, a sharded
and an uninterrupted run agree.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pruner.records.traces import FinalAnswer, Probe, Trace, Verdict
from pruner.rules.clustering import Cluster
from pruner.rules.prefix import Truncation
from pruner.rules.voting import Vote
from pruner.settings.section import Choice


@dataclass(frozen=True)
class Extend:
    """Get one more segment of a trace, known or sampled; it ends at `until_tokens` of the trace at the latest."""

    trace_index: int
    until_tokens: int | None = None


@dataclass(frozen=True)
class Compare:
    """Ask the judge about these pairs (left, right), left < right."""

    pairs: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Prepare:
    """These traces will be in pairs: a judge that reads traces one by one may begin. Nothing is answered to it."""

    trace_indexes: tuple[int, ...]


@dataclass(frozen=True)
class Ask:
    """Probe a trace as it stands: force an answer out of what it has. The probe is given to `on_probe`."""

    trace_index: int


@dataclass(frozen=True)
class Prune:
    """Sample no more of this trace."""

    trace_index: int
    reason: str


@dataclass(frozen=True)
class Guess:
    """A trace that the method may ask for next. Whether it does is free: that decides nothing but what idle width is used for.

    Attributes:
        worth: what it may be worth now; of many problems' guesses the greatest goes first.
        until_tokens: of the `Extend` with which it would ask for it first. A segment ends there, so this has to be right.
    """

    trace_index: int
    worth: float
    until_tokens: int | None = None


@dataclass(frozen=True)
class Certificate:
    """How certain it is that the answer is the one that the model gives most often; see certified.py.

    Attributes:
        e_value: the evidence for it; is_certified once it is 1 / delta.
    """

    is_certified: bool
    e_value: float


@dataclass(frozen=True)
class Answer:
    """The problem is decided.

    Attributes:
        answer: None when no trace gave one.
        votes: most weight first.
        voters: indexes of the traces that were asked, with or without an answer.
        certificate: None from methods that give none.
    """

    answer: FinalAnswer | None
    votes: tuple[Vote, ...]
    voters: tuple[int, ...]
    certificate: Certificate | None = None


Action = Extend | Compare | Prepare | Ask | Prune | Answer


class Method(Protocol):
    """One problem's policy."""

    @property
    def clusters(self) -> tuple[Cluster, ...]:
        """The clusters so far; empty for methods that have none."""

    def prefix_tokens(self, trace: Trace) -> int:
        """How many of the trace's tokens were sampled before the method could decide on it."""

    def guesses(self, limit: int) -> Sequence[Guess]:
        """Return at most so many traces that it has not asked for and may ask for next, most probable first; none if it starts
        everything at once."""

    def begin(self) -> list[Action]:
        """Open the problem."""

    def on_segment(self, trace: Trace) -> list[Action]:
        """This trace has one more segment, known or sampled."""

    def on_verdicts(self, verdicts: Sequence[Verdict]) -> list[Action]:
        """Some pairs were judged."""

    def on_probe(self, probe: Probe) -> list[Action]:
        """A trace that was asked answered."""


@dataclass(frozen=True)
class MethodContext:
    """What a method may know of the run and of its problem.

    Attributes:
        budget: N, the most traces that it may start.
        seed: of the run; random choices are hashes of it.
        truncation: which part of an unfinished trace the judge reads.
        typical_tokens: of a trace, as far as that is known before the run.
    """

    problem_id: str
    budget: int
    seed: int
    truncation: Truncation
    typical_tokens: int | None = None


class MethodConfig(Choice):
    """What every method says of itself; each adds its own settings, and conf/method/<name>.yaml holds their values."""

    @property
    def uses_judge(self) -> bool:
        """Whether it has pairs of traces compared."""
        return False

    @property
    def needs_confidence(self) -> bool:
        """Whether it reads the confidence of each token, which costs throughput."""
        return False

    @property
    def asked_tokens(self) -> int | None:
        """The most tokens of an answer that is asked of a running trace; None if the method asks none."""
        return None

    @property
    def finishes_budget(self) -> bool:
        """Whether every trace of the budget starts and finishes, whatever the traces say."""
        return False

    @property
    def sees_whole_traces(self) -> bool:
        """Whether all that it ever does to a trace is to start it, let it go on and look at it once it has finished."""
        return self.finishes_budget

    @property
    def uses_typical_tokens(self) -> bool:
        """Whether it wants to know the model's typical length of a trace."""
        return False

    @property
    def unused_keys(self) -> tuple[str, ...]:
        unused = [] if self.uses_typical_tokens else ["model.typical_tokens"]
        if not self.uses_judge:
            unused += ["judge", "prefix"] if self.asked_tokens is not None else ["judge", "prefix", "model.probe"]
        return tuple(unused)

    @abstractmethod
    def make(self, context: MethodContext) -> Method:
        """Return the method for one problem."""


class WithoutJudge:
    """What methods share that compare nothing; one that asks running traces has an `on_probe` of its own."""

    clusters: tuple[Cluster, ...] = ()

    def prefix_tokens(self, trace: Trace) -> int:
        return 0

    def guesses(self, limit: int) -> Sequence[Guess]:
        return ()

    def on_verdicts(self, verdicts: Sequence[Verdict]) -> list[Action]:
        raise AssertionError(f"{type(self).__name__} compares no traces")

    def on_probe(self, probe: Probe) -> list[Action]:
        raise AssertionError(f"{type(self).__name__} asks no traces")
