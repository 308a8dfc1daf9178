import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner.errors import InputError
from pruner.judges.base import JudgedProblem, Prefixed
from pruner.judges.llm import LlmJudge, common_head, probability_of_first
from pruner.judges.probe import EngineProber, ProbeJudge, read_answer
from pruner.records.traces import PairKey, ProbeKey, Problem, Verdict
from pruner.rules.prefix import Prefix
from pruner.samplers.base import Completion
from tests.composed import config
from tests.unit.fakes import trace_of

PAIR = PairKey("p", 0, 1)


class WordPrompts:
    """A token a word, numbered as they come; messages are joined."""

    def __init__(self):
        self.ids = {}

    def encode_text(self, text):
        return tuple(self.ids.setdefault(word, len(self.ids)) for word in text.split())

    def encode_messages(self, messages):
        return (*self.encode_text(" ".join(message["content"] for message in messages)), 9999)


@pytest.fixture
def judged():
    traces = {
        index: Prefixed(trace_of(index, (text, 4)), Prefix(text, 4))
        for index, text in enumerate(["left one {right}", "right two", "third"])
    }
    return JudgedProblem(Problem("p", 0, "what {left}?", None), (7, 8, 9), traces, 3)


def completion(key, **changes):
    return Completion(key, 1, (1,), "", "stop", 20, 5, **changes)


def probe_judge(max_model_len=100):
    return ProbeJudge(EngineProber(" \\boxed{", (50, 51), 6, max_model_len))


def test_a_probe_continues_prompt_and_prefix_with_the_opening(judged):
    judge = probe_judge()
    assert judge.parts(PAIR, judged) == (ProbeKey("p", 0, 4), ProbeKey("p", 1, 4))
    request = judge.request(ProbeKey("p", 0, 4), judged)
    assert request.prompt_token_ids == (7, 8, 9, 1, 2, 3, 4, 50, 51)
    assert request.decoding.temperature == 0.0 and request.priority == 3


@pytest.mark.parametrize(
    ("left", "right", "score"), [("7", "7", 1.0), ("7", "8", 0.0), (None, "7", None), (None, None, None)]
)
def test_probed_answers_decide_and_an_unreadable_one_is_missing_not_zero(judged, left, right, score):
    judge = probe_judge()
    parts = []
    for index, answer in ((0, left), (1, right)):
        key = ProbeKey("p", index, 4)
        text = "" if answer is None else answer + "} and on"
        fact = judge.read(key, Completion(key, 2, (1, 2), text, "stop", 20, 0), judged)
        assert fact.shared_tokens == 18
        parts.append(replace(fact, answer_key=answer))
    assert judge.verdict(PAIR, judged, parts).score == score


def test_a_probe_that_does_not_fit_the_context_is_missing(judged):
    judge = probe_judge(max_model_len=10)
    key = ProbeKey("p", 0, 4)
    assert judge.request(key, judged) is None
    assert judge.read(key, None, judged).answer is None


@pytest.mark.parametrize(
    ("opening", "text", "answer"),
    [
        (" \\boxed{", "70} is it", "70"),
        (" \\boxed{", "\\frac{1}{2}}", "\\frac{1}{2}"),
        (" \\boxed{", "70 and no brace\nnext", "70 and no brace"),
        (" \\boxed{", "} nothing", None),
        (" Answer:", " 5\nbecause", "5"),
        (" Answer:", " \\boxed{5}", "5"),
    ],
)
def test_a_probed_answer_ends_with_its_box(opening, text, answer):
    assert read_answer(opening, text) == answer


def llm_judge(**changes):
    judge = config("judge=llm", *[f"judge.{k}={v}" for k, v in changes.items()]).judge
    return LlmJudge(judge, WordPrompts(), 1000)


def test_the_left_prefix_comes_first_and_its_head_is_shared(judged):
    judge = llm_judge()
    one, two = (judge.request(PairKey("p", 0, right), judged) for right in (1, 2))
    facts = [judge.read(r.key, completion(r.key, label_logprobs=(-1.0, -1.0)), judged) for r in (one, two)]
    shared = common_head(one.prompt_token_ids, two.prompt_token_ids)
    assert facts[0].head_tokens == facts[1].head_tokens == shared > 10


def test_text_of_problem_and_traces_is_never_read_as_a_field(judged):
    judge = llm_judge()
    words = {number: word for word, number in judge._prompt.prompts.ids.items()}
    request = judge.request(PAIR, judged)
    words = {number: word for word, number in judge._prompt.prompts.ids.items()}
    text = " ".join(words.get(token, "") for token in request.prompt_token_ids)
    assert "left one {right}" in text and "what {left}?" in text and "right two" in text


def test_the_score_is_the_probability_of_the_first_label(judged):
    judge = llm_judge()
    fact = judge.read(PAIR, completion(PAIR, label_logprobs=(math.log(0.6), math.log(0.2))), judged)
    assert fact.score == pytest.approx(0.75)
    assert judge.read(PAIR, None, judged).score is None


@given(st.floats(-1000, 0), st.floats(-1000, 0))
def test_scores_are_probabilities_and_symmetric(first, second):
    score = probability_of_first((first, second))
    assert 0.0 <= score <= 1.0
    assert score + probability_of_first((second, first)) == pytest.approx(1.0)


def test_both_orders_are_two_facts_and_their_mean_is_the_verdict(judged):
    judge = llm_judge(both_orders="true")
    back = PairKey("p", 1, 0)
    assert judge.parts(PAIR, judged) == (PAIR, back)
    first = Verdict(PAIR, 0.9, 10)
    assert judge.verdict(PAIR, judged, [first, Verdict(back, 0.5, 10)]).score == pytest.approx(0.7)
    assert judge.verdict(PAIR, judged, [first, Verdict(back, None)]).score == pytest.approx(0.9)


def test_no_label_may_be_the_beginning_of_the_other():
    with pytest.raises(InputError, match="one is the beginning of the other"):
        llm_judge(labels="[same, 'same again']")


def test_labels_that_begin_alike_are_told_apart_where_they_differ(judged):
    request = llm_judge(labels="['the same', 'the other']").request(PAIR, judged)
    end, shared = request.prompt_token_ids[-2:]
    assert end == 9999 and shared not in request.decoding.label_token_ids
    assert len(set(request.decoding.label_token_ids)) == 2


def test_a_prompt_may_do_without_the_question():
    assert config("judge=llm", "judge.prompt='{left} {right}'").judge.prompt == "{left} {right}"


def test_the_published_judge_says_what_is_missing_and_works_once_it_is_there():
    given = ["judge.path=x", "judge.prompt='{left} | {right}'", "judge.labels=[identical,different]"]
    found = config(
        "method=deepprune", "judge=deepprune_4b", *given, "method.similarity=decisions", "method.assign=oldest"
    )
    assert (found.judge.name, found.judge.colocate, found.judge.labels) == ("llm", False, ("identical", "different"))


def test_impossible_judges_are_refused():
    for overrides, message in (
        (["judge.path=x"], "colocate"),
        (["judge.prompt='{left} {question}'"], "{right}"),
        (["judge.gpus=[1]"], "colocated judge"),
    ):
        with pytest.raises(InputError, match=message):
            config("judge=llm", *overrides)
