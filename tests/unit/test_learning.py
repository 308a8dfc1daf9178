import json
import math
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pruner.errors import InputError
from pruner.judges.base import JudgedProblem, Prefixed
from pruner.judges.card import (
    Calibration,
    JudgeCard,
    LexicalCard,
    check_prefix,
    overlap,
    question_hash,
    read_card,
    read_tau,
    write_card,
    write_tau,
)
from pruner.judges.lexical import WEIGHTS, LexicalJudge, LexicalWeights, load_weights, score
from pruner.judges.oracle import OracleJudge
from pruner.judges.prefix_features import FEATURES, pair_features, read_prefix
from pruner.learning import baselines, lexical
from pruner.learning.metrics import (
    auroc,
    calibration_error,
    cautious_threshold,
    quality,
    tnr_at_fnr20,
    within_difference,
)
from pruner.learning.pairs import LabelledPair, drawn_pairs
from pruner.learning.rare_labels import Example, focal_loss, oversampled
from pruner.learning.saves import last_whole_save
from pruner.learning.scoring import score_pairs
from pruner.learning.tables import ScoreRow, markdown
from pruner.prompts import BytePrompts
from pruner.recordings.recording import RecordedProblem, RecordedTrace, Recording
from pruner.records.traces import PairKey, ProbeKey, Problem, Verdict
from pruner.rules.prefix import FixedPrefixConfig, Prefix
from tests.unit.fakes import trace_of

QUESTION = "Sam has 2 apples and gets 3 more. How many?"


def pair(problem="p", left=0, right=1, label=1, texts=("2 + 3 = 5", "2 + 3 = 5"), fold=0, question=QUESTION):
    return LabelledPair(problem, question, left, right, *texts, 4, 4, "5", "5", label, fold, "set", "model")


def test_the_focal_loss_is_the_papers_formula():
    logits = torch.tensor([[2.0, 0.5], [0.3, 1.0]])
    labels = torch.tensor([1, 0])
    p = logits.softmax(-1)
    expected = [-0.3 * (1 - p[0, 0]) ** 2 * p[0, 0].log(), -0.7 * (1 - p[1, 1]) ** 2 * p[1, 1].log()]
    assert focal_loss(logits, labels, 0.3, 2.0).item() == pytest.approx(float(sum(expected)) / 2, rel=1e-6)


def test_without_gamma_it_is_half_the_cross_entropy():
    logits, labels = torch.randn(9, 2), torch.tensor([1, 0, 1, 1, 0, 0, 1, 0, 1])
    expected = torch.nn.functional.cross_entropy(logits, 1 - labels) / 2
    assert focal_loss(logits, labels, 0.5, 0.0).item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_rarer_label_is_shown_more_often():
    examples = [Example((1,), 1)] * 5 + [Example((2,), 0)] * 2
    shown = oversampled(examples, 3)
    assert sum(e.label for e in shown) == 5 and len(shown) == 5 + 6
    assert oversampled(examples, 1) == examples


def test_a_save_that_was_cut_off_is_deleted_and_the_one_before_is_taken(tmp_path):
    for step, state in ((10, "{}"), (20, "{}"), (100, '{"glob')):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    (tmp_path / "checkpoint-110").mkdir()
    assert last_whole_save(tmp_path).name == "checkpoint-20"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-20"]


def test_what_only_knows_the_problem_is_at_chance_within_problems():
    problems = ["easy"] * 10 + ["hard"] * 10
    labels = [1] * 9 + [0] + [0] * 9 + [1]
    found = quality([0.9] * 10 + [0.1] * 10, labels, problems, True, 50, 0)
    assert found.auroc_within.value == 0.5 and found.auroc_pooled.value == pytest.approx(0.9)
    assert found.problems_mixed == 2 and found.ece.value == pytest.approx(0.0, abs=1e-9)
    assert found.auroc_pooled.low <= 0.9 <= found.auroc_pooled.high


def test_missing_verdicts_count_as_a_half_and_are_reported():
    found = quality([1.0, None, 0.0, None], [1, 1, 0, 0], ["p"] * 4, True, 10, 0)
    assert found.missing == 2 and found.auroc_within.value == pytest.approx(0.875)


def test_a_problem_with_one_kind_has_no_auroc_and_counts_in_no_mean():
    found = quality([0.1, 0.9, 0.3, 0.4], [1, 1, 0, 1], ["a", "a", "b", "b"], False, 10, 0)
    assert found.problems_mixed == 1 and found.auroc_within.value == 1.0 and found.ece.value is None


def test_the_lead_is_paired_by_problem():
    labels, problems = [1, 0, 1, 0], ["a", "a", "b", "b"]
    lead = within_difference([1, 0, 1, 0], [1, 0, 0, 1], labels, problems, 100, 0)
    assert lead.value == 0.5 and lead.low == 0.0 and lead.high == 1.0


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9)), min_size=2, max_size=60))
def test_auroc_is_the_chance_that_a_same_pair_scores_higher(rows):
    labels, scores = np.array([r[0] for r in rows]), np.array([r[1] / 10 for r in rows])
    ups, downs = scores[labels == 1], scores[labels == 0]
    if not len(ups) or not len(downs):
        assert auroc(labels, scores) is None
        return
    wins = [(u > d) + 0.5 * (u == d) for u in ups for d in downs]
    assert auroc(labels, scores) == pytest.approx(np.mean(wins))
    assert 0.0 <= tnr_at_fnr20(labels, scores, np.ones(len(rows))) <= 1.0
    assert 0.0 <= calibration_error(labels, scores, np.ones(len(rows))) <= 1.0


def test_tnr_is_read_where_a_fifth_of_same_pairs_is_lost():
    labels = np.array([1] * 5 + [0] * 4)
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.1, 0.65, 0.5, 0.4, 0.3])
    assert tnr_at_fnr20(labels, scores, np.ones(9)) == pytest.approx(0.75)


def test_a_reading_leaves_out_the_questions_numbers_and_finds_the_last_value():
    reading = read_prefix("Sam has 2 + 3 = 5 apples, wait, so 7", QUESTION)
    assert dict(reading.numbers) == {"5": 1, "7": 1} and reading.last_value == "5"
    assert reading.last_conclusion == "7" and reading.hedges == 1


FEATURES_OF_TWO = """
from pruner.judges.prefix_features import pair_features, read_prefix
left = "Anna has 12 apples = 4 + 8, so 2*3 = 6 and the answer is 17; 23 apples, 9 pears, 31 plums, 12 more, and so on"
right = "Anna buys 8 pears = 4 + 4, so 9*3 = 27 and the answer is 31; 23 plums, 9 pears, 12 apples, 17 more, and so on"
print(pair_features(read_prefix(left * 3, ""), read_prefix(right + left, "")))
"""


def test_a_pair_has_the_same_features_in_every_process():
    said = {
        subprocess.run(
            [sys.executable, "-c", FEATURES_OF_TWO],
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in range(1, 7)
    }
    assert len(said) == 1


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=50))
def test_features_are_finite_and_do_not_depend_on_the_order(left, right, question):
    one, other = read_prefix(left, question), read_prefix(right, question)
    features = pair_features(one, other)
    assert len(features) == len(FEATURES) and all(math.isfinite(value) for value in features)
    assert features == pytest.approx(pair_features(other, one))


def separable(problems=6, each=20):
    """Features of which the first distinguishes pairs of a problem and the second only problems."""
    draw = np.random.default_rng(0)
    features, labels, names = [], [], []
    for problem in range(problems):
        for number in range(each):
            label = int(number < each * (problem + 1) // (problems + 1))
            features.append((label + draw.normal(0, 0.7), float(problem), 1.0))
            labels.append(label)
            names.append(str(problem))
    return features, labels, names


def test_the_fit_finds_what_says_pairs_of_one_problem_apart():
    features, labels, names = separable()
    found = lexical.fit(0.1, features, labels, names)
    assert found.weights[0] > 3 * abs(found.weights[1]) and found.weights[2] == pytest.approx(0.0)


def test_weights_come_back_and_others_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_weights(tmp_path)
    weights().save(tmp_path)
    assert load_weights(tmp_path) == weights()
    LexicalWeights((0.0,), (1.0,), (2.0,), 0.0).save(tmp_path)
    with pytest.raises(InputError, match="weights for 1 features, expected 28"):
        load_weights(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"nonsense")
    with pytest.raises(InputError, match="cannot be read"):
        load_weights(tmp_path)


def judged(*texts):
    traces = {i: Prefixed(trace_of(i, (text, 4)), Prefix(text, 4)) for i, text in enumerate(texts)}
    return JudgedProblem(Problem("p", 0, QUESTION, None), (1,), traces, 0)


def weights():
    values = [0.0] * len(FEATURES)
    values[FEATURES.index("last_value_equal")] = 4.0
    return LexicalWeights((0.0,) * len(FEATURES), (1.0,) * len(FEATURES), tuple(values), -2.0)


def test_the_lexical_judge_charges_each_prefix_once_and_no_pair():
    judge, there = LexicalJudge(weights()), judged("2 + 3 = 5", "3 + 2 = 5", "2 x 3 = 6")
    known = {}
    for left, right, expected in ((0, 1, 0.88), (0, 2, 0.12)):
        key = PairKey("p", left, right)
        parts = judge.parts(key, there)
        for needed in parts:
            assert judge.request(needed, there) is None
            known[needed] = judge.read(needed, None, there)
        verdict = judge.verdict(key, there, [known[part] for part in parts])
        assert verdict.score == pytest.approx(expected, abs=0.01) and verdict.prompt_tokens == 0
    assert set(known) == {ProbeKey("p", i, 4) for i in range(3)}
    assert sum(fact.prompt_tokens for fact in known.values()) == 12


@given(st.text(max_size=100), st.text(max_size=100))
def test_a_lexical_score_is_a_probability_whatever_the_texts(left, right):
    one, other = (read_prefix(text, QUESTION) for text in (left, right))
    assert 0.0 <= score(weights(), one, other) <= 1.0


def test_the_oracle_knows_the_end_of_the_same_traces_only():
    texts = ("2 + 3 = 5. Done", "3 + 2 is 5")
    traces = {i: RecordedTrace(i, 4, "stop", "5", text) for i, text in enumerate(texts)}
    problem = RecordedProblem(Problem("p", 0, QUESTION, None), traces)
    known = Recording({"p": problem}, pa.table({"question": [QUESTION]}), "m", "f")
    judge, there = OracleJudge(known, str), judged("2 + 3 = 5", "3 + 2", "2 x 3")
    assert judge.verdict(PairKey("p", 0, 1), there, []).score == 1.0
    with pytest.raises(InputError, match="no such trace"):
        judge.verdict(PairKey("p", 0, 2), there, [])
    with pytest.raises(InputError, match="another trace there"):
        judge.verdict(PairKey("p", 0, 1), judged("other", "3 + 2"), [])


def no_engine():
    raise AssertionError("a lexical judge asks for no engine")


def test_pairs_are_scored_by_the_main_jobs_judge():
    pairs = [pair(texts=("a = 5", "b = 5")), pair(right=2, texts=("a = 5", "c = 6"))]
    found = score_pairs(LexicalJudge(weights()), no_engine, BytePrompts(), pairs, 4, str)
    assert found.scores[0] > 0.8 > 0.2 > found.scores[1] and found.tokens_read == 12
    assert isinstance(found.scores[0], float) and not isinstance(found, Verdict)


def test_baselines_know_what_their_names_say():
    pairs = [pair(texts=("a b c", "a b c")), pair(right=2, label=0, texts=("a b c", "x")), pair("q")]
    assert baselines.length_scores(pairs) == [1.0, 0.2, 1.0]
    assert baselines.prior_scores(pairs) == [0.5, 0.5, 1.0]
    cosines = baselines.tfidf_scores(pairs)
    assert cosines[0] == pytest.approx(1.0) and cosines[1] == pytest.approx(0.0)


def test_drawn_pairs_are_the_same_in_any_order_of_problems():
    pairs = [pair(p, 0, k) for p in ("a", "b") for k in range(1, 9)]
    drawn = drawn_pairs(pairs, 3, 0)
    assert len(drawn) == 6 and set(drawn) == set(drawn_pairs(pairs[8:] + pairs[:8], 3, 0))
    assert drawn_pairs(pairs, None, 0) == pairs


def card(**changes):
    values = {
        "judge": LexicalCard(kind="lexical", features=FEATURES),
        "prefix": FixedPrefixConfig(name="fixed", max_tokens=12),
        "problems": ("a",),
        "questions": (question_hash("What is 1 plus 1?"),),
        "num_pairs": 2,
        "same_share": 0.5,
        "made_with": {},
    }
    return JudgeCard(**(values | changes))


def test_a_card_comes_back_and_a_damaged_one_is_refused(tmp_path):
    write_card(tmp_path, card())
    assert read_card(tmp_path) == card()
    (tmp_path / "judge.json").write_text('{"judge": {"kind": "other"}}')
    with pytest.raises(InputError, match=r"judge\.json"):
        read_card(tmp_path)
    with pytest.raises(InputError, match=r"holds no judge\.json"):
        read_card(tmp_path / "nowhere")


def test_training_problems_are_known_by_their_question_or_without_one_by_their_id():
    problems = [("x", "What is  1 plus 1?"), ("a", ""), ("a", "another question"), ("b", "")]
    assert overlap(card(), problems) == ["a", "x"]


def test_another_prefix_than_the_judges_is_refused_with_what_to_set(tmp_path):
    check_prefix(card(), FixedPrefixConfig(name="fixed", max_tokens=12), tmp_path)
    with pytest.raises(InputError, match=r"got fixed prefix\.max_tokens=500.*Set prefix=fixed prefix\.max_tokens=12"):
        check_prefix(card(), FixedPrefixConfig(name="fixed", max_tokens=500), tmp_path)


def test_the_table_has_a_row_a_judge_with_intervals():
    found = quality([0.9, 0.2, 0.8, 0.1], [1, 0, 1, 0], ["a", "a", "b", "b"], True, 10, 0)
    lead = within_difference([1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 1, 0], ["a", "a", "b", "b"], 10, 0)
    text = markdown([ScoreRow("mine", found, lead, 3.5)], "# Heading")
    assert "| mine | 1.000 [1.000, 1.000] |" in text and text.rstrip().endswith("| 0 | 3.5 |")
    assert json.dumps(text)


def test_a_judges_threshold_keeps_nine_tenths_of_different_pairs_apart():
    # Ten different pairs, 0.05 to 0.95: one of them may lie above.
    scores, labels = [0.05 + 0.1 * i for i in range(10)] + [0.9, 0.5], [0] * 10 + [1, 1]
    assert cautious_threshold(scores, labels, ["a"] * 12) == pytest.approx((0.85 + 0.9) / 2)
    # A problem's pairs weigh as much as another's, however many they are; one without same pairs says nothing.
    few = cautious_threshold([*scores, 0.97, 0.99, 0.99], [*labels, 0, 1, 0], ["a"] * 12 + ["b"] * 2 + ["c"])
    assert few == pytest.approx((0.97 + 0.99) / 2)
    assert cautious_threshold([0.9, 0.8], [1, 1], list("ab")) is None
    assert cautious_threshold([0.3, 0.3], [1, 0], list("aa")) == 0.3  # nothing is above, so nothing is merged


def test_a_judges_own_threshold_is_beside_its_card(tmp_path):
    assert read_tau(tmp_path) is None
    write_tau(tmp_path, Calibration(tau=0.74, measured="9 pairs"))
    assert read_tau(tmp_path) == 0.74
    (tmp_path / "calibration").write_text('{"tau": 7, "measured": ""}')
    with pytest.raises(InputError, match="calibration: tau: got 7"):
        read_tau(tmp_path)
