"""The report job: one page that asks the network for nothing, whatever the runs hold."""

import json
import re

from tests.job_processes import run
from tests.many_results import write_runs
from tests.results_under_test import HOSTILE

FIGURES = {"at_k", "pareto", "hours", "tokens", "clusters", "margins", "calibration", "saved", "timeline"}


def report(path, target, *arguments):
    return run("report", str(path), "--output", str(target), *arguments)


def test_a_report_is_one_page_that_asks_the_network_for_nothing(sweep, tmp_path):
    result = report(sweep, tmp_path / "r")
    assert result.returncode == 0 and "3 runs, 24 problems" in result.stdout, result.stderr
    page = (tmp_path / "r/report.html").read_text()
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="(?!#)', markup.replace('xlink:href="#', ""))
    assert "://" not in re.sub(r'"http://www\.w3\.org/[^"]*"', "", markup)
    assert {path.stem for path in (tmp_path / "r/figures").glob("*.png")} == FIGURES
    assert set(re.findall(r'<figure id="figure-(\w+)"[^>]*data-filled="yes"', page)) == FIGURES
    ids = re.findall(r'\bid="([^"]+)"', markup)
    assert len(ids) == len(set(ids))


def test_what_a_model_or_a_problem_set_says_never_becomes_markup(sweep, tmp_path):
    report(sweep, tmp_path / "r")
    page = (tmp_path / "r/report.html").read_text()
    assert HOSTILE not in page and page.count("<script") == 2
    script = next((tmp_path / "r/traces").rglob("*.0.js")).read_text()
    assert "<" not in script and "\\u003cscript\\u003e" in script
    argument = script.removeprefix("receive(").rstrip(");\n").split(",", 1)[1]
    assert HOSTILE in json.loads(argument)[0]["head"]


def test_a_single_run_is_seen_beside_its_baseline_and_says_its_words(sweep, tmp_path):
    report(sweep / "deepprune", tmp_path / "r")
    page = (tmp_path / "r/report.html").read_text()
    for words in ("without an answer, 0 failed", "(measured)", "the judge&#39;s included", "about 0."):
        assert words in page, words
    assert "measured against cons" in page


def test_an_empty_figure_says_why(sweep, tmp_path):
    report(sweep / "cons", tmp_path / "r")
    page = (tmp_path / "r/report.html").read_text()
    assert "This run has no clusters." in page
    assert set(re.findall(r'<figure id="figure-(\w+)"[^>]*data-filled="no"', page)) == set()
    assert "figure-calibration" not in page  # there is no judge, and nothing to compare with


def test_what_cannot_be_reported_is_reported_in_one_line(sweep, tmp_path):
    for arguments, message in (
        ([str(tmp_path)], "no run has written answers here yet"),
        ([str(sweep), "--focus", "nothing"], "expected one of"),
        ([str(sweep), "--problem", "nothing"], "has not finished a problem 'nothing'"),
        ([str(sweep), "--max-chars", "1"], "expected 100 or more"),
    ):
        result = run("report", *arguments, "--output", str(tmp_path / "r"))
        assert result.returncode == 2 and message in result.stderr, result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


def test_many_runs_and_many_traces_are_drawn(tmp_path):
    write_runs(tmp_path / "o", 45, 1, 80)
    result = report(tmp_path / "o", tmp_path / "r", "--max-mb", "1")
    assert result.returncode == 0 and "45 runs, 45 problems" in result.stdout, result.stderr
    page = (tmp_path / "r/report.html").read_text()
    assert "The best 40 of 45 runs" in page and "1 more pairs of problem set and model" in page
