"""The jobs that train and evaluate judges, with the lexical judge, which needs no model: pairs made by hand, folders as users see them."""

import json

import pyarrow.parquet as pq
import pytest

from pruner.learning.pair_files import write_pairs
from tests.job_processes import run
from tests.unit.test_learning import pair

PREFIX = {"name": "fixed", "max_tokens": 12}


def made_pairs(count=40):
    """Pairs of six problems whose last values are equal mostly where the answers are."""
    pairs = []
    for problem in range(6):
        for number in range(count):
            label = int((number * 7 + problem) % 3 > 0)
            value = 5 if label ^ (number % 5 == 0) else 6
            texts = ("2 + 3 = 5", f"so {number} = {value}")
            question = f"question {problem}?"
            pairs.append(pair(f"p{problem}", 0, number + 1, label, texts, fold=problem % 3, question=question))
    return pairs


@pytest.fixture
def pairs_file(tmp_path):
    path = tmp_path / "pairs.parquet"
    write_pairs(made_pairs(), path, json.dumps({"prefix": PREFIX, "traces": "x"}))
    return path


def train(pairs_file, target, *more):
    return run("train_judge", f"pairs=[{pairs_file}]", f"target={target}", *more)


def test_a_judge_is_trained_once_compared_and_warned_of(tmp_path, pairs_file):
    for fold in range(3):
        result = train(pairs_file, tmp_path / f"judge/fold_{fold}", f"hold_out_fold={fold}")
        assert result.returncode == 0, result.stderr
    again = train(pairs_file, tmp_path / "judge/fold_0", "hold_out_fold=0")
    assert again.returncode == 0 and "nothing to do" in again.stdout
    other = train(pairs_file, tmp_path / "judge/fold_0", "hold_out_fold=1")
    assert other.returncode == 2 and "holds a judge of another config" in other.stderr
    card = json.loads((tmp_path / "judge/fold_0/judge.json").read_text())
    assert card["problems"] == ["p1", "p2", "p4", "p5"] and card["prefix"] == PREFIX

    judges = f"judges=['{tmp_path}/judge/fold_{{fold}}',tfidf,length,prior]"
    calibrate = f"calibrate={tmp_path}/judge/fold_0"
    result = run("eval_judge", f"pairs=[{pairs_file}]", f"target={tmp_path}/eval", judges, "bootstrap=20", calibrate)
    assert result.returncode == 0, result.stderr
    own = json.loads((tmp_path / "judge/fold_0/calibration").read_text())
    assert f"judge/fold_0: threshold {own['tau']} (method.tau=auto)" in result.stdout and 0 < own["tau"] < 1
    assert "warning" not in result.stderr
    rows = {row["judge"]: row for row in pq.read_table(tmp_path / "eval/table.parquet").to_pylist()}
    assert list(rows) == ["judge", "tfidf", "length", "prior"]
    assert rows["judge"]["auroc_within"] > rows["tfidf"]["auroc_within"]
    assert rows["prior"]["auroc_within"] == 0.5
    names = {path.name for path in (tmp_path / "eval").iterdir()}
    assert names == {"table.parquet", "table.md", "scores.parquet"}

    judges = f"judges=['{tmp_path}/judge/fold_0']"
    result = run("eval_judge", f"pairs=[{pairs_file}]", f"target={tmp_path}/eval2", judges, "bootstrap=20")
    assert "was trained on 4 of these 6 problems (p1, p2, p4, p5)" in result.stderr

    bare = run(
        "run",
        "dry_run=true",
        "method=deepprune",
        "judge=trained",
        f"judge.path={tmp_path}/judge/fold_1",
        "method.tau=auto",
    )
    assert bare.returncode == 2 and "method.tau: got auto, but the judge trained has no threshold" in bare.stderr
    scores = run("eval_judge", f"pairs=[{pairs_file}]", f"target={tmp_path}/eval3", "judges=[tfidf]", calibrate)
    assert (
        scores.returncode == 2 and "calibrate: tfidf has no threshold: its scores are no probabilities" in scores.stderr
    )


@pytest.mark.parametrize(
    ("pairs", "arguments", "message"),
    [
        ([p for p in made_pairs() if p.label], (), "only pairs that agree"),
        ([p for p in made_pairs() if not p.label], (), "only pairs that differ"),
        ([p for p in made_pairs() if p.fold == 0], ("hold_out_fold=0",), "got none to train on"),
        (None, (), "no such file"),
        (made_pairs(), ("trainer.l2=-1",), "trainer.l2: got -1"),
        (made_pairs(), ("+trainer.nonsense=1",), "unknown key"),
        (made_pairs(), ("trainer=generative", "trainer.base.path=./nowhere"), "expected a model folder"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_in_one_line(tmp_path, pairs, arguments, message):
    path = tmp_path / "pairs.parquet"
    if pairs is not None:
        write_pairs(pairs, path, json.dumps({"prefix": PREFIX, "traces": "x"}))
    result = train(path, tmp_path / "judge", *arguments)
    assert result.returncode == 2 and message in result.stderr, result.stderr
    assert result.stderr.count("\n") == 1 and not (tmp_path / "judge/judge.json").exists()


def test_an_evaluation_refuses_what_is_no_judge_or_was_cut_otherwise(tmp_path, pairs_file):
    result = run("eval_judge", f"pairs=[{pairs_file}]", f"target={tmp_path}/e", "judges=[tfdif]")
    assert result.returncode == 2 and "expected one of length, tfidf" in result.stderr
    one_kind = tmp_path / "one_kind.parquet"
    write_pairs([p for p in made_pairs() if p.label], one_kind, json.dumps({"prefix": PREFIX, "traces": "x"}))
    result = run("eval_judge", f"pairs=[{one_kind}]", f"target={tmp_path}/e", "judges=[tfidf]")
    assert result.returncode == 2 and "got only pairs that agree" in result.stderr
    assert train(pairs_file, tmp_path / "judge").returncode == 0
    other = tmp_path / "other.parquet"
    write_pairs(made_pairs(), other, json.dumps({"prefix": {"name": "fixed", "max_tokens": 500}, "traces": "y"}))
    result = run("eval_judge", f"pairs=[{other}]", f"target={tmp_path}/e", f"judges=[{tmp_path}/judge]")
    assert result.returncode == 2 and "was trained with fixed prefix.max_tokens=12" in result.stderr
    result = run("eval_judge", f"pairs=[{pairs_file},{other}]", f"target={tmp_path}/e", "judges=[tfidf]")
    assert result.returncode == 2 and "cut in another way" in result.stderr


def test_the_main_job_refuses_a_judge_that_does_not_fit_before_any_model_is_loaded(tmp_path, pairs_file):
    assert train(pairs_file, tmp_path / "judge").returncode == 0
    command = ("run", f"run.root={tmp_path}", "method=deepprune", "judge=trained", f"judge.path={tmp_path}/judge")
    result = run(*command, "prefix.max_tokens=16", "run.name=a")
    assert result.returncode == 2 and "Set prefix=fixed prefix.max_tokens=12" in result.stderr
    result = run(*command, f"judge.path={tmp_path}/nowhere", "run.name=b")
    assert result.returncode == 2 and "holds no judge.json" in result.stderr
