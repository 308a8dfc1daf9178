"""What the harnesses look for, they notice: a store that drops, doubles or alters facts, of each kind, in each harness."""

from __future__ import annotations

import os
from collections import Counter
from itertools import product
from random import Random

import pytest

from pruner.records.schemas import KEYS
from tests.chaos import harness, starts
from tests.chaos.facts import DAMAGES, Difference, Held, damaging
from tests.chaos.harness import VARIANTS, References, hurt_to_the_end, kill_many, report, start, wait
from tests.fuzz.run_targets import check_facts
from tests.fuzz.target import Wrong
from tests.live.jobs_under_test import PROJECT

pytestmark = pytest.mark.chaos


@pytest.fixture(autouse=True)
def from_the_project(monkeypatch):
    monkeypatch.chdir(PROJECT)


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    os.chdir(PROJECT)
    return References(tmp_path_factory.mktemp("references"))


@pytest.mark.parametrize(("table", "damage"), list(product(KEYS, DAMAGES)))
def test_every_harness_notices_facts_that_were_dropped_doubled_or_altered(tmp_path, references, table, damage):
    overrides = ("seed=0", *starts.SMALL)
    reference, root, reported = references.of(overrides), tmp_path / "root", starts.Tally()
    assert wait(start(root, *overrides, before=damaging(table, damage))) == 0
    with pytest.raises(Difference):  # kills, engines and servers
        reference.check(root)
    with pytest.raises((Difference, Wrong)):  # the fuzzer
        check_facts(reference.root / "run", root / "run")
    starts.finish(root, {0: reference}, reported)
    assert reported.mixed or reported.doubled


def test_results_that_differ_are_noticed(references, monkeypatch):
    reference = references.of(("seed=0", *starts.SMALL))
    monkeypatch.setattr(harness, "results", lambda root: [str(root).encode()])
    with pytest.raises(Difference, match="other results"):
        reference.check(reference.root)


@pytest.mark.parametrize("now", [{}, {("endings", "p", 0): Held(("2",), 1)}, {("endings", "p", 0): Held(("1",), 2)}])
def test_a_committed_fact_that_is_gone_another_or_made_again_is_noticed(tmp_path, monkeypatch, now):
    codes, seen = iter([-9, 0]), iter([{("endings", "p", 0): Held(("1",), 1)}, now])
    (tmp_path / "run.log").touch()
    monkeypatch.setattr(harness, "EVENTS", {"SIGKILL": 1})
    monkeypatch.setattr(harness, "start", lambda *_, **__: 0)
    monkeypatch.setattr(harness, "hurt", lambda *_: next(codes))
    monkeypatch.setattr(harness, "facts", lambda root: next(seen))
    with pytest.raises(Difference, match="1 committed facts lost or made again"):
        hurt_to_the_end(tmp_path / "run", [], 1.0, Random(0), Counter())


def test_a_variant_that_needs_the_run_of_another_works_alone(tmp_path):
    done = kill_many(tmp_path, 1, 0, {"deepprune, oracle": VARIANTS["deepprune, oracle"]})
    assert done["  of deepprune, oracle"] == done["runs finished and equal"] > 0
    assert "runs finished and equal" in report(done)
