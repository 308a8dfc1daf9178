"""Speculative traces: they change no answer and no count of the method's own, and are in nobody's way."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruner.methods.base import Extend, Guess
from pruner.records.traces import Segment, SegmentKey
from pruner.shard.queue import RequestQueue
from pruner.shard.segments import PromptedProblem
from tests.fuzz.jobs_in_process import call
from tests.unit.fake_judges import METHODS_AND_JUDGES, run_judged
from tests.unit.fakes import MemoryStore, open_case, problems, run_once, simulated

PROMPTED = PromptedProblem(problems(1)[0], (1, 2), 0)
MEASURED = {"wall_s": 0.0, "gpu_seconds": 0.0, "traces_speculative": 0, "tokens_speculative": 0}


def promised(store):
    """Return everything that does not depend on timing: answers, and the rows of traces that the method asked for."""
    answers = {row.problem_id: replace(row, **MEASURED) for row in store.answers}
    traces = {(row.problem_id, row.trace_index): row for row in store.traces if row.status != "speculative"}
    return answers, traces


def assert_balanced(store):
    for row in store.answers:
        own = [each for each in store.traces if each.problem_id == row.problem_id]
        ahead = [each for each in own if each.status == "speculative"]
        facts = [fact for fact in store.facts if isinstance(fact, Segment) and fact.key.problem_id == row.problem_id]
        assert len(ahead) == row.traces_speculative
        assert sum(each.tokens_sampled for each in ahead) == row.tokens_speculative
        assert sum(fact.num_tokens for fact in facts) == row.tokens_sampled + row.tokens_speculative
        assert not any(each.is_voter or each.answer for each in ahead)
    keys = [fact.key for fact in store.facts]
    assert len(keys) == len(set(keys)), "sampled twice"


@pytest.mark.parametrize(("name", "judge"), METHODS_AND_JUDGES)
@settings(max_examples=25)
@given(
    ahead=st.integers(1, 9),
    share=st.sampled_from([0.3, 1.0]),
    kills=st.lists(st.integers(1, 40), max_size=3),
    width=st.sampled_from([3, 16]),
    step=st.sampled_from([3, 16]),
)
def test_answers_and_the_methods_own_tokens_are_the_same(name, judge, ahead, share, kills, width, step):
    todo = problems(3)
    plain, store = MemoryStore(), MemoryStore()
    assert run_judged(judge, plain, name, 8, todo)[0]
    for steps in (*kills, None):
        sampler = simulated(step_tokens=step, max_running_traces=width)
        is_done, _ = run_judged(judge, store, name, 8, todo, sampler, steps=steps, ahead=ahead, share=share)
    assert is_done
    assert promised(store) == promised(plain)
    assert_balanced(store)


@pytest.mark.parametrize("name", ["adaptive", "worth", "esc", "certified"])
def test_idle_width_is_used_and_the_last_problems_take_fewer_steps(name):
    steps = {}
    for ahead in (0, 8):
        store, sampler = MemoryStore(), simulated()
        counted = []
        sampler.step = lambda step=sampler.step, counted=counted: (counted.append(1), step())[1]
        assert run_once(store, name, 8, problems(2), None, sampler, ahead=ahead)[0]
        steps[ahead] = len(counted)
    assert steps[8] < steps[0]


def test_methods_that_start_everything_offer_nothing():
    for name in ("cons", "deepprune", "parallel_probe", "deepconf_offline"):
        store = MemoryStore()
        assert run_once(store, name, 8, problems(2), ahead=8)[0]
        assert not any(row.traces_speculative for row in store.answers)


class Watched:
    """A sampler that notes how many speculative requests it holds beside how many that are needed."""

    def __init__(self, **changes):
        self.sampler = simulated(**changes)
        self.needed, self.ahead, self.most = set(), set(), 0

    def __getattr__(self, name):
        return getattr(self.sampler, name)

    def submit(self, requests):
        for request in requests:
            (self.ahead if request.priority >= 1 << 30 else self.needed).add(request.key)
        self.most = max(self.most, len(self.ahead) + len(self.needed))
        self.sampler.submit(requests)

    def cancel(self, keys):
        self.ahead -= set(keys)
        self.sampler.cancel(keys)

    def step(self):
        done = self.sampler.step()
        for completion in done:
            self.needed.discard(completion.key)
            self.ahead.discard(completion.key)
        return done


@pytest.mark.parametrize("name", ["adaptive", "worth", "esc", "deepprune_worth", "mars"])
def test_what_is_needed_never_waits_for_what_is_not(name):
    class Checked(Watched):
        def step(self):
            # Of all that is handed over, no more than fits works at once, unless all of it is needed.
            assert not self.ahead or len(self.needed) + len(self.ahead) <= 16
            return super().step()

    store, sampler = MemoryStore(), Checked()
    assert run_once(store, name, 8, problems(12), None, sampler, ahead=8)[0]
    assert sampler.most <= 20 and not sampler.ahead


def test_at_most_a_share_of_the_width_is_speculative():
    class Checked(Watched):
        def step(self):
            assert len(self.ahead) <= 4
            return super().step()

    store, sampler = MemoryStore(), Checked()
    assert run_once(store, "worth", 8, problems(2), None, sampler, ahead=8, share=0.25)[0]
    assert any(row.traces_speculative for row in store.answers)


def test_speculation_lets_go_of_the_cache_first():
    sampler = Watched()
    sampler.sampler.capacity_tokens = 120
    store, plain = MemoryStore(), MemoryStore()
    assert run_once(store, "worth", 8, problems(4), None, sampler, ahead=8)[0]
    assert run_once(plain, "worth", 8, problems(4))[0]
    assert promised(store) == promised(plain)


def test_a_request_that_comes_to_be_needed_is_not_made_twice():
    case = open_case("worth", 8, PROMPTED, [])
    step = case.begin()
    [offer, *others] = case.offers(3)
    assert offer.key == SegmentKey(case.problem.problem_id, 2, 0) and len(others) == 2
    request = case.speculate(offer)
    assert request.key == offer.key and request.key not in {each.key for each in step.requests}
    queue = RequestQueue(simulated(), 16)
    queue.speculate(request, offer.worth, 0)
    queue.add([request])
    queue.submit(0)
    assert queue.num_running == 1 and not queue.num_waiting
    assert [is_needed for _ in range(9) for _, is_needed in queue.step()] == [True]


def test_a_completion_that_closes_its_problem_does_not_break_the_rest_of_its_batch(tmp_path):
    """A speculative completion of the same problem came later in the batch: KeyError. Every judge whose verdicts are known at once."""
    overrides = [
        "sampler=replay",
        "sampler.source=conf/recordings/gsm8k_qwen25_coder_1p5b.parquet",
        "speculate.ahead=3",
    ]
    overrides += ["method=deepprune_worth", "judge=noisy_oracle", "prefix.max_tokens=40", "problems.limit=24"]
    result = call("run", *overrides, "progress.bar=false", f"run.root={tmp_path}")
    assert result.code == 0, result.errors


def test_guesses_are_in_order_and_worth_less_the_further_they_are():
    method = open_case("worth", 8, PROMPTED, []).method
    method.begin()
    guesses = method.guesses(6)
    assert [guess.trace_index for guess in guesses] == list(range(2, 8))
    assert all(a.worth > b.worth for a, b in pairwise(guesses)) and guesses[0] == Guess(2, 1 / 3)


def test_a_wrong_guess_of_where_a_segment_ends_is_a_fault_of_the_method():
    case = open_case("worth", 8, PROMPTED, [])
    case.begin()
    case.method.guesses = lambda limit: [Guess(2, 1.0, 5)]
    [offer] = case.offers(1)
    case.speculate(offer)
    with pytest.raises(AssertionError, match="Worth guessed until 5"):
        case._extend(Extend(2))
