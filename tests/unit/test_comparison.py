import numpy as np
import pytest

from pruner.comparison.table import Control, compared_run, control, equal_tokens, markdown, table, vote_curve
from pruner.rules.voting import majority_vote, winner
from pruner.statistics.pareto import pareto_front
from tests.unit.fakes import said


def answers(run, tokens, correct=(1, 0, 1), judge=0.0, method="cons", **extra):
    return [
        {
            "problem_id": f"p{number}",
            "method": method,
            "budget": 4,
            "correct": right,
            "tokens_sampled": tokens,
            "tokens_net": tokens + judge,
            "tokens_prefix": 0,
            "tokens_finished": tokens,
            "traces_started": 4,
            "judge_calls": 0,
        }
        | {key: values[number] for key, values in extra.items()}
        for number, right in enumerate(correct)
    ]


def traces(problem_id, given, right="a"):
    return [
        {
            "problem_id": problem_id,
            "trace_index": index,
            "tokens_sampled": 10,
            "answer": answer,
            "correct": int(answer == right),
        }
        for index, answer in enumerate(given)
    ]


def flat_control(correct, tokens):
    return Control(("p0", "p1", "p2"), np.array([correct] * 3, float), np.array([tokens] * 3, float))


@pytest.mark.parametrize("given", ["abba", "bbaa", ["a", None, "b", "b"], [None, None, "b", "a"], "cbab"])
def test_the_control_votes_like_the_method_on_the_first_k_traces(given):
    given = list(given)
    correct, tokens = vote_curve(traces("p", given), len(given))
    for k in range(1, len(given) + 1):
        voted = winner(majority_vote(enumerate(map(said, given[:k]))))
        assert correct[k - 1] == float(voted == said("a")), k
        assert tokens[k - 1] == 10 * k


def test_repetitions_of_a_problem_count_once():
    rows = answers("r", 100, (1, 0, 1), source_problem_id=["p", "p", "q"])
    totals = compared_run("r", "", rows)
    assert totals.problems == ("p", "q") and totals.repetitions == 2
    assert totals.correct.tolist() == [0.5, 1.0]
    found = control([*traces("p0", "ab"), *traces("p1", "ba")], {"p0": "p", "p1": "p"}, 2)
    assert found.problems == ("p",)
    assert found.correct.tolist() == [[0.5, 0.5]] and found.tokens.tolist() == [[10.0, 20.0]]


def test_problems_without_a_gold_answer_are_left_out():
    assert compared_run("r", "", answers("r", 100, (1, None, 0))).problems == ("p0", "p2")


def test_the_control_is_interpolated_at_equal_net_tokens():
    assert equal_tokens(np.array([0.2, 0.6]), np.array([10.0, 30.0]), 20.0) == pytest.approx(0.4)
    assert equal_tokens(np.array([0.2, 0.6]), np.array([10.0, 30.0]), 5.0) is None
    assert equal_tokens(np.array([0.2, 0.6]), np.array([10.0, 30.0]), 31.0) is None


def test_a_row_says_saving_and_lead_net_of_the_judge():
    totals = compared_run("r", "", answers("r", 10, (1, 1, 0), judge=10.0, method="deepprune"))
    [row] = table([totals], flat_control([0.0, 1.0, 1.0, 1.0], [10, 20, 30, 40]), 200, 0)
    assert row.saving == pytest.approx(0.5) and row.judge_net == pytest.approx(10.0)
    assert row.control == pytest.approx(1.0) and row.lead.value == pytest.approx(-1 / 3)
    assert row.lead.low <= row.lead.value <= row.lead.high <= 0.0
    assert row.accuracy.low <= 2 / 3 <= row.accuracy.high


def test_the_baseline_leads_itself_by_nothing():
    totals = compared_run("r", "", answers("r", 40, (1, 1, 1)))
    [row] = table([totals], flat_control([0.0, 1.0, 1.0, 1.0], [10, 20, 30, 40]), 50, 0)
    assert (row.saving, row.lead.value, row.lead.low) == (0.0, 0.0, 0.0)


def test_runs_over_other_problems_are_refused():
    with pytest.raises(ValueError, match="other problems"):
        table([compared_run("r", "", answers("r", 1)), compared_run("s", "", answers("s", 1, (1, 0)))], None, 10, 0)


def test_the_front_holds_what_nothing_beats():
    def row(name, right, tokens):
        return table([compared_run(name, "", answers(name, tokens, right))], None, 10, 0)[0]

    rows = [
        row("dear", (1, 1, 1), 300),
        row("cheap", (1, 0, 0), 10),
        row("poor", (1, 0, 0), 20),
        row("fair", (1, 1, 0), 50),
    ]
    assert [each.run for each in pareto_front(rows, lambda row: row.tokens_net, lambda row: row.mean_accuracy)] == [
        "cheap",
        "fair",
        "dear",
    ]


def test_the_markdown_has_a_line_a_run():
    rows = table(
        [compared_run("r", "k=1", answers("r", 2000))], flat_control([0, 1, 1, 1], [1e3, 2e3, 3e3, 4e3]), 50, 0
    )
    text = markdown(rows, "# heading")
    assert "| cons | k=1 | 66.7%" in text and "| 2 | 50.0% |" in text
