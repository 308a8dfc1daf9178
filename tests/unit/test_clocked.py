"""Recorded traces on an engine of a stated speed: the clock's arithmetic, and that speculation changes nothing but time and its own tokens."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.compose import main_config
from pruner.errors import InputError
from pruner.records.traces import SegmentKey
from pruner.samplers.base import Decoding, Request
from pruner.shard.inputs import read_inputs
from pruner.simulation.clocked import ClockedReplay, clocked_orders, clocked_run
from pruner.simulation.planning import Curve, Engine
from pruner.simulation.plans import plan_recorded
from tests.unit.test_planning import config as plan_config

ENGINE = Engine(Curve(((1, 10.0), (2, 20.0), (4, 20.0))), 4)


def write(path, lengths, answers=None):
    """Write recorded traces: lengths[problem][trace]; without answers each problem's are all 1."""
    rows = [
        (f"p{problem}", "1", index, tokens, answers[problem][index] if answers else "1")
        for problem, own in enumerate(lengths)
        for index, tokens in enumerate(own)
    ]
    names = ("problem_id", "gold_answer", "trace_index", "num_tokens", "answer")
    pq.write_table(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), path)
    return path


def replay_of(path, budget, *overrides):
    return main_config(["sampler=replay", f"sampler.source={path}", f"budget={budget}", *overrides])


@pytest.mark.parametrize(
    ("lengths", "seconds"),
    [
        ([100], 10.0),  # alone: 10 tokens a second
        ([100, 100], 10.0),  # two of them 20
        ([100, 50], 5.0 + 5.0),  # together, then the longer one alone
        ([100] * 4, 20.0),  # four no more than two
        ([40] * 5, 8.0 + 4.0),  # the fifth waits for a place
    ],
)
def test_the_clock_follows_the_curve(tmp_path, lengths, seconds):
    found = clocked_run(replay_of(write(tmp_path / "t.parquet", [lengths]), len(lengths), "method=cons"), ENGINE, 0)
    assert found.wall_hours * 3600 == pytest.approx(seconds)
    assert found.tokens == found.tokens_net == sum(lengths) and found.accuracy == 1.0
    assert found.tokens_speculative == found.tokens_judge == 0.0


def test_one_after_the_other_takes_their_sum_and_ahead_of_it_what_the_longest_takes(tmp_path):
    path = write(tmp_path / "t.parquet", [[20, 30, 10, 40]], [["1", "2", "3", "4"]])
    config = replay_of(path, 4, "method=first_k_equal", "method.k=4", "method.wave=1")
    alone, ahead = (clocked_run(config, ENGINE, number) for number in (0, 1))
    assert alone.wall_hours * 3600 == pytest.approx(10.0)
    # The first two together for 2 s, the second and the third for 1 s, the fourth alone.
    assert ahead.wall_hours * 3600 == pytest.approx(2.0 + 1.0 + 4.0)
    assert ahead.tokens == alone.tokens == 100 and ahead.tokens_speculative == 0


def test_lower_priorities_go_first_and_a_cancelled_request_is_gone(tmp_path):
    config = replay_of(write(tmp_path / "t.parquet", [[10] * 8]), 8)
    engine = ClockedReplay(read_inputs(config).replay, Engine(Curve(((1, 10.0),)), 1))
    engine.submit([Request(SegmentKey("p0", index, 0), (), 99, 0, 9 - index, Decoding()) for index in range(3)])
    engine.cancel([SegmentKey("p0", 1, 0)])
    assert [engine.step()[0].key.trace_index for _ in range(2)] == [2, 0]
    assert not engine.step() and engine.clock_s == pytest.approx(2.0) and engine.cancelled_tokens == 0


@settings(max_examples=20)
@given(st.integers(0, 99), st.sampled_from(["worth", "adaptive", "esc", "certified", "cons"]), st.integers(1, 5))
def test_answers_and_own_tokens_are_the_same_and_it_is_never_slower_by_much(tmp_path_factory, seed, method, ahead):
    rng = random.Random(seed)
    path = tmp_path_factory.mktemp("recorded") / "t.parquet"
    lengths = [[rng.randint(1, 60) for _ in range(6)] for _ in range(3)]
    answers = [[rng.choice("123"[: 1 + problem]) for _ in range(6)] for problem in range(3)]
    config = replay_of(write(path, lengths, answers), 6, f"method={method}")
    wide = Engine(Curve(((1, 10.0), (64, 640.0))), 64)
    without, with_ = (clocked_orders(config, wide, number, 2) for number in (0, ahead))
    assert (with_.tokens, with_.accuracy) == (without.tokens, without.accuracy)
    assert with_.tokens_net == pytest.approx(with_.tokens + with_.tokens_speculative)
    # Where width costs nothing, what is needed is never later.
    assert with_.wall_hours <= without.wall_hours * (1 + 1e-9)


def test_a_plan_of_a_recording_repeats_its_problems_as_often_as_needed(tmp_path):
    path = write(tmp_path / "t.parquet", [[20, 30], [10, 40], [5, 5]])
    changes = {"recording": str(path), "num_problems": 7, "ahead": [0, 1], "budget": 2, "overrides": ["method=worth"]}
    found = plan_recorded(plan_config(**changes, max_running=4), main_config)
    assert found["problems"] == 9 and [each["ahead"] for each in found["by_ahead"]] == [0, 1]
    assert found["by_ahead"][0]["tokens"] == found["by_ahead"][1]["tokens"]


def test_a_plan_of_what_is_no_recording_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"nowhere"):
        plan_recorded(plan_config(recording=str(tmp_path / "nowhere.parquet")), main_config)
