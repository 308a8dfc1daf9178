"""Our methods against their authors' own code: the same stops, thresholds and votes on the same inputs.

PyPI: AdaptiveConsistency 1.0.0 (Aggarwal et al.), deepconf 0.1.0 (Meta). Where ours differs on purpose, both behaviours are
pinned. ESC's authors have no package; test_esc.py restates the paper's rule.
"""

import importlib
import random
import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import beta

from pruner.methods.adaptive import Adaptive, leader_probability
from pruner.methods.deepconf_offline import DeepConfOffline, DeepConfOfflineConfig
from pruner.methods.deepconf_online import DeepConfOnline, DeepConfOnlineConfig
from pruner.rules.confidence import SCORES, LowestGroup, group_confidences, keep_threshold
from tests.unit.drive import Future, drive, plain

adaptive_consistency = importlib.import_module("adaptive_consistency")


# Adaptive-Consistency


def theirs_adaptive(answers, threshold):
    """Return how many samples the authors' criterion takes, asked after each, and the answer."""
    criterion = adaptive_consistency.BetaStoppingCriteria(threshold)
    judge = adaptive_consistency.AC(max_gens=len(answers), stop_criteria=criterion)
    for count in range(1, len(answers) + 1):
        verdict = judge.should_stop(answers[:count], return_dict=True)
        if verdict["stop"]:
            break
    return count, verdict["most_common"]


def test_adaptive_stops_and_votes_as_the_authors_do():
    draw = random.Random(0)
    stopped = 0
    for _ in range(400):
        letters = "".join(letter * draw.randrange(1, 8) for letter in "abcd"[: draw.randrange(1, 5)])
        answers = [draw.choice(letters) for _ in range(draw.randrange(1, 48))]
        threshold = draw.choice([0.7, 0.8, 0.9, 0.95, 0.99])
        outcome = drive(Adaptive(len(answers), 1, threshold), plain(*answers))
        assert (len(outcome.tokens), outcome.answer.answer) == theirs_adaptive(answers, threshold)
        stopped += len(outcome.tokens) < len(answers)
    assert 100 < stopped < 400


def test_the_leaders_probability_is_the_authors_integral_as_far_as_that_is_exact():
    criterion = adaptive_consistency.BetaStoppingCriteria()
    for first in range(1, 40):
        for second in range(first + 1):
            ours = leader_probability(first, second)
            assert ours == pytest.approx(beta.sf(0.5, first + 1, second + 1), rel=1e-12)
            theirs = criterion.should_stop(["a"] * first + ["b"] * second)["prob"]  # by quadrature
            assert ours == pytest.approx(theirs, abs=1e-5)


def test_on_purpose_no_answer_is_no_vote_for_none():
    answers = [None, None, None, None, "a", "a", "a", "a"]
    assert theirs_adaptive(answers, 0.95) == (4, None), "theirs: None leads, and wins"
    outcome = drive(Adaptive(8, 1, 0.95), plain(*answers))
    assert (len(outcome.tokens), outcome.answer.answer) == (8, "a")


def test_adaptive_stops_at_its_threshold_as_the_authors_code_does():
    assert theirs_adaptive(["a"] * 8, 0.5 + 0.25)[0] == 1
    assert len(drive(Adaptive(8, 1, 0.75), plain(*"a" * 8)).tokens) == 1


# DeepConf


@dataclass
class TheirDeepConf:
    utils: ModuleType
    wrapper: ModuleType
    processors: ModuleType
    outputs: ModuleType


@pytest.fixture(scope="module")
def theirs():
    """The authors' package, with a vLLM that holds nothing but the names which it imports."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("vllm", "vllm.config", "vllm.v1", "vllm.v1.sample", "vllm.v1.sample.logits_processor"):
            patch.setitem(sys.modules, name, ModuleType(name))
        for name in ("LLM", "SamplingParams"):
            setattr(sys.modules["vllm"], name, object)
        sys.modules["vllm.config"].VllmConfig = object
        for name in ("AdapterLogitsProcessor", "RequestLogitsProcessor"):
            setattr(sys.modules["vllm.v1.sample.logits_processor"], name, object)
        names = ("utils", "wrapper", "processors", "outputs")
        yield TheirDeepConf(*(importlib.import_module(f"deepconf.{name}") for name in names))
        for name in [name for name in sys.modules if name.split(".")[0] == "deepconf"]:
            del sys.modules[name]


def exact(draw, count):
    """Confidences whose means over up to 8 have three digits at most: what theirs rounds, it does not change."""
    level = draw.randrange(5, 15)
    return tuple(float(level + draw.randrange(4)) for _ in range(count))


THEIR_SCORES = {
    "mean": lambda utils, trace, window: utils.calculate_mean_confidence(trace),
    "tail": lambda utils, trace, window: utils.calculate_tail_confidence(trace, window),
    "bottom_10": lambda utils, trace, window: utils.calculate_bottom_window_confidence(trace, window),
    "lowest_group": lambda utils, trace, window: utils.calculate_bottom_window_confidence(trace, window, -1),
}


@pytest.mark.parametrize("name", SCORES)
def test_scores_of_traces_are_the_authors(theirs, name):
    draw = random.Random(1)
    for _ in range(300):
        window = draw.choice([1, 2, 4, 8, 32])
        confidences = exact(draw, draw.randrange(150))
        expected = THEIR_SCORES[name](theirs.utils, {"confs": list(confidences)}, window)
        assert SCORES[name](confidences, window) == pytest.approx(expected, rel=1e-12)


def test_group_confidences_are_the_authors(theirs):
    draw = random.Random(2)
    for _ in range(300):
        window = draw.choice([1, 2, 4, 8])
        confidences = exact(draw, draw.randrange(1, 60))
        assert group_confidences(confidences, window) == theirs.utils.compute_least_grouped(list(confidences), window)


def test_on_purpose_confidences_are_not_rounded_to_three_digits(theirs):
    logprobs = [{j: SimpleNamespace(logprob=-value) for j in range(20)} for value in (1.23456, 2.34567)]
    assert theirs.utils.compute_confidence(logprobs) == [1.235, 2.346]
    assert theirs.utils.compute_least_grouped([1.235, 2.347], 2) == [1.791]
    assert group_confidences([1.2346, 2.3457], 2) == [pytest.approx(1.79015)]


def random_traces(draw, window):
    """Traces, some shorter than a group; an answer is the likelier the right one the more confident its trace."""
    traces = []
    for _ in range(draw.randrange(1, 25)):
        confidences = exact(draw, draw.choice([window // 4, window, window + 7, 3 * window]))
        answer = draw.choice([None, "a", "b", "c"] if confidences[0] < 10 else [None, "a", "a", "a", "b"])
        traces.append(Future(answer, confidences))
    return traces


def as_theirs(traces):
    return [{"extracted_answer": trace.answer, "confs": list(trace.confidences)} for trace in traces]


def offline(traces, score, keep, window=2048):
    config = DeepConfOfflineConfig(name="deepconf_offline", score=score, keep=keep, window=window)
    return drive(DeepConfOffline(len(traces), config), traces, segment_tokens=9999)


THEIR_VOTES = {
    "mean_confidence_weighted": ("mean", 1.0),
    "tail_confidence_weighted": ("tail", 1.0),
    "bottom_window_weighted": ("bottom_10", 1.0),
    "min_window_weighted": ("lowest_group", 1.0),
    "top10_tail_filtered": ("tail", 0.1),
    "top10_bottom_window_filtered": ("bottom_10", 0.1),
}


def test_offline_votes_are_the_authors(theirs):
    """All six of their weighted votes; their window is 2,048 tokens, so most of these traces are one group."""
    draw = random.Random(3)
    for number in range(200):
        traces = random_traces(draw, 2048 if number % 20 == 0 else 16)
        expected = theirs.utils.compute_all_voting_results(as_theirs(traces))
        for name, (score, keep) in THEIR_VOTES.items():
            outcome = offline(traces, score, keep)
            if all(trace.answer is None for trace in traces):
                assert expected[name] is None and outcome.answer.answer is None
                continue
            assert outcome.answer.answer == expected[name]["answer"]
            assert len(outcome.voters) == expected[name]["num_votes"]


THEIR_NAMES = {"mean": "mean", "tail": "tail", "bottom_10": "bottom_window", "lowest_group": "min_window"}


@pytest.mark.parametrize("score", SCORES)
def test_the_top_share_is_the_authors(theirs, score):
    draw = random.Random(4)
    for _ in range(300):
        traces = [trace for trace in random_traces(draw, 16) if trace.answer is not None] or plain("a")
        keep = draw.choice([0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
        kept = theirs.utils.filter_top_confidence(as_theirs(traces), THEIR_NAMES[score], keep)
        ours = offline(traces, score, keep).voters
        assert [list(traces[index].confidences) for index in sorted(ours)] == [trace["confs"] for trace in kept]


def test_on_purpose_the_answer_is_the_weighted_votes(theirs):
    traces = [Future("a", (1.0,)), Future("a", (1.0,)), Future("b", (5.0,))]
    results = theirs.utils.compute_all_voting_results(as_theirs(traces))
    assert results["majority"]["answer"] == "a", "what their deepthink() returns by default"
    assert results["mean_confidence_weighted"]["answer"] == "b"
    assert offline(traces, "mean", 1.0).answer.answer == "b"


class FakeEngine:
    """vLLM as the authors' online mode uses it: whole traces, and their own rule for when one has to end."""

    def __init__(self, processors, traces):
        self._processors, self._traces, self._count = processors, traces, 0

    def generate(self, prompts, params):
        outputs = [self._finish(self._traces[self._count + i], each) for i, each in enumerate(params)]
        self._count += len(prompts)
        return [SimpleNamespace(outputs=outputs)]

    def _finish(self, trace, params):
        confidences = trace.confidences
        if params.extra_args is not None:
            confidences = confidences[: self._stop(confidences, params.extra_args)]
        is_whole = len(confidences) == len(trace.confidences)
        text = f"\\boxed{{{trace.answer}}}" if is_whole and trace.answer else ""
        logprobs = [{0: SimpleNamespace(logprob=-value)} for value in confidences]
        return SimpleNamespace(text=text, token_ids=confidences, logprobs=logprobs, finish_reason="stop")

    def _stop(self, confidences, extra):
        """Return after how many tokens their logits processor forces the end."""
        processor = self._processors.ConfPerReqLogitsProcessor(extra["conf_threshold"], 0, extra["conf_group_size"], 20)
        values = iter(confidences)
        processor.compute_conf = lambda logits: next(values)
        for count in range(1, len(confidences) + 1):
            if torch.isinf(processor([], torch.zeros(2))).any():
                return count
        return len(confidences)


def theirs_online(theirs, traces, warmup, percentile, window):
    """Run the authors' online mode over recorded traces."""
    model = theirs.wrapper.DeepThinkLLM.__new__(theirs.wrapper.DeepThinkLLM)
    model.llm = FakeEngine(theirs.processors, traces)
    model.tokenizer = SimpleNamespace(eos_token_id=0)
    output = theirs.outputs.DeepThinkOutput(mode="online")
    params = SimpleNamespace(extra_args=None)
    return model._deepthink_online("", output, warmup, len(traces), percentile, window, params)


def ours_online(traces, warmup, keep, window, consensus=None, wave=5):
    settings = {"warmup": warmup, "keep": keep, "consensus": consensus, "wave": wave, "window": window}
    config = DeepConfOnlineConfig(name="deepconf_online", **settings)
    return drive(DeepConfOnline(len(traces), config), traces, segment_tokens=1)


def lowest_of(trace, window):
    lowest = LowestGroup(window)
    lowest.extend(trace.confidences)
    return lowest.confidence


def test_online_stops_thresholds_and_votes_are_the_authors(theirs, capsys):
    """With segments of one token and no consensus stop, which they lack, ours ends every trace at the token where theirs does."""
    draw = random.Random(5)
    pruned = 0
    for _ in range(300):
        window, warmup, percentile = draw.choice([2, 4, 8]), draw.choice([4, 16]), draw.choice([10, 50, 90])
        lengths = [draw.choice([1, window - 1, window, 30]) for _ in range(warmup + draw.randrange(16))]
        traces = [Future(draw.choice([None, "a", "a", "b", "c"]), exact(draw, length)) for length in lengths]
        expected = theirs_online(theirs, traces, warmup, percentile, window)
        outcome = ours_online(traces, warmup, percentile / 100, window)
        found = keep_threshold([lowest_of(trace, window) for trace in traces[:warmup]], percentile / 100)
        assert found == pytest.approx(expected.conf_bar, rel=1e-12)
        assert list(outcome.tokens.values()) == [trace["num_tokens"] for trace in expected.all_traces]
        pruned += len(outcome.pruned)
        if expected.voting_answers:
            weights = {vote.answer: vote.weight for vote in outcome.answer.votes}
            pairs = list(zip(expected.voting_answers, expected.voting_weights, strict=True))
            assert weights == {each: pytest.approx(sum(w for a, w in pairs if a == each)) for each, _ in pairs}
            assert outcome.answer.answer == expected.voted_answer
            assert len(outcome.voters) == len(pairs)
    assert pruned > 300


def flat(answer, confidence):
    return Future(answer, (confidence,) * 4)


def test_on_purpose_keep_says_what_is_kept(theirs, capsys):
    """In the package confidence_percentile=90 is DeepConf-high, the 10th percentile; on its reproduction branch it is low."""
    traces = [flat("a", float(i)) for i in range(1, 17)]
    assert theirs_online(theirs, traces, 16, 90, 4).conf_bar == np.percentile(range(1, 17), 10) == 2.5
    assert len(ours_online(traces, 16, 0.9, 4).voters) == 14, "high"
    assert len(ours_online(traces, 16, 0.1, 4).voters) == 2, "low"


def test_on_purpose_a_clear_vote_ends_it(theirs, capsys):
    traces = [flat("a", 5.0)] * 64
    assert theirs_online(theirs, traces, 16, 90, 4).total_traces_count == 64
    assert len(ours_online(traces, 16, 0.9, 4, consensus=0.95).tokens) == 16


def test_on_purpose_there_is_an_answer_where_none_of_the_confident_gave_one(theirs, capsys):
    traces = [flat(None, 5.0), flat(None, 5.0), flat("b", 1.0), flat("b", 1.0)]
    assert theirs_online(theirs, traces, 4, 10, 4).voted_answer is None
    assert ours_online(traces, 4, 0.1, 4).answer.answer == "b"
