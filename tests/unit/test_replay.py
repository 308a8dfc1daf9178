import json
from statistics import fmean

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pruner.errors import InputError
from pruner.judges.replay import NoisyOracle, NoisyOracleJudgeConfig, RecordedJudge, RecordedProber
from pruner.learning.metrics import auroc
from pruner.recordings.recording import RecordedProblem, RecordedTrace, Recording, ReplayColumns, read_recording
from pruner.recordings.replay import Replay
from pruner.records.traces import PairKey, ProbeKey, Problem, SegmentKey
from pruner.samplers.base import Decoding, Request, SamplerContext
from pruner.samplers.replay import ReplaySampler, ReplaySamplerConfig
from pruner.settings.model import ModelConfig

ROWS = [
    {"problem_id": "p", "question": "1 + 1?", "gold_answer": "2", "trace_index": 0, "num_tokens": 25, "answer": "2"},
    {"problem_id": "p", "question": "1 + 1?", "gold_answer": "2", "trace_index": 1, "num_tokens": 8, "answer": None},
    {"problem_id": "q", "question": "2 + 2?", "gold_answer": "4", "trace_index": 0, "num_tokens": 10, "answer": "4"},
    {"problem_id": "q", "question": "2 + 2?", "gold_answer": "4", "trace_index": 1, "num_tokens": 30, "answer": "5"},
]
EXTRA = [
    {"text": "abcdefghij" * 5, "probe_every": 10, "probes": ["3", "2", "2"], "finish_reason": "stop"},
    {"text": "kl" * 4, "probe_every": 10, "probes": [""], "finish_reason": "length"},
    {"text": "m" * 10, "probe_every": 10, "probes": ["4"], "finish_reason": "stop"},
    {"text": "n" * 60, "probe_every": 10, "probes": ["4", "5", "5"], "finish_reason": "stop"},
]
FULL = [row | extra for row, extra in zip(ROWS, EXTRA, strict=True)]

SAMPLER = ReplaySamplerConfig(name="replay", source="x")


def read(path, **changes):
    return read_recording(str(path), ReplayColumns(), **changes)


def written(tmp_path, rows):
    path = tmp_path / "traces.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def replay(tmp_path, rows=FULL, resample=None, **changes):
    return Replay(read(written(tmp_path, rows), **changes), resample, seed=3)


def noisy_oracle(tmp_path, **values):
    config = NoisyOracleJudgeConfig(name="noisy_oracle", pair_tokens=None, **values)
    return NoisyOracle(config, replay(tmp_path), str, seed=1)


def serve(replayed, key, trace_tokens, max_tokens):
    sampler = ReplaySampler(replayed)
    sampler.submit([Request(key, (), max_tokens, 0, 0, Decoding(), trace_tokens)])
    assert sampler.num_running == 1
    [completion] = sampler.step()
    assert sampler.num_running == 0
    return completion


def test_a_plain_recording_needs_only_lengths_and_answers(tmp_path):
    replayed = replay(tmp_path, ROWS)
    problems = replayed.problem_set(None).problems
    assert [(each.problem_id, each.answer) for each in problems] == [("p", "2"), ("q", "4")]
    assert [replayed.trace("p", index).finish_reason for index in (0, 1)] == ["stop", "length"]


def test_the_typical_length_is_that_of_all_finished_traces_in_whatever_order(tmp_path):
    lengths = [row["num_tokens"] for row in ROWS]
    assert {replay(tmp_path, ROWS, resample).typical_tokens() for resample in (None, 5)} == {round(sum(lengths) / 4)}


def test_segments_join_to_the_trace(tmp_path):
    replayed = replay(tmp_path)
    whole = serve(replayed, SegmentKey("p", 0, 0), 0, 100)
    pieces = [serve(replayed, SegmentKey("p", 0, number), number * 7, 7) for number in range(4)]
    assert "".join(piece.text for piece in pieces) == whole.text == "abcdefghij" * 5
    assert sum(piece.num_tokens for piece in pieces) == whole.num_tokens == 25
    assert [piece.finish_reason for piece in pieces] == [None, None, None, "stop"]
    assert serve(replayed, SegmentKey("p", 1, 0), 0, 100).finish_reason == "length"


def test_a_segment_that_ends_where_the_trace_does_is_its_last(tmp_path):
    assert serve(replay(tmp_path), SegmentKey("q", 0, 0), 0, 10).finish_reason == "stop"


def test_text_is_cut_exactly_at_recorded_segments():
    trace = RecordedTrace(0, 6, "stop", None, "aabbbbbbcc", segment_tokens=(2, 3, 1), segment_chars=(2, 6, 2))
    assert [trace.char(tokens) for tokens in range(7)] == [0, 1, 2, 4, 6, 8, 10]


def test_a_probe_is_the_last_one_recorded_before(tmp_path):
    prober = RecordedProber(replay(tmp_path), 7, 3)
    answers = [prober.read(ProbeKey("p", 0, tokens), None).answer for tokens in (5, 10, 19, 20, 25)]
    assert answers == [None, "3", "3", "2", "2"]
    probe = prober.read(ProbeKey("p", 0, 10), None)
    assert (probe.output_tokens, probe.prompt_tokens, probe.shared_tokens) == (7, 13, 10)
    assert prober.read(ProbeKey("p", 1, 8), None).answer is None


def test_probes_that_were_not_recorded_are_refused(tmp_path):
    prober = RecordedProber(replay(tmp_path, ROWS), 7, 3)
    with pytest.raises(InputError, match="without probes"):
        prober.read(ProbeKey("p", 0, 10), None)


def test_resampling_repeats_problems_with_other_orders_of_the_same_traces(tmp_path):
    rows = [FULL[0] | {"trace_index": index, "num_tokens": 25 + index} for index in range(6)]
    replayed = replay(tmp_path, rows, resample=20)
    found = replayed.problem_set(None)
    assert [each.problem_id for each in found.problems] == [f"p#{number}" for number in range(20)]
    assert found.carried.column("source_problem_id").to_pylist() == ["p"] * 20
    assert found.carried.column("repetition").to_pylist() == list(range(20))
    orders = [[replayed.trace(each.problem_id, index).trace_index for index in range(6)] for each in found.problems]
    assert all(sorted(order) == list(range(6)) for order in orders)
    assert len({tuple(order) for order in orders}) > 10
    again = replay(tmp_path, rows, resample=20)
    assert [again.trace("p#3", index).trace_index for index in range(6)] == orders[3]


def test_a_budget_beyond_what_was_recorded_is_refused(tmp_path):
    with pytest.raises(InputError, match="budget: got 3, but problem p has 2 recorded traces"):
        replay(tmp_path, resample=2).check_budget(3)
    with pytest.raises(InputError, match="has no trace 2"):
        replay(tmp_path).trace("p", 2)


def test_a_recording_without_confidences_is_refused_where_they_are_needed(tmp_path):
    with pytest.raises(InputError, match="4 of 4 traces have no confidences, expected one number a token"):
        replay(tmp_path).check_confidences()
    replay(tmp_path, [row | {"confidence": [1.0] * row["num_tokens"]} for row in FULL]).check_confidences()


def test_prompts_of_problems_with_one_question_keep_their_own_lengths():
    """Conversations that differ in their system text alone have equal questions."""
    problems = {
        name: RecordedProblem(Problem(name, index, "1+1?", "2"), {}, prompt_tokens)
        for index, (name, prompt_tokens) in enumerate({"short": 5, "long": 9}.items())
    }
    recording = Recording(problems, pa.table({"question": ["1+1?"] * 2}), "model", "fingerprint")
    for resample in (None, 3):
        replayed = Replay(recording, resample, seed=0)
        prompts = SAMPLER.prompts(SamplerContext(0, ModelConfig.model_construct(), None, replayed))
        lengths = [len(prompts.encode_problem(problem)) for problem in replayed.problem_set(None).problems]
        assert lengths == [5, 9] * (resample or 1)


def test_all_faults_of_a_recording_are_reported(tmp_path):
    faulty = [
        FULL[0] | {"gold_answer": None},
        FULL[1],
        FULL[2] | {"probes": ["4", "4", "4"]},
        FULL[2] | {"trace_index": 0},
        FULL[3] | {"trace_index": None},
        FULL[3] | {"trace_index": 2, "gold_answer": "9"},
    ]
    with pytest.raises(InputError) as caught:
        read(written(tmp_path, faulty))
    reported = "\n".join(caught.value.faults)
    for words in (
        "row 0: gold_answer is missing",
        "row 2: 3 probes, one every 10 tokens, are longer than the trace of 10",
        "row 3: problem 'q' has trace 0 in row 2 already",
        "row 4: trace_index is null",
        "row 5: gold_answer is '9', but '4'",
    ):
        assert words in reported


def test_what_is_recorded_of_each_token_are_numbers(tmp_path):
    rows = [row | {"token_ids": [1, None, 2][: row["num_tokens"]]} for row in FULL]
    with pytest.raises(InputError, match="row 0: token_ids holds something that is no number"):
        read(written(tmp_path, rows))


def test_what_stands_for_no_answer_does_not_vote(tmp_path):
    rows = [FULL[0] | {"answer": "ERR", "finish_reason": None, "probes": ["ERR", "2", "2"]}]
    assert replay(tmp_path, rows).trace("p", 0).answer == "ERR"
    trace = replay(tmp_path, rows, no_answer=("ERR",)).trace("p", 0)
    assert (trace.answer, trace.finish_reason, trace.probes[0]) == (None, "length", (10, None))


def test_missing_columns_and_no_file_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"missing \['num_tokens'\]"):
        read(written(tmp_path, [{k: v for k, v in ROWS[0].items() if k != "num_tokens"}]))
    with pytest.raises(InputError, match="expected a run's folder or a Parquet"):
        read(tmp_path / "nothing.parquet")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="unreadable or truncated Parquet"):
        read(tmp_path / "torn.parquet")


@pytest.mark.parametrize("quality", [0.5, 0.71, 0.87, 1.0])
def test_a_noisy_oracle_has_the_quality_that_it_is_given(tmp_path, quality):
    judge = noisy_oracle(tmp_path, auroc=quality, prior=0.5)
    labels, scores = [], []
    for number in range(6000):
        label = number % 4 != 0
        labels.append(int(label))
        scores.append(judge.score(PairKey("p", number, number + 1), label))
    found = auroc(np.array(labels), np.array(scores))
    assert found == pytest.approx(quality, abs=0.02)


def test_a_noisy_oracles_score_is_a_posterior(tmp_path):
    judge = noisy_oracle(tmp_path, auroc=0.8, prior=0.75)
    drawn = [(judge.score(PairKey("p", n, n + 1), n % 4 != 0), n % 4 != 0) for n in range(20000)]
    sure = [is_same for score, is_same in drawn if 0.7 < score < 0.8]
    assert fmean(sure) == pytest.approx(0.75, abs=0.04)


def test_the_recorded_judge_needs_a_run_with_verdicts(tmp_path):
    with pytest.raises(InputError, match="no run of a method with a judge"):
        RecordedJudge(replay(tmp_path))


def test_an_unreadable_run_folder_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match="holds no traces"):
        read(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(json.dumps({}))
    with pytest.raises(InputError, match="holds no traces"):
        read(tmp_path / "run")


@pytest.mark.parametrize("correlation", [0.5, 1.0])
def test_a_noisy_oracle_whose_errors_are_the_traces_own_is_as_good(tmp_path, correlation):
    judge = noisy_oracle(tmp_path, auroc=0.8, prior=0.5, correlation=correlation)
    pairs = [PairKey("p", left, right) for left in range(90) for right in range(left + 1, 90)]
    scores = [(judge.score(pair, (pair.left_trace + pair.right_trace) % 2 == 0), pair) for pair in pairs]
    same = [score for score, pair in scores if (pair.left_trace + pair.right_trace) % 2 == 0]
    other = [score for score, pair in scores if (pair.left_trace + pair.right_trace) % 2]
    labels = np.array([1] * len(same) + [0] * len(other))
    assert auroc(labels, np.array(same + other)) == pytest.approx(0.8, abs=0.05)
    # A trace that is misjudged is so in all its pairs: the mean evidence of its pairs differs from trace to trace.
    means = [
        np.mean([score for score, pair in scores if index in (pair.left_trace, pair.right_trace)])
        for index in range(90)
    ]
    assert np.std(means) > 0.08
