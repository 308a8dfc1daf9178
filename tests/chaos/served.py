"""Disturb a job on two servers: faults in their answers, servers that are killed and started again, and the job itself killed; compare.

    python -m tests.chaos.served --faults 1000 --server-kills 3 --job-kills 3
    python -m tests.chaos.served --real --faults 1000 --server-kills 3

With --real the servers are vLLM's, of the default model, and the undisturbed run is sampler=vllm; else both are of tests/fake_server.py.
The servers want a key. At the end it prints what was done, and ends with 1 at the first difference, or where the key is found in a file
or in what was printed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

from tests.chaos.harness import Reference
from tests.documents import PROJECT
from tests.fault_proxy import FaultProxy, ProxyServer
from tests.job_processes import command
from tests.loop_thread import free_port

KEY = "pr-5d41402abc4b2a76b9719d911017c592"
MODEL = ".cache/models/smollm2_135m"
COMMON = ("method=cons", "progress.interval_s=5", "checkpoint.every_s=0.5")
SEGMENTS = ("sampler.segment_tokens=16", "sampler.cache_block_tokens=32")
SERVED = ("sampler=server", "sampler.aligned=false", "sampler.max_running_traces=32", "sampler.stall_s=20", *SEGMENTS)


class Serving:
    """A server in processes of its own, that can be killed and started again at its port."""

    def __init__(self, folder: Path, is_real: bool, model: str = MODEL, key: str = KEY) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.model = model
        self._folder, self._is_real, self._key = folder, is_real, key
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, weights: int = 0) -> None:
        """Start it; it may not be ready yet. weights: of the fake model."""
        if self._is_real:
            program = ["vllm.entrypoints.openai.api_server", f"--model={self.model}", "--served-model-name=model"]
            program += [
                "--host=127.0.0.1",
                "--dtype=float32",
                "--max-model-len=2048",
                "--max-num-seqs=32",
                "--block-size=32",
            ]
            program += ["--no-enable-chunked-prefill", "--max-num-batched-tokens=2048", "--scheduling-policy=priority"]
            program += ["--enforce-eager", "--disable-uvicorn-access-log", "--enable-prompt-tokens-details"]
        else:
            program = [
                "tests.fake_server",
                "--model=model",
                f"--weights={weights}",
                "--token-s=0.001",
                f"--key={self._key}",
            ]
        log = open(self._folder / f"server-{self.port}.log", "ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", *program, f"--port={self.port}"],
            cwd=PROJECT,
            env=os.environ
            | {
                "VLLM_CPU_KVCACHE_SPACE": "1",
                "VLLM_API_KEY": self._key,
                "HF_HUB_OFFLINE": "1",
                "VLLM_LOGGING_LEVEL": "ERROR",
            },
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def wait(self, timeout_s: float = 180.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not self.is_well():
            assert time.monotonic() < deadline and self._process is not None and self._process.poll() is None, self.url
            time.sleep(0.2)

    def is_well(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def start_job(root: Path, *overrides: str, key: str = KEY) -> subprocess.Popen[str]:
    """Start the main job; what it prints goes to a log."""
    root.mkdir(parents=True, exist_ok=True)
    log = open(root / "log.txt", "a")
    return subprocess.Popen(
        command("run", f"run.root={root}", "run.name=run", *COMMON, *overrides),
        cwd=PROJECT,
        env=os.environ | {"PRUNER_API_KEY": key},
        stdout=log,
        stderr=log,
        text=True,
    )


def done_problems(root: Path) -> int:
    try:
        return int(json.loads((root / "run/progress/shard=0000.json").read_text())["problems_done"])
    except (OSError, ValueError, KeyError):
        return 0


def disturb(
    folder: Path, is_real: bool, problems: int, faults: int, server_kills: int, job_kills: int, share: float = 0.4
) -> Counter[str]:
    """Do it; return how often what was done.

    Raises:
        Difference: something was lost, doubled or changed.
        AssertionError: a job failed, or the key is somewhere.
    """
    limit = f"problems.limit={problems}"
    servers = [Serving(folder, is_real) for _ in range(2)]
    proxies = [
        ProxyServer(FaultProxy(each.url, share, faults // 2, seed, hang_s=30.0)) for seed, each in enumerate(servers)
    ]
    done: Counter[str] = Counter()
    root, calm = folder / "disturbed", folder / "calm"
    try:
        for each in servers:
            each.start()
        if is_real:
            own = ("sampler.max_running_traces=32", *SEGMENTS)
            assert start_job(calm, limit, *own).wait() == 0, (calm / "log.txt").read_text()
        for each in servers:
            each.wait()
        if not is_real:
            urls = ",".join(each.url for each in servers)
            assert start_job(calm, limit, *SERVED, f"sampler.urls=[{urls}]").wait() == 0, (calm / "log.txt").read_text()
        urls = ",".join(each.url for each in proxies)
        arguments = (limit, *SERVED, f"sampler.urls=[{urls}]")
        job = start_job(root, *arguments)
        events = interleaved(["server"] * server_kills + ["job"] * job_kills)
        places = [problems * (number + 1) // (len(events) + 2) for number in range(len(events))]
        for kind, place in zip(events, places, strict=True):
            while done_problems(root) < place and job.poll() is None:
                time.sleep(0.1)
            if job.poll() is not None:
                break
            done[f"{kind} killed"] += 1
            if kind == "job":
                job.kill()
                job.wait()
                job = start_job(root, *arguments)
            else:
                servers[0].kill()
                time.sleep(2.0)
                servers[0].start()
        assert job.wait() == 0, (root / "log.txt").read_text()[-3000:]
    finally:
        for each in (*proxies,):
            each.close()
        for each in servers:
            each.kill()
    for proxy in proxies:
        done.update(proxy.proxy.counts)
    Reference.of(calm).check(root)
    assert_no_key(folder)
    return done


def interleaved(events: list[str]) -> list[str]:
    """Return the events such that the kinds take turns."""
    counts: Counter[str] = Counter()
    places = {}
    for number, kind in enumerate(events):
        counts[kind] += 1
        places[number] = counts[kind] / (events.count(kind) + 1)
    return [events[number] for number in sorted(places, key=places.__getitem__)]


def assert_no_key(folder: Path, key: str = KEY) -> None:
    """Refuse a folder in whose files a key is; the servers' own logs are not the program's."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("server-"):
            assert key.encode() not in path.read_bytes(), path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--problems", type=int, default=56)
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--server-kills", type=int, default=3)
    parser.add_argument("--job-kills", type=int, default=0)
    parser.add_argument("--share", type=float, default=0.4)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        done = disturb(
            Path(folder), given.real, given.problems, given.faults, given.server_kills, given.job_kills, given.share
        )
        log = (Path(folder) / "disturbed/log.txt").read_text()
    print("\n".join(log.splitlines()[-12:]))
    for kind, count in sorted(done.items()):
        print(f"{count:6,}  {kind}")
    print(
        f"{time.monotonic() - started:.0f} s; every row is the undisturbed run's, the audit balances, the key is nowhere"
    )


if __name__ == "__main__":
    main()
