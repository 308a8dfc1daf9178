"""How many requests a second the client of servers sustains on one core, and its memory.

    python -m tests.bench.requests [--requests 100000] [--running 256] [--prompt 500] [--tokens 64] [--servers 1]

The server is tests/fake_server.py, in processes on the other cores; it answers at once. What is measured is sampler=server from `submit` to
`step`: HTTP, every check of an answer, and the text of the tokens.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time

from pruner.prompts import ChatPrompts
from pruner.records.traces import SegmentKey, TokenIds
from pruner.samplers.base import Decoding, Request
from pruner.samplers.served.addresses import Servers
from pruner.samplers.served.examination import Requirements
from pruner.samplers.served.sampler import ServerSampler
from pruner.settings.model import PromptConfig
from tests.documents import PROJECT
from tests.fake_server import loaded_tokenizer
from tests.loop_thread import free_port


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--running", type=int, default=256)
    parser.add_argument("--prompt", type=int, default=500)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--servers", type=int, default=1)
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[1:] or cores)
    children, ports = [], []
    for _ in range(given.servers):
        ports.append(free_port())
        command = [sys.executable, "-m", "tests.fake_server", f"--port={ports[-1]}"]
        children.append(subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE))
    try:
        for child in children:
            assert child.stdout is not None
            child.stdout.readline()
        os.sched_setaffinity(0, cores[:1])
        measure(given, tuple(f"http://127.0.0.1:{port}" for port in ports))
    finally:
        for child in children:
            child.kill()


def measure(given: argparse.Namespace, urls: tuple[str, ...]) -> None:
    tokenizer = loaded_tokenizer()
    required = Requirements(ChatPrompts(tokenizer, PromptConfig()), tokenizer, 2048, None)
    running = -(-given.running // given.servers)
    sampler = ServerSampler(Servers(urls, None, running), required)
    sampler.wait_ready(lambda: False)
    prompt, decoding = TokenIds(range(100, 100 + given.prompt)), Decoding(temperature=0.6)
    before_mb, started, cpu_s = peak_mb(), time.monotonic(), time.process_time()
    asked = done = tokens = 0
    while done < given.requests:
        room = min(given.running - (asked - done), given.requests - asked)
        sampler.submit(
            [Request(SegmentKey("p", asked + i, 0), prompt, given.tokens, asked + i, 0, decoding) for i in range(room)]
        )
        asked += max(0, room)
        for completion in sampler.step():
            done += 1
            tokens += completion.num_tokens
    wall_s, cpu_s = time.monotonic() - started, time.process_time() - cpu_s
    sampler.close()
    print(
        f"{given.requests:,} requests, {given.running} at once, {given.prompt} tokens each of prompt, {tokens:,} tokens: {wall_s:.1f} s, "
        f"{given.requests / wall_s:,.0f} a second, {1e6 * cpu_s / given.requests:,.0f} us of processor each; "
        f"peak memory {peak_mb():,.0f} MB, {before_mb:,.0f} before"
    )


if __name__ == "__main__":
    main()
