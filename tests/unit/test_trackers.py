"""Trackers get the run's numbers; one that fails, hangs or is missing costs a warning and nothing else."""

import json
import threading
import time

import pytest

from pruner.trackers.background import BackgroundTracker
from pruner.trackers.base import TrackedRun
from pruner.trackers.registry import TRACKERS
from tests.job_processes import run

RUN = TrackedRun("run", "run", "abc", {"seed": 0})
SMALL = ("sampler=simulated", "problems.limit=4", "budget=4", "method=cons", "run.name=run")


class Fake:
    """A tracker's config and its connection in one, that remembers what it was given."""

    name = "fake"

    def __init__(self, fault=None):
        self.given, self.fault = [], fault

    def open(self, run):
        self._do("open", run.name)
        return self

    def log(self, step, numbers):
        self._do("log", step)

    def summarize(self, numbers):
        self._do("summarize", numbers)

    def add_file(self, path):
        self._do("file", path)

    def close(self):
        self._do("close", None)

    def _do(self, what, value):
        self.given.append((what, value))
        if self.fault is not None and what == self.fault[0]:
            raise self.fault[1]


def test_a_tracker_is_given_everything_in_order_but_numbers_that_come_too_soon():
    fake = Fake()
    with BackgroundTracker(fake, RUN, every_s=100.0) as tracker:
        for step in range(3):
            tracker.log(step, {"x": 1.0})
        tracker.log(3, {"x": 1.0}, is_last=True)
        tracker.summarize({"y": 2.0})
        tracker.add_file("p")
    assert fake.given == [
        ("open", "run"),
        ("log", 0),
        ("log", 3),
        ("summarize", {"y": 2.0}),
        ("file", "p"),
        ("close", None),
    ]


@pytest.mark.parametrize("moment", ["open", "log", "summarize", "file", "close"])
@pytest.mark.parametrize(
    "fault", [RuntimeError("no route"), OSError("disk"), ImportError("none"), SystemExit(3), KeyboardInterrupt()]
)
def test_a_tracker_that_fails_is_said_once_and_asked_no_more(moment, fault, capsys):
    fake = Fake((moment, fault))
    with BackgroundTracker(fake, RUN, every_s=0.0) as tracker:
        for step in range(5):
            tracker.log(step, {})
            time.sleep(0.01)
        tracker.summarize({})
        tracker.add_file("p")
    said = capsys.readouterr().err
    assert said.count("warning: tracker=fake") == 1 and said.count("\n") == 1 and "The run goes on without it." in said
    assert fake.given[-1][0] == moment


def test_a_tracker_that_hangs_holds_nothing_up(capsys):
    released = threading.Event()
    fake = Fake()
    fake.log = lambda step, numbers: released.wait(20)
    tracker = BackgroundTracker(fake, RUN, every_s=0.0)
    started = time.monotonic()
    for step in range(1000):
        tracker.log(step, {})
    tracker.close(wait_s=0.3)
    assert time.monotonic() - started < 5 and "did not answer in time" in capsys.readouterr().err
    released.set()


def test_there_are_the_trackers_that_the_documents_name():
    assert list(TRACKERS) == ["mlflow", "none", "wandb"]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_library_that_is_not_installed_is_said_and_the_run_is_done(name, tmp_path):
    result = run(
        "run", *SMALL, f"tracker={name}", f"run.root={tmp_path}/o", patch=f"import sys; sys.modules['{name}'] = None"
    )
    assert result.returncode == 0, result.stderr
    assert f"warning: tracker={name} is not installed" in result.stderr and "pip install" in result.stderr


def finished(tmp_path, *overrides, **environment):
    result = run("run", *SMALL, f"run.root={tmp_path}/o", *overrides, environment=environment)
    assert result.returncode == 0 and "warning: tracker" not in result.stderr, result.stderr
    return json.loads((tmp_path / "o/run/progress/shard=0000.json").read_text())


def test_mlflow_keeps_the_numbers_the_totals_and_the_report_in_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    for _ in range(2):  # the second attempt has nothing to do, and goes on in the same run
        progress = finished(tmp_path, "tracker=mlflow", f"tracker.uri=file:{tmp_path}/m")
    client = MlflowClient(tracking_uri=f"file:{tmp_path}/m")
    [found] = client.search_runs([client.get_experiment_by_name("pruner").experiment_id])
    assert found.data.metrics["tokens"] == progress["tokens"] == found.data.metrics["run.tokens_sampled"] > 0
    assert found.data.metrics["problems_done"] == 4 and found.data.params["method.name"] == "cons"
    assert [each.path for each in client.list_artifacts(found.info.run_id)] == ["report.html"]


def test_wandb_works_offline_and_its_key_never_reaches_the_runs_folder(tmp_path):
    secret = "k" * 40
    finished(tmp_path, "tracker=wandb", "tracker.mode=offline", f"tracker.dir={tmp_path}/w", WANDB_API_KEY=secret)
    [folder] = (tmp_path / "w/wandb").glob("offline-run-*")
    [log] = folder.glob("*.wandb")
    content = log.read_bytes()
    assert b"problems_done" in content and b"run/tokens_net" in content and b"report.html" in content
    assert not any(secret.encode() in path.read_bytes() for path in (tmp_path / "o").rglob("*") if path.is_file())
