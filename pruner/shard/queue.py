"""The requests of a shard, from the moment a case makes them until their completions are taken in. Here it is decided which request
goes to the engine next.

One record for each request and one owner: order, room in the engine and its cache, cancelling and speculation are decided here and
nowhere else. It knows neither problems nor methods.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from pruner.errors import EngineError
from pruner.records.traces import Key, SegmentKey
from pruner.samplers.base import Completion, Request, Sampler, check_whole

# Added to the priority of what nothing needs yet, so that an engine serves it last.
_LAST = 1 << 30


@dataclass(slots=True)
class _Entry:
    """One request. worth: as it was offered; None: it is needed. is_running: the engine has it."""

    request: Request
    worth: float | None = None
    is_running: bool = False


class RequestQueue:
    """Requests that wait for one engine, and those that it works on.

    Args:
        width: requests that the engine works on at once; None: as many as there are, in the order in which they come.
    """

    def __init__(self, sampler: Sampler, width: int | None) -> None:
        self.sampler = sampler
        self._width = width
        self._most = None if width is None else width + max(1, width // 4)  # with some to spare
        self._entries: dict[Key, _Entry] = {}
        self._waiting: list[tuple[int, int, int, Request]] = []
        self._order = itertools.count()
        self._num_speculative = 0
        self._held_tokens = 0  # of the engine's cache, by the requests that run
        self._dropped: set[Key] = set()  # cancelled ones, whose completions may be on their way
        self._late_tokens = 0
        self._final_lost: int | None = None
        self._failure: EngineError | None = None

    @property
    def num_running(self) -> int:
        """Requests that the engine has."""
        return len(self._entries) - len(self._waiting)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def num_waiting(self) -> int:
        """Requests that the engine has not been given."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether what is needed fills the engine, with some to spare."""
        return self._most is not None and len(self._entries) - self._num_speculative >= self._most

    @property
    def tokens_in_flight(self) -> int:
        """Tokens of the requests that run, as far as the engine has reported."""
        return 0 if self._final_lost is not None else self.sampler.running_tokens

    @property
    def tokens_discarded(self) -> int:
        """Tokens of requests that were cancelled, as far as the engine has reported; after `abort` of those too."""
        found = self.sampler.cancelled_tokens if self._final_lost is None else self._final_lost
        return found + self._late_tokens

    def add(self, requests: Iterable[Request]) -> None:
        """Take on requests that are needed. One that runs speculatively is needed from now on; it keeps its low priority."""
        for request in requests:
            entry = self._entries.get(request.key)
            if entry is not None:
                assert entry.worth is not None, f"{request.key} was requested twice"
                entry.worth = None
                self._num_speculative -= 1
                continue
            self._entries[request.key] = _Entry(request)
            # The judge's requests unblock whole problems, so they go before segments of the same problem. Of these the first traces
            # go on before later ones, so that few are under way at once and the engine's cache still holds what they continue.
            trace_index = request.key.trace_index if isinstance(request.key, SegmentKey) else -1
            heapq.heappush(self._waiting, (request.priority, trace_index, next(self._order), request))

    def submit(self, shared_tokens: int) -> None:
        """Hand over what is needed, as far as the engine has room, and take back what is in its way.

        Args:
            shared_tokens: of the engine's cache, for the prompts of open problems.
        """
        if self._waiting:
            self._make_room(shared_tokens)
        chosen: list[Request] = []
        while self._waiting and self._has_width() and self._fits(self._waiting[0][-1], shared_tokens):
            request = heapq.heappop(self._waiting)[-1]
            self._run(self._entries[request.key])
            chosen.append(request)
        self.sampler.submit(chosen)

    def room_for_speculation(self, share: float) -> int:
        """Return how many requests that nothing needs the engine could work on now.

        Args:
            share: of the width that may be speculative.
        """
        if self._waiting or self._width is None:
            return 0
        return max(0, min(self._width - self.num_running, int(share * self._width) - self._num_speculative))

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def speculate(self, request: Request, worth: float, shared_tokens: int) -> bool:
        """Hand over a request that nothing needs yet; return False if the engine's cache would not hold it."""
        if not self._fits(request, shared_tokens):
            return False
        entry = self._entries[request.key] = _Entry(request, worth)
        self._num_speculative += 1
        self._run(entry)
        self.sampler.submit([replace(request, priority=request.priority + _LAST)])
        return True

    def drop_speculative(self, problem_id: str) -> None:
        """Cancel what nothing needs of a problem."""
        if self._num_speculative:
            self._cancel([key for key, entry in self._speculative() if key.problem_id == problem_id])

    def step(self) -> list[tuple[Completion, bool]]:
        """Let the engine work; return whole completions, each with whether its request was needed.

        Raises:
            EngineError: the engine died, or gave what is no whole completion of a request.
        """
        if self._failure is not None:
            raise self._failure
        taken: list[tuple[Completion, bool]] = []
        for completion in self.sampler.step():
            try:
                found = self._taken(completion)
            except EngineError as error:
                if not taken:
                    raise
                self._failure = error  # what was whole before it is taken first
                break
            if found is not None:
                taken.append(found)
        return taken

    def abort(self) -> None:
        """Drop everything; its tokens are discarded."""
        # What breaks meanwhile goes from the running ones to the cancelled ones: read in this order it is counted once.
        self._final_lost = self.sampler.cancelled_tokens + self.sampler.running_tokens
        if self.num_running:
            self.sampler.abort()
        self._entries.clear()
        self._waiting.clear()

    def _taken(self, completion: Completion) -> tuple[Completion, bool] | None:
        entry = self._entries.get(completion.key)
        if entry is None or not entry.is_running:
            if completion.key not in self._dropped:
                raise EngineError(f"the engine gave a completion for {completion.key}, which was not requested")
            self._late_tokens += completion.num_tokens
            return None
        check_whole(entry.request, completion)
        self._forget(completion.key)
        return completion, entry.worth is None

    def _speculative(self) -> list[tuple[Key, _Entry]]:
        return [each for each in self._entries.items() if each[1].worth is not None]

    def _has_width(self) -> bool:
        return self._most is None or self.num_running < self._most

    def _fits(self, request: Request, shared_tokens: int) -> bool:
        """Say whether the engine's cache holds the request beside those that run. If it did not, every trace's next segment would
        find its beginning evicted and read all of it again; so traces that are behind wait."""
        capacity = self.sampler.capacity_tokens
        if self._width is None or capacity is None or not self.num_running:
            return True
        return shared_tokens + self._held_tokens + context_tokens(request) <= capacity

    def _make_room(self, shared_tokens: int) -> None:
        """Cancel speculative requests, the least worthy first, where they would keep the engine or its cache from what is needed."""
        if not self._num_speculative:
            return
        assert self._width is not None
        worst = [key for key, entry in sorted(self._speculative(), key=lambda each: each[1].worth or 0.0)]
        excess = max(0, len(self._entries) - self._width)
        self._cancel(worst[:excess])
        for key in worst[excess:]:
            if self._fits(self._waiting[0][-1], shared_tokens):
                break
            self._cancel([key])

    def _cancel(self, keys: Sequence[Key]) -> None:
        """Drop speculative requests; their tokens are discarded."""
        if not keys:
            return
        self.sampler.cancel(keys)
        self._dropped.update(keys)
        for key in keys:
            self._forget(key)

    def _run(self, entry: _Entry) -> None:
        entry.is_running = True
        self._held_tokens += context_tokens(entry.request)

    def _forget(self, key: Key) -> None:
        entry = self._entries.pop(key)
        self._num_speculative -= entry.worth is not None
        self._held_tokens -= context_tokens(entry.request)


def context_tokens(request: Request) -> int:
    """Return how many tokens of the engine's cache a request will take; a problem's prompt is shared by its traces."""
    own = request.trace_tokens if isinstance(request.key, SegmentKey) else len(request.prompt_token_ids)
    return own + request.max_tokens


def completed(sampler: Sampler, requests: Iterable[Request], width: int | None = None) -> Iterator[Completion]:
    """Yield the completions of requests as they come, without a run around them.

    Args:
        width: requests that the engine works on at once; None: all.

    Raises:
        EngineError: it died.
    """
    queue = RequestQueue(sampler, width)
    queue.add(requests)
    while len(queue):
        queue.submit(0)
        for completion, _ in queue.step():
            yield completion
