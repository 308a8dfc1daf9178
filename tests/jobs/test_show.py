"""jobs.show: a run, a problem and a trace in a terminal."""

import pytest

from tests.job_processes import run
from tests.results_under_test import OVERRIDES, problem_set


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("show")
    path = problem_set(folder / "set.parquet")
    given = ("method=deepprune", "prefix.max_tokens=8", f"problems.path={path}", f"run.root={folder}", "run.name=run")
    assert run("run", *OVERRIDES, *given).returncode == 0
    return folder


def shown(root, *arguments):
    result = run("show", str(root / "run"), *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_problems_are_listed_with_what_became_of_them(root):
    lines = shown(root).splitlines()
    assert (
        lines[0].split()
        == ["index", "problem", "outcome", "answer", "gold", "traces", "finished", "cut", "tied", "net_tokens"]
        and len(lines) == 10
    )


def test_a_problem_shows_its_votes_traces_and_verdicts(root):
    text = shown(root, "p3")
    assert text == shown(root, "3")
    for part in (
        "problem p3, index 3: answer ",
        "| What is 3 <b>times</b> zero | plus 0?",
        "votes: ",
        "clusters: ",
        "verdicts: ",
        "probes: ",
    ):
        assert part in text
    assert "traces: 16 started, " in text


def test_a_trace_shows_its_text(root):
    text = shown(root, "p3", "2")
    assert text.startswith("problem p3, trace 2\n") and "\ntext:\n| " in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "p99"), "problem p99: this run has no finished problem of that id or index"),
        (("run", "p3", "16"), "problem p3: has no trace 16; its traces are 0 to 15."),
        (("run", "p3", "x"), "invalid int value"),
        (("nothing",), "is no run's folder"),
    ],
)
def test_what_is_not_there_is_one_line(root, arguments, message):
    result = run("show", str(root / arguments[0]), *arguments[1:])
    assert result.returncode == 2 and message in result.stderr and len(result.stderr.splitlines()) == 1
