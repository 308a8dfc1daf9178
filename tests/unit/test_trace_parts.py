"""Traces of finished problems that can be read while their shard goes on."""

import random
import shutil

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pruner.checkpoint.store import Store
from pruner.problems.problem_set import read_problems
from pruner.results import trace_parts
from pruner.results.run_folder import RunFolder
from pruner.results.trace_parts import TraceParts
from pruner.results.writer import TraceColumns, write_results
from pruner.settings.prices import AccountingConfig
from tests.job_processes import PROJECT, run

CONFIG = TraceColumns(text=True, token_ids=False, confidence=False)
WEIGHTS = AccountingConfig(judge_prompt_weight=0.3, judge_cached_weight=0.0, judge_output_weight=1.0)
ORDER = [("problem_index", "ascending"), ("trace_index", "ascending")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("finished")
    result = run(
        "run",
        "sampler=simulated",
        "method=deepprune",
        "problems.limit=20",
        "budget=4",
        "run.name=run",
        f"run.root={root}",
    )
    assert result.returncode == 0, result.stderr
    return root


@pytest.fixture
def folder(finished, tmp_path):
    """A run's folder whose checkpoint has everything, but whose traces are not written yet."""
    shutil.copytree(finished / "run", tmp_path / "run")
    found = RunFolder(tmp_path, "run", 0)
    empty = pq.read_table(found.parquet("traces"), partitioning=None).slice(0, 0)
    pq.write_table(empty, found.parquet("traces"))
    return found


@pytest.fixture
def store(folder, monkeypatch):
    monkeypatch.setattr(trace_parts, "_FULL_TRACES", 8)
    with duckdb.connect(str(folder.checkpoint)) as connection:
        yield Store(connection, folder.checkpoint, lambda: None)


def rows(folder):
    """Return what a reader finds, in order."""
    files = [folder.parquet("traces"), *folder.trace_parts()]
    return pa.concat_tables(pq.read_table(path, partitioning=None) for path in files).sort_by(ORDER).to_pylist()


def whole(finished, problems):
    table = pq.read_table(RunFolder(finished, "run", 0).parquet("traces"), partitioning=None)
    return [row for row in table.to_pylist() if row["problem_index"] in problems]


def first(answers, indexes):
    """Return the answers of some problems, as if no more were finished."""
    return answers.filter(pc.is_in(answers["problem_index"], pa.array(list(indexes), pa.int32())))


@pytest.mark.parametrize("seed", range(5))
def test_what_is_finished_is_there_once_whatever_was_killed(finished, folder, store, seed):
    chance, answers = random.Random(seed), store.answers(WEIGHTS)
    order, done, parts = chance.sample(range(20), 20), [], None
    while order:
        done += [order.pop() for _ in range(min(len(order), chance.randint(0, 5)))]
        if parts is None or chance.random() < 0.4:
            parts = TraceParts(folder, store, CONFIG, first(answers, done))
        parts.refresh(first(answers, done))
        assert rows(folder) == whole(finished, done)
    full = folder.trace_parts()[:-1]
    assert 5 <= len(full) + 1 <= 10 and all(pq.read_metadata(path).num_rows <= 12 for path in full)
    problems = read_problems(str(PROJECT / "conf/problems/demo.parquet"), 20)
    write_results(folder, store, problems, CONFIG, WEIGHTS)
    assert not folder.trace_parts() and rows(folder) == whole(finished, range(20))


def test_a_part_that_is_damaged_or_ahead_of_the_checkpoint_is_written_again(finished, folder, store):
    answers = store.answers(WEIGHTS)
    TraceParts(folder, store, CONFIG, answers).refresh(answers)
    damaged, *_, ahead = folder.trace_parts()
    damaged.write_bytes(damaged.read_bytes()[:100])
    lost = max(pq.read_table(ahead, partitioning=None)["problem_index"].to_pylist())
    left = [index for index in range(20) if index != lost]
    TraceParts(folder, store, CONFIG, first(answers, left)).refresh(first(answers, left))
    assert rows(folder) == whole(finished, left)


def test_a_large_problem_is_a_part_of_its_own(folder, store, monkeypatch):
    monkeypatch.setattr(trace_parts, "_FULL_TOKENS", 1)
    answers = store.answers(WEIGHTS)
    TraceParts(folder, store, CONFIG, answers).refresh(answers)
    assert len(folder.trace_parts()) == 20
