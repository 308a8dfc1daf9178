"""The runner with the simulated sampler: whatever is cut off goes on, and the rows are the same."""

import random
from dataclasses import replace
from functools import partial

import pytest

from pruner.answers.reader import AnswerReader
from pruner.errors import CheckpointError, EngineError
from pruner.records.traces import Ending, Segment, SegmentKey, TraceKey
from pruner.shard.queue import context_tokens
from tests.unit.fake_judges import JUDGES, METHODS_AND_JUDGES, PairScorer, run_judged
from tests.unit.fakes import METHOD_CONFIGS, MemoryStore, problems, run_once, simulated

METHODS = list(METHOD_CONFIGS)
FINISH_ALL = {name for name, config in METHOD_CONFIGS.items() if config.finishes_budget}
STARTS_ALL = {*FINISH_ALL, "deepprune"}

COUNTED = ("traces_finished", "traces_pruned", "traces_cut", "traces_unanswered")


def counted(status):
    return [getattr(status, name) for name in COUNTED]


def rows(store):
    unmeasured = []
    for row in store.answers:
        unmeasured.append({k: getattr(row, k) for k in row.__dataclass_fields__ if k not in ("wall_s", "gpu_seconds")})
    traces = sorted(store.traces, key=lambda row: (row.problem_index, row.trace_index))
    return sorted(unmeasured, key=lambda row: row["problem_index"]), traces


def keys(store):
    return [fact.key for fact in store.facts]


@pytest.mark.parametrize(("name", "judge"), METHODS_AND_JUDGES)
def test_every_problem_gets_one_row_and_the_accounting_balance(name, judge):
    store = MemoryStore()
    is_done, status = run_judged(judge, store, name, 8, problems(10))
    assert is_done and status.problems_done == 10
    assert [row.problem_index for row in sorted(store.answers, key=lambda r: r.problem_index)] == list(range(10))
    sampled = sum(len(fact.token_ids) for fact in store.facts if isinstance(fact, Segment))
    assert sampled == sum(row.tokens_sampled for row in store.answers) == status.tokens
    assert counted(status) == [sum(getattr(row, name) or 0 for row in store.answers) for name in COUNTED]
    for row in store.answers:
        assert row.tokens_sampled == row.tokens_finished + row.tokens_pruned == row.tokens_prefix + row.tokens_continued
        assert row.traces_started == row.traces_finished + row.traces_pruned
        assert row.traces_started == 8 if name in STARTS_ALL else 1 <= row.traces_started <= 8


def test_a_stopped_run_counts_the_finished_traces_of_open_problems_of_earlier_attempts_too():
    store = MemoryStore()
    _, first = run_once(store, "cons", 8, problems(8), steps=12, every=1)
    answered = sum(row.traces_finished for row in store.answers)
    finished = {fact.key.trace_index for fact in store.facts if isinstance(fact, Segment) and fact.finish_reason}
    assert finished and first.traces_finished >= answered
    _, second = run_once(store, "cons", 8, problems(8), steps=1, every=1)
    assert answered + second.traces_finished >= first.traces_finished > 0


@pytest.mark.parametrize("name", sorted(METHOD_CONFIGS.keys() - FINISH_ALL))
def test_methods_sample_less_than_cons(name):
    cons, pruned = MemoryStore(), MemoryStore()
    run_once(cons, "cons", 8, problems(20))
    run_once(pruned, name, 8, problems(20))
    assert sum(row.tokens_sampled for row in pruned.answers) < sum(row.tokens_sampled for row in cons.answers)


@pytest.mark.parametrize(("name", "judge"), METHODS_AND_JUDGES)
@pytest.mark.parametrize("salt", range(6))
def test_a_run_that_was_stopped_again_and_again_ends_with_the_same_rows(name, judge, salt):
    whole = MemoryStore()
    run_judged(judge, whole, name, 8, problems(8))
    draw = random.Random(salt)
    store, is_done = MemoryStore(), False
    for _ in range(200):
        if is_done:
            break
        before = [sum(getattr(row, name) or 0 for row in store.answers) for name in COUNTED]
        steps, every = draw.randrange(1, 9), draw.choice([1, 3, 50])
        is_done, status = run_judged(judge, store, name, 8, problems(8), steps=steps, every=every)
    assert is_done
    assert rows(store) == rows(whole)
    ended = [sum(getattr(row, name) or 0 for row in store.answers) for name in COUNTED]
    assert counted(status) == [last - first for first, last in zip(before, ended, strict=True)]
    assert len(keys(store)) == len(set(keys(store))), "a committed fact was made again"
    assert set(keys(store)) == set(keys(whole))


@pytest.mark.parametrize("name", METHODS)
def test_shards_give_the_rows_of_the_whole_set(name):
    whole, shards = MemoryStore(), MemoryStore()
    run_once(whole, name, 8, problems(9))
    for index in range(3):
        shard = MemoryStore()
        run_once(shard, name, 8, problems(9)[index::3])
        shards.append(shard.facts, shard.answers, shard.traces)
    assert rows(shards) == rows(whole)


@pytest.mark.parametrize(("name", "judge"), METHODS_AND_JUDGES)
def test_rows_do_not_depend_on_how_fast_or_how_many_at_once(name, judge):
    results = []
    for changes in ({}, {"step_tokens": 1}, {"max_running_traces": 1}, {"step_tokens": 1000}):
        store = MemoryStore()
        run_judged(judge, store, name, 6, problems(5), simulated(**changes))
        results.append(rows(store))
    assert all(result == results[0] for result in results)


def test_a_prompt_beyond_the_context_fails_alone():
    from dataclasses import replace

    todo = problems(3)
    todo[1] = replace(todo[1], question="x" * 5000)
    store = MemoryStore()
    is_done, _ = run_once(store, "cons", 4, todo)
    assert is_done
    failed = [row for row in store.answers if row.status == "failed"]
    assert [row.problem_id for row in failed] == ["p1"]
    assert "does not fit the context of 4096" in failed[0].failure
    assert failed[0].correct == 0 and failed[0].traces_started == 0


def test_all_problems_may_fail():
    from dataclasses import replace

    store = MemoryStore()
    is_done, _ = run_once(store, "cons", 4, [replace(p, question="x" * 5000) for p in problems(40)])
    assert is_done and len(store.answers) == 40


def test_what_completed_before_an_engine_died_is_committed():
    class Dying:
        def __init__(self):
            self.inner, self.steps = simulated(), 0

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def step(self):
            self.steps += 1
            if self.steps == 6:
                raise EngineError("gone")
            return self.inner.step()

    store = MemoryStore()
    with pytest.raises(EngineError):
        run_once(store, "cons", 8, problems(4), sampler=Dying(), every=10**6)
    assert store.facts
    assert run_once(store, "cons", 8, problems(4))[0]
    assert len(keys(store)) == len(set(keys(store)))


def test_an_interrupted_run_says_what_it_discarded():
    store = MemoryStore()
    is_done, status = run_once(store, "cons", 8, problems(4), steps=1)
    assert not is_done and status.tokens_discarded > 0


@pytest.mark.parametrize(("name", "judge"), METHODS_AND_JUDGES)
def test_a_run_that_is_drained_discards_nothing_and_goes_on_with_the_same_rows(name, judge):
    store = MemoryStore()
    is_done, stopped = run_judged(judge, store, name, 8, problems(6), steps=5, drain_s=60.0)
    assert stopped.tokens_lost == 0 and (is_done or stopped.segments > 0)
    run_judged(judge, store, name, 8, problems(6))
    whole = MemoryStore()
    run_judged(judge, whole, name, 8, problems(6))
    assert rows(store) == rows(whole)
    assert len(keys(store)) == len(set(keys(store)))


def test_draining_begins_nothing_new_and_ends_with_its_time():
    class Endless:
        def __init__(self):
            self.inner, self.submitted = simulated(mean_tokens=100_000), 0

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def submit(self, requests):
            self.submitted += len(requests)
            self.inner.submit(requests)

    sampler, store = Endless(), MemoryStore()
    _, status = run_once(store, "cons", 8, problems(40), steps=1, sampler=sampler, drain_s=0.05)
    assert (
        sampler.submitted == 20 and status.tokens_in_flight == 0
    )  # every segment ended, and none was followed by another


class Watched:
    """A sampler whose cache holds so many tokens. Remembers what it held at most and how many traces were under way."""

    def __init__(self, capacity_tokens):
        self.inner, self.capacity_tokens = simulated(), capacity_tokens
        self.held, self.most_held, self.under_way, self.most_under_way = {}, 0, set(), 0

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def submit(self, requests):
        self.held |= {request.key: context_tokens(request) for request in requests}
        self.under_way |= {request.key.trace_index for request in requests if isinstance(request.key, SegmentKey)}
        self.most_held = max(self.most_held, sum(self.held.values()))
        self.most_under_way = max(self.most_under_way, len(self.under_way))
        self.inner.submit(requests)

    def step(self):
        completions = self.inner.step()
        for completion in completions:
            del self.held[completion.key]
            if completion.finish_reason is not None:
                self.under_way.discard(completion.key.trace_index)
        return completions


def test_traces_that_began_go_on_before_others_begin():
    sampler = Watched(None)
    run_once(MemoryStore(), "cons", 200, problems(1), sampler=sampler)
    assert sampler.most_under_way <= 16 + 4


@pytest.mark.parametrize("name", METHODS)
def test_no_more_is_under_way_than_the_engines_cache_holds(name):
    whole, sampler, store = MemoryStore(), Watched(300), MemoryStore()
    run_once(whole, name, 40, problems(2))
    run_once(store, name, 40, problems(2), sampler=sampler)
    assert sampler.most_held <= 300 and rows(store) == rows(whole)


def test_a_trace_that_is_longer_than_the_cache_runs_alone():
    whole, store = MemoryStore(), MemoryStore()
    run_once(whole, "cons", 4, problems(2))
    run_once(store, "cons", 4, problems(2), sampler=Watched(1))
    assert rows(store) == rows(whole)


class FlippingReader(AnswerReader):
    """Keys every answer in a way of its own, as if equality were decided anew at each attempt. asked: what it was asked."""

    def __init__(self, salt):
        super().__init__("math")
        self.salt, self.asked = salt, set()

    def submit(self, reading):
        self.asked.add(reading.key)
        super().submit(reading)

    def take(self):
        return [
            replace(read, answer=read.answer and replace(read.answer, key=f"{self.salt}{read.answer.key}"))
            for read in super().take()
        ]


@pytest.mark.parametrize("name", METHODS)
def test_what_an_attempt_decided_on_answers_is_never_decided_again(name):
    """Verdicts that flip between attempts made adaptive and esc fail for good: answers are facts now."""
    for stop_after in range(1, 12):
        store = MemoryStore()
        run_once(store, name, 8, problems(4), steps=stop_after, every=1, reader=FlippingReader("a"))
        known = {fact.key: fact for fact in store.facts if isinstance(fact, Ending)}
        second = FlippingReader("b")
        is_done, _ = run_once(store, name, 8, problems(4), every=1, reader=second)
        assert is_done and len(store.answers) == 4
        assert not second.asked & known.keys()
        assert len({fact.key for fact in store.facts}) == len(store.facts)
        for row in store.traces:
            if (ending := known.get(TraceKey(row.problem_id, row.trace_index))) is not None:
                assert (row.answer, row.answer_key) == (ending.answer, ending.answer_key)


class SlowReader(AnswerReader):
    """Gives nothing back for so many calls."""

    def __init__(self, calls):
        super().__init__("math")
        self.calls, self.most = calls, 0

    @property
    def num_waiting(self):
        return len(self._done)

    def take(self):
        self.calls -= 1
        self.most = max(self.most, self.num_waiting)
        return [] if self.calls > 0 else super().take()


def test_where_answers_wait_to_be_read_no_more_problems_are_opened():
    """Else a slow worker would have a whole shard in memory."""
    reader = SlowReader(400)
    store = MemoryStore()
    is_done, _ = run_once(store, "adaptive", 8, problems(200), reader=reader)
    assert is_done and len(store.answers) == 200
    assert 60 < reader.most < 100, reader.most


def test_where_a_judges_own_engine_is_behind_no_more_problems_are_opened():
    """A shard's worth of problems was open while it was slow: 401 of them at a width of 64."""

    class Slow(PairScorer):
        steps, most = 300, 0

        def step(self):
            self.steps -= 1
            self.most = max(self.most, self.num_running)
            return [] if self.steps > 0 else super().step()

        def wait(self, wait_s):
            pass

    sampler = simulated()
    judge, store = Slow(sampler), MemoryStore()
    is_done, _ = run_once(
        store,
        "deepprune",
        8,
        problems(120),
        sampler=sampler,
        make_judge=partial(JUDGES["llm, own engine"], sampler=sampler),
        judge_sampler=judge,
    )
    assert is_done and len(store.answers) == 120
    assert 60 < judge.most < 120, judge.most


def test_a_commit_that_fails_is_the_error_that_ends_the_run_and_is_not_tried_again():
    """The second commit, behind the first one's failure, failed otherwise, and its OSError was what the attempt's row should have said."""

    class Full(MemoryStore):
        commits = 0

        def append(self, facts, answers=(), traces=()):
            self.commits += 1
            if self.commits > 1:
                raise OSError(28, "No space left on device")
            raise CheckpointError("the disk is full")

    store = Full()
    with pytest.raises(CheckpointError, match="the disk is full"):
        run_once(store, "cons", 8, problems(4), every=1)
    assert store.commits == 1
