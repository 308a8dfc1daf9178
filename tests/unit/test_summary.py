"""The words at the end of a run say what the totals say, and which kind of baseline a saving is against."""

from dataclasses import replace

import pytest

from pruner.results.query import Results, read_totals, run_totals
from pruner.results.summary import saved_words, summary, words


@pytest.fixture(scope="module")
def totals(sweep):
    with Results(sweep) as results:
        return {each.run: each for each in read_totals(results)}


def test_a_saving_says_what_it_is_against(totals):
    pruned = totals["deepprune"]
    assert "of run cons (measured); accuracy " in saved_words(pruned)
    estimate = replace(pruned, baseline="estimate", baseline_run=None)
    assert saved_words(estimate).endswith("tokens without pruning (an estimate)")
    assert "unknown" in saved_words(replace(pruned, saved=None))
    assert "saved" not in dict(words(totals["cons"]))


def test_what_is_zero_or_unknown_is_left_out_or_said(totals):
    pruned = totals["deepprune"]
    said = dict(words(pruned))
    assert "discarded" not in said and "GPU" not in said and "warning" not in said and said["cost"]
    lossy = replace(pruned, tokens_discarded=1234, attempts=3, attempts_discarded_unknown=1, gpu_seconds_sampler=7200.0)
    said = dict(words(lossy))
    assert said["discarded"] == ["1,234 tokens sampled and lost in 3 attempts; what 1 of them lost is not known"]
    assert said["GPU"] == ["2.00 hours of the sampler, 0.00 of the judge"]
    blind = replace(pruned, judge_verdicts_missing=pruned.judge_verdicts)
    assert "pruning does next to nothing" in dict(words(blind))["warning"][0]
    assert dict(words(replace(pruned, accuracy=None)))["accuracy"] == ["unknown: the problems have no gold answers"]


def test_parts_add_up_in_the_words(totals):
    text = summary(totals["deepprune"], "somewhere")
    numbers = [int(word.replace(",", "")) for word in text.replace(":", " ").split() if word.replace(",", "").isdigit()]
    each = totals["deepprune"]
    assert text.startswith("8 problems, results in somewhere (simulated traces)")
    assert {
        each.tokens_sampled,
        each.tokens_finished,
        each.tokens_pruned,
        each.tokens_prefix,
        each.tokens_continued,
    } <= set(numbers)


def test_a_run_whose_neighbours_are_damaged_is_still_summed_up(sweep, tmp_path):
    import shutil

    shutil.copytree(sweep / "deepprune", tmp_path / "deepprune")
    (tmp_path / "other/answers").mkdir(parents=True)
    (tmp_path / "other/answers/shard=0000.parquet").write_bytes(b"damaged")
    found = run_totals(tmp_path, "deepprune")
    assert found.problems == 8 and found.baseline == "estimate"


def test_certified_answers_and_the_interval_are_said(totals):
    assert "certified" not in dict(words(totals["deepprune"]))
    certified = replace(totals["deepprune"], problems_certified=5, delta=0.05, accuracy_low=0.25, accuracy_high=0.755)
    said = dict(words(certified))
    assert said["certified"] == ["5 of 8 answers, at an error rate of 0.05 at most"]
    assert said["accuracy"][0].endswith(", 95 % interval 25.0 to 75.5")
    assert "interval" not in dict(words(replace(certified, accuracy_low=1.0, accuracy_high=1.0)))["accuracy"][0]
