"""Methods consulted in memory: the rows are those of a run, for every method and whatever was recorded."""

import random
from array import array
from dataclasses import replace
from functools import cache

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.compose import main_config
from pruner.answers.reader import AnswerReader
from pruner.errors import InputError
from pruner.recordings.recording import RecordedProblem, RecordedTrace, Recording
from pruner.recordings.replay import ProbeCost, Replay
from pruner.records.progress import NOTHING
from pruner.records.traces import Problem
from pruner.samplers.replay import ReplaySampler
from pruner.shard import build
from pruner.shard.inputs import Inputs
from pruner.shard.runner import Engines, Hooks, Runner
from pruner.simulation.replay_evaluator import Answers, ReplayEvaluator, answers_of, control_rows, recorded_answers
from tests.unit.fakes import METHOD_CONFIGS, MemoryStore

BUDGET = 6
PROBE_EVERY = 8


@cache
def config(name):
    """The config of a replay with a method, and with a judge that asks recorded probes."""
    overrides = [
        "sampler=replay",
        "sampler.source=unused",
        f"budget={BUDGET}",
        "judge=probe",
        "prefix=fixed",
        "prefix.max_tokens=16",
    ]
    return main_config(overrides).model_copy(update={"method": METHOD_CONFIGS[name]})


def recording(seed):
    """Two problems, as some earlier run may have cut them."""
    rng = random.Random(seed)
    traces = [{index: recorded(rng, index) for index in range(BUDGET + 2)} for _ in range(2)]
    problems = [Problem(f"p{i}", i, f"question {i}", rng.choice(["1", "2", None])) for i in range(2)]
    found = {each.problem_id: RecordedProblem(each, own, 10) for each, own in zip(problems, traces, strict=True)}
    cut, align = rng.choice([(None, None), (16, None), (8, 4)])
    questions = pa.table({"question": [each.question for each in problems]})
    return Recording(found, questions, "m", "f", cut, rng.choice([None, 4]), align, rng.choice([None, 30]))


def recorded(rng, index):
    tokens = rng.randint(1, 70)
    answer = rng.choice(["1", "2", "1/2", "0.5", None])
    probes = tuple((at, rng.choice(["1", "2", None])) for at in range(PROBE_EVERY, tokens, PROBE_EVERY))
    confidence = array("f", [rng.uniform(1, 9) for _ in range(tokens)])
    return RecordedTrace(
        index,
        tokens,
        "length" if answer is None else "stop",
        answer,
        confidence=confidence,
        segment_tokens=(tokens,),
        segment_chars=(0,),
        probes=((0, None), *probes),
    )


def inputs_of(recording_, resample):
    replay = Replay(recording_, resample, 5, ProbeCost(3, 2))
    return Inputs(replay.problem_set(None), replay)


@pytest.fixture(scope="module")
def reader():
    with AnswerReader("math") as reader:
        yield reader


def rows_of_a_run(config_, inputs, reader):
    store = MemoryStore()
    problems = inputs.problems.problems
    runner = Runner(
        config_,
        build.workload(config_, inputs, problems, NOTHING, {}),
        Engines(ReplaySampler(inputs.replay), 16),
        store,
        reader,
        Hooks(lambda: False),
    )
    assert runner.run()
    return sorted((replace(row, wall_s=0, gpu_seconds=0) for row in store.answers), key=lambda row: row.problem_index)


@pytest.mark.parametrize("name", METHOD_CONFIGS)
@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), resample=st.sampled_from([None, 1, 2]))
def test_what_a_method_makes_of_a_recording_is_what_a_run_writes(name, reader, seed, resample):
    config_, inputs = config(name), inputs_of(recording(seed), resample)
    evaluator = ReplayEvaluator(config_, inputs, Answers(lambda: reader))
    found = [evaluator.evaluate(problem).row for problem in inputs.problems.problems]
    assert found == rows_of_a_run(config_, inputs, reader)


@pytest.mark.parametrize(
    ("name", "rounds"), [("cons", {1}), ("deepprune", {1}), ("esc", {1, 2}), ("worth", set(range(1, BUDGET)))]
)
def test_rounds_are_how_often_traces_were_started(name, rounds):
    inputs = inputs_of(recording(3), 40)
    with answers_of(config(name)) as answers:
        evaluator = ReplayEvaluator(config(name), inputs, answers)
        found = [evaluator.evaluate(problem) for problem in inputs.problems.problems]
    assert {each.rounds for each in found} <= rounds
    if name == "worth":
        assert all(each.rounds == each.row.traces_started - 1 for each in found)


def test_answers_are_read_once_and_a_reader_is_opened_when_it_is_needed():
    opened = []

    def open_reader():
        opened.append(AnswerReader("math"))
        return opened[-1]

    answers = Answers(open_reader)
    assert not opened
    answers.read_all([("1/2", "0.5"), ("1/2", "0.5"), ("7", None)])
    assert answers.read("1/2", "0.5").correct == 1 and answers.read("7", None).correct is None
    answers.close()
    assert answers.read("1/2", "0.5").correct == 1 and len(opened) == 1
    assert answers.read("8", "8").correct == 1 and len(opened) == 2
    answers.close()


def test_a_trace_that_was_pruned_when_it_was_recorded_is_refused_as_in_a_run():
    whole = recording(1)
    problem = whole.problems["p0"]
    cut = replace(problem, traces=dict(problem.traces) | {0: replace(problem.traces[0], finish_reason=None)})
    inputs = inputs_of(replace(whole, problems={"p0": cut}, carried=whole.carried.slice(0, 1)), None)
    with (
        answers_of(config("cons")) as answers,
        pytest.raises(InputError, match="trace 0 of problem p0 was pruned after"),
    ):
        ReplayEvaluator(config("cons"), inputs, answers).evaluate(inputs.problems.problems[0])


def test_plain_voting_sees_the_traces_in_the_order_of_the_methods():
    inputs = inputs_of(recording(2), 2)
    with answers_of(config("cons")) as answers:
        answers.read_all(recorded_answers(inputs.replay))
        rows = list(control_rows(inputs, answers, 3))
        row = ReplayEvaluator(config("cons"), inputs, answers).evaluate(inputs.problems.problems[1]).row
    assert [each["trace_index"] for each in rows] == [0, 1, 2] * 4
    own = [each for each in rows if each["problem_id"] == row.problem_id]
    assert sum(each["tokens_sampled"] for each in own) < row.tokens_sampled
