"""The records: problems, traces as chains of segments, probes, verdicts, and their keys.

Frozen dataclasses and the hash that seeds everything. Knows no model, disk, clock or configuration.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Self, overload


def hash64(*parts: int | str) -> int:
    """Hash the parts to a number in [0, 2**63), the same on every machine and in every process.

    It is the only source of randomness: seeds of segments and random choices of methods come from it.
    """
    named = [f"{type(part).__name__}:{part}".encode() for part in parts]
    data = b"".join([len(name).to_bytes(4, "little") + name for name in named])
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little") >> 1


class TokenIds(Sequence[int]):
    """Token ids in four bytes each, immutable; equal to a tuple of the same numbers.

    Long traces are joined, cut and written as bytes, so that nothing is done for each of their tokens.
    """

    __slots__ = ("data",)
    data: bytes

    def __init__(self, ids: Iterable[int] = ()) -> None:
        self.data = ids.data if isinstance(ids, TokenIds) else array("i", ids).tobytes()

    @classmethod
    def of_bytes(cls, data: bytes) -> Self:
        """Return the ids in `data`, 32 bits each in the machine's order."""
        ids = cls.__new__(cls)
        ids.data = data
        return ids

    @classmethod
    def join(cls, parts: Iterable[Sequence[int]]) -> Self:
        """Return all parts one after the other."""
        return cls.of_bytes(b"".join([part.data if type(part) is TokenIds else TokenIds(part).data for part in parts]))

    def __len__(self) -> int:
        return len(self.data) // 4

    def __iter__(self) -> Iterator[int]:
        return iter(memoryview(self.data).cast("i"))

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> TokenIds: ...
    def __getitem__(self, place: int | slice) -> int | TokenIds:
        found = memoryview(self.data).cast("i")[place]
        return found if isinstance(found, int) else TokenIds.of_bytes(found.tobytes())

    def __add__(self, other: Sequence[int]) -> TokenIds:
        return TokenIds.join((self, other))

    def __radd__(self, other: Sequence[int]) -> TokenIds:
        return TokenIds.join((other, self))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TokenIds):
            return self.data == other.data
        return tuple(self) == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


@dataclass(frozen=True, slots=True)
class Problem:
    """One row of a problem set.

    Attributes:
        problem_index: its row in the whole set, not in the shard.
        question: of a conversation, what it asks as text.
        messages: a conversation's turns, each a role and its content; empty: there is only the question.
    """

    problem_id: str
    problem_index: int
    question: str
    answer: str | None
    messages: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class SegmentKey:
    problem_id: str
    trace_index: int
    segment_index: int


@dataclass(frozen=True, slots=True)
class ProbeKey:
    """A probe of a trace after its first `num_tokens` tokens."""

    problem_id: str
    trace_index: int
    num_tokens: int


@dataclass(frozen=True, slots=True)
class PairKey:
    """An ordered pair of traces: the judge reads the left one first. Methods name the earlier trace left."""

    problem_id: str
    left_trace: int
    right_trace: int


@dataclass(frozen=True, slots=True)
class TraceKey:
    """A trace as a whole: what its ending is keyed by."""

    problem_id: str
    trace_index: int


Key = SegmentKey | ProbeKey | PairKey | TraceKey


@dataclass(frozen=True, slots=True)
class FinalAnswer:
    """The answer of a trace or a probe.

    Attributes:
        text: as it was written.
        key: canonical: answers of one problem are equal exactly when their keys are.
        correct: 1 if it equals the gold answer, 0 if not; None without a gold answer, and for probes.
    """

    text: str
    key: str
    correct: int | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A contiguous piece of a trace from one request.

    num_tokens: how many tokens it has.
    token_ids: as many, or none where a recording does not have them.
    finish_reason: `stop` (end of sequence or stop string), `length` (the trace's token cap), or None: the trace goes on.
    prompt_tokens, cached_tokens: what the engine reported for the request (problem's prompt and the trace so far).
    confidence: one number a token, only where a method asked for it.
    """

    key: SegmentKey
    num_tokens: int
    token_ids: Sequence[int]
    text: str
    finish_reason: str | None
    prompt_tokens: int
    cached_tokens: int
    confidence: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """An answer forced out of a prefix: a few greedy tokens after an appended answer opening, then discarded.

    output_tokens: how many tokens it decoded; token_ids are as many, or none where a recording does not have them.
    answer_key: of the answer, see FinalAnswer; None where there is no answer.
    shared_tokens: prompt tokens that the sampler had computed for the trace itself.
    """

    key: ProbeKey
    output_tokens: int
    token_ids: Sequence[int]
    text: str
    answer: str | None
    prompt_tokens: int
    cached_tokens: int
    shared_tokens: int
    answer_key: str | None = None

    @property
    def final_answer(self) -> FinalAnswer | None:
        """The forced answer with its key; None if it is unreadable."""
        if self.answer is None:
            return None
        assert self.answer_key is not None, f"{self.key}: an answer without its key"
        return FinalAnswer(self.answer, self.answer_key)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judge's score for one pair: P(same final answer), or None where the judge gave nothing readable.

    head_tokens: the prompt's tokens up to the end of the left prefix, which pairs with the same left trace share.
    cached_tokens: what the engine's prefix cache really served.
    """

    key: PairKey
    score: float | None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    head_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Ending:
    """The final answer of a finished trace, read once; a trace that gave none has no ending."""

    key: TraceKey
    answer: str
    answer_key: str
    correct: int | None

    @property
    def final_answer(self) -> FinalAnswer:
        return FinalAnswer(self.answer, self.answer_key, self.correct)


Fact = Segment | Probe | Verdict | Ending


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace as far as it has been sampled.

    Attributes:
        segments: its segments in order, all of them.
        text: the trace's text; cut before a stop string.
        finish_reason: None while it can go on.
        answer: of a finished trace; None if there is none.
    """

    problem_id: str
    trace_index: int
    segments: tuple[Segment, ...] = ()
    num_tokens: int = 0
    text: str = ""
    finish_reason: str | None = None
    answer: FinalAnswer | None = None

    @property
    def is_finished(self) -> bool:
        return self.finish_reason is not None

    @property
    def token_ids(self) -> TokenIds:
        return TokenIds.join([segment.token_ids for segment in self.segments])

    @property
    def next_key(self) -> SegmentKey:
        return SegmentKey(self.problem_id, self.trace_index, len(self.segments))

    def append(self, segment: Segment) -> Trace:
        """Return the trace with one more segment."""
        assert segment.key == self.next_key and not self.is_finished, f"{segment.key} does not continue {self.next_key}"
        return Trace(
            self.problem_id,
            self.trace_index,
            segments=(*self.segments, segment),
            num_tokens=self.num_tokens + segment.num_tokens,
            text=self.text + segment.text,
            finish_reason=segment.finish_reason,
        )


def segment_end(num_tokens: int, segment_tokens: int, until_tokens: int | None, max_tokens: int, shift: int = 0) -> int:
    """Return the token count at which the segment that starts at `num_tokens` has to end.

    Segments end on a grid of `segment_tokens`, or earlier where a method wants to decide (`until_tokens`) or the trace's
    cap is reached. The grid is the same for every method, so methods whose boundaries are on it see the same traces. It begins
    `shift` tokens before the trace; see `grid_shift`.
    """
    end = min(((num_tokens + shift) // segment_tokens + 1) * segment_tokens - shift, max_tokens)
    if until_tokens is not None and until_tokens > num_tokens:
        end = min(end, until_tokens)
    return end


def grid_shift(prompt_tokens: int, align_tokens: int | None) -> int:
    """Return by how much the grid of segments is shifted so that prompt and trace are one token more than whole blocks of the
    prefix cache where a segment ends: then the next one computes that token again, and no more.

    Args:
        align_tokens: a block; None: the grid is not shifted.
    """
    return 0 if align_tokens is None or prompt_tokens == 0 else (prompt_tokens - 1) % align_tokens


def cut_at_stop(text: str, new_text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """Return `new_text` up to the first stop string of `text + new_text`, and whether there was one.

    A stop string may begin in `text`; the part that is already there stays.
    """
    tail = text[-max((len(word) for word in stop), default=0) :] if stop else ""
    window = tail + new_text
    hits = [at for at in (window.find(word) for word in stop) if at >= 0]
    if not hits:
        return new_text, False
    return window[len(tail) : max(min(hits), len(tail))], True
