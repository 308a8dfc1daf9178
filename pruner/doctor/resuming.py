"""A small run of the main job, killed and continued, as happens to every job of a cluster."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from pruner.config.job import Config
from pruner.doctor.findings import Finding
from pruner.results.audit import audit
from pruner.settings.section import local_path

_RUN = "run"
_START_S = 3600.0
_GONE_S = 10.0
_PROBLEMS, _BUDGET = 2, 6


def killed_and_continued(config: Config, overrides: Sequence[str]) -> Finding:
    """Run a few problems of the configuration, kill the job once it has committed, continue it and audit the result.

    Args:
        overrides: of the main job, as the user gave them.
    """
    tokens = 64 if config.sampler.segment_tokens is None else min(64, config.sampler.segment_tokens)
    with tempfile.TemporaryDirectory(dir=local_path(config.run.root), prefix=".doctor-") as name:
        root = Path(name)
        small = [f"run.root={root}", f"run.name={_RUN}", f"problems.limit={_PROBLEMS}", f"budget={_BUDGET}"]
        small += [
            "checkpoint.every_segments=1",
            f"model.sampling.max_tokens={2 * tokens}",
            f"sampler.segment_tokens={tokens}",
        ]
        command = [sys.executable, "-m", "jobs.run", *overrides, *small]
        with (root / "log").open("w") as log:
            job = subprocess.Popen(command, stdout=log, stderr=log)
            if not _has_committed(root, job):
                return _failed("the run ended before it was killed", root)
            below = psutil.Process(job.pid).children(recursive=True)
            job.send_signal(signal.SIGKILL)
            job.wait()
            left_s = _gone_after(below)
            if left_s is None:
                advice = "End them by hand; on a GPU they hold its memory."
                return Finding("resume", "FAIL", f"processes of a killed job live on after {_GONE_S:.0f} s", advice)
            started = time.monotonic()
            code = subprocess.run(command, stdout=log, stderr=log).returncode
        if code != 0:
            return _failed(f"the killed run could not be continued (exit code {code})", root)
        faults = audit(root / _RUN).faults
        if faults:
            return Finding("resume", "FAIL", faults[0], "Please report this: facts were lost or doubled.")
        took_s = time.monotonic() - started
        what = f"a run killed after its first commit left nothing behind {left_s:.1f} s later, and was continued in {took_s:.0f} s"
        return Finding("resume", "PASS", what, figures={"gone_s": round(left_s, 1), "continued_s": round(took_s, 1)})


def _failed(what: str, root: Path) -> Finding:
    last = [line for line in (root / "log").read_text().splitlines() if line.strip()][-1:]
    return Finding("resume", "FAIL", f"{what}: {last[0] if last else 'it printed nothing'}")


def _has_committed(root: Path, job: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + _START_S
    while job.poll() is None and time.monotonic() < deadline:
        try:
            if json.loads((root / _RUN / "progress/shard=0000.json").read_text())["segments"] > 0:
                return True
        except (OSError, ValueError, KeyError):
            pass
        time.sleep(0.05)
    return False


def _gone_after(processes: Sequence[psutil.Process]) -> float | None:
    """Return after how many seconds all have ended; None if they do not."""
    started = time.monotonic()
    while any(_is_alive(each) for each in processes):
        if time.monotonic() - started > _GONE_S:
            return None
        time.sleep(0.05)
    return time.monotonic() - started


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
