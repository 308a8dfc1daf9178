"""An engine in a process of its own, with a simulated engine in it: what the job sees, and what is left afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pruner.errors import EngineError, InputError
from pruner.records.traces import SegmentKey, TokenIds
from pruner.samplers.base import Decoding, Request, check_whole
from pruner.samplers.process import ProcessSampler
from pruner.samplers.simulated import SimulatedSampler, SimulatedSamplerConfig
from pruner.shard.queue import RequestQueue
from pruner.system.processes import process, session_members
from tests.chaos.faulty_engine import FaultySpec

CONFIG = SimulatedSamplerConfig(
    name="simulated",
    segment_tokens=8,
    max_running_traces=4,
    mean_tokens=200,
    num_answers=4,
    accuracy=0.6,
    step_tokens=4,
    cache_block_tokens=16,
    step_s=0.01,
)
COMMAND = (sys.executable, "-m", "tests.chaos.faulty_engine")


def started(tmp_path, *faults, stall_s=30.0, config=CONFIG):
    return ProcessSampler("the engine", FaultySpec(config, 7, tmp_path / "faults", faults), stall_s, 60.0, COMMAND)


@pytest.fixture
def engine(tmp_path):
    found = started(tmp_path, "answers late")
    yield found
    found.close()
    assert session_members(found.pid) == []


def requests(count, tokens=8, first=0):
    prompt = TokenIds(range(5))
    return [Request(SegmentKey("p", first + i, 0), prompt, tokens, i, 0, Decoding()) for i in range(count)]


def drain(sampler, asked, timeout_s=60.0):
    """Put requests to a sampler; return their completions by key."""
    found, deadline = {}, time.monotonic() + timeout_s
    queue = RequestQueue(sampler, None)
    queue.add(asked)
    while len(queue):
        assert time.monotonic() < deadline
        queue.submit(0)
        found |= {completion.key: completion for completion, _ in queue.step()}
    return found


def test_it_gives_what_the_engine_gives_in_this_process(engine):
    engine.wait_ready()
    assert drain(engine, requests(10)) == drain(SimulatedSampler(CONFIG, 7), requests(10))


def test_requests_may_be_made_while_it_loads(engine):
    assert len(drain(engine, requests(2))) == 2


def test_an_abort_drops_what_runs(engine):
    engine.wait_ready()
    engine.submit(requests(4, tokens=80))
    time.sleep(0.2)
    engine.abort()
    wait_until(lambda: engine.step() or engine.cancelled_tokens)
    assert engine.running_tokens == 0
    assert set(drain(engine, requests(4, first=4))) == {SegmentKey("p", index, 0) for index in range(4, 8)}


def test_what_is_cancelled_may_be_asked_for_again(engine):
    engine.wait_ready()
    queue = RequestQueue(engine, 4)
    asked = requests(4, tokens=80)
    for request in asked:
        queue.speculate(request, 1.0, 0)
    wait_until(lambda: queue.step() or queue.tokens_in_flight)
    queue.drop_speculative("p")
    assert queue.num_running == 0
    assert set(drain(engine, asked)) == {request.key for request in asked}
    assert engine.cancelled_tokens > 0 and engine.running_tokens == 0


def wait_until(is_so, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline


def test_signals_to_every_process_of_the_step_do_not_reach_it(engine):
    engine.wait_ready()
    engine.submit(requests(8, tokens=160))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGQUIT):
        for member in session_members(engine.pid):
            os.kill(member, number)
    done = []
    wait_until(lambda: len(done.extend(engine.step()) or done) == 8)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_its_death_is_noticed_and_named(engine, number):
    engine.wait_ready()
    os.kill(engine.pid, number)
    began = time.monotonic()
    with pytest.raises(EngineError, match=f"the engine was ended by {number.name}"):
        drain(engine, requests(4, tokens=160))
    assert time.monotonic() - began < 5


def test_an_idle_engines_death_is_noticed(engine):
    engine.wait_ready()
    os.kill(engine.pid, signal.SIGKILL)
    with pytest.raises(EngineError, match="SIGKILL"):
        for _ in range(100):
            engine.step()
            time.sleep(0.02)


def test_an_engine_that_hangs_is_given_up(tmp_path):
    engine = started(tmp_path, "hangs", stall_s=0.5)
    try:
        # It hangs after a number of answers that is drawn: more than ten are needed.
        with pytest.raises(EngineError, match="the engine hangs: running, and no report in 0 s|in 0.5 s|in 1 s"):
            drain(engine, requests(100))
    finally:
        engine.close()
    assert session_members(engine.pid) == []


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("aborts requests", "not whole"),
        ("answers short", "not whole"),
        ("answers twice", "was not requested"),
        ("raises", "vLLM died: ValueError: something of vLLM's own$"),
        ("fails while loading", "no such device"),
        ("sends nonsense", "an unreadable message"),
        ("dies mid-message", "SIGKILL"),
    ],
)
def test_what_is_not_a_whole_completion_is_a_fault_and_what_was_whole_before_it_is_taken(tmp_path, fault, message):
    engine = started(tmp_path, fault, stall_s=5.0)
    taken = {}
    try:
        queue = RequestQueue(engine, None)
        queue.add(requests(100))
        queue.submit(0)
        with pytest.raises(EngineError, match=message):
            while len(queue):
                taken |= {completion.key: completion for completion, _ in queue.step()}
    finally:
        engine.close()
    expected = drain(SimulatedSampler(CONFIG, 7), requests(100))
    assert taken == {key: expected[key] for key in taken}


def test_bad_input_found_while_loading_is_bad_input(tmp_path):
    code = "from pruner.errors import InputError\nfrom pruner.samplers import engine_process\n"
    code += "def refuse(spec): raise InputError(['model: no'])\nengine_process.main(refuse)"
    script = tmp_path / "engine.py"
    script.write_text(code)
    engine = ProcessSampler("the engine", None, 30.0, 60.0, (sys.executable, str(script)))
    try:
        with pytest.raises(InputError, match="model: no"):
            engine.wait_ready()
    finally:
        engine.close()


BELOW = """
import multiprocessing, sys, time
from pruner.samplers import engine_process

class Engine:
    capacity_tokens, num_running, running_tokens, cancelled_tokens = None, 1, 0, 0
    def wait_ready(self, should_stop):
        pass
    def step(self):
        time.sleep(1000)

def wait():
    time.sleep(1000)

def open_it(spec):
    process = multiprocessing.get_context("spawn").Process(target=wait)
    process.start()
    print(process.pid, file=open(spec, "w"), flush=True)
    return Engine()

if __name__ == "__main__":
    engine_process.main(open_it)
"""


@pytest.fixture
def engine_with_a_process_below(tmp_path):
    (tmp_path / "engine.py").write_text(BELOW)
    found = ProcessSampler(
        "the engine", str(tmp_path / "pid"), 30.0, 60.0, (sys.executable, str(tmp_path / "engine.py"))
    )
    found.wait_ready()
    yield found, int((tmp_path / "pid").read_text())
    found.close()
    assert session_members(found.pid) == []


def test_the_death_of_a_process_that_the_engine_started_is_noticed_though_it_waits_for_it(engine_with_a_process_below):
    engine, below = engine_with_a_process_below
    os.kill(below, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(EngineError, match="a process that vLLM had started ended"):
        drain(engine, requests(1))
    assert time.monotonic() - began < 5


def test_closing_it_ends_what_it_started(engine_with_a_process_below):
    engine, below = engine_with_a_process_below
    assert below in session_members(engine.pid)


JOB = """
import sys, time
from pruner.samplers.process import ProcessSampler
engine = ProcessSampler("the engine", sys.argv[1], 30.0, 60.0, (sys.executable, sys.argv[2]))
engine.wait_ready()
print(engine.pid, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("together", [False, True], ids=["the job alone", "the job and the engine's process"])
def test_nothing_survives_a_job_that_is_killed(tmp_path, together):
    (tmp_path / "engine.py").write_text(BELOW)
    command = [sys.executable, "-c", JOB, str(tmp_path / "pid"), str(tmp_path / "engine.py")]
    job = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)})
    leader = int(job.stdout.readline())
    assert len(session_members(leader)) == 3 and list(tmp_path.glob("pruner-engine-*"))
    job.kill()
    if together:
        os.kill(leader, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while session_members(leader) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert session_members(leader) == []
    time.sleep(0.3)
    assert list(tmp_path.glob("pruner-engine-*")) == []
    job.wait()
    job.stdout.close()


def test_long_messages_pass_and_neither_sending_nor_hearing_waits_for_an_engine_that_hangs(tmp_path):
    engine = started(tmp_path, "hangs")
    try:
        engine.wait_ready()
        long = [Request(SegmentKey("p", i, 0), TokenIds(range(1_000_000)), 8, i, 0, Decoding()) for i in range(20)]
        began = time.monotonic()
        engine.submit(long)  # 80 MB: far more than a pipe holds
        assert time.monotonic() - began < 1.0
        done = []
        wait_until(lambda: done.extend(engine.step()) or done)
        engine.submit([Request(SegmentKey("q", 0, 0), TokenIds(range(10_000_000)), 8, 0, 0, Decoding())])
        assert time.monotonic() - began < 20.0
    finally:
        engine.close()


def test_only_whole_completions_pass():
    [request] = requests(1)
    [completion] = drain(SimulatedSampler(CONFIG, 7), [request]).values()
    check_whole(request, completion)
    from dataclasses import replace

    for change in (
        {"num_tokens": 7},
        {"token_ids": completion.token_ids[:7]},
        {"finish_reason": "abort"},
        {"num_tokens": 9, "token_ids": TokenIds(range(9)), "finish_reason": "stop"},
        {"num_tokens": 0, "token_ids": TokenIds(), "finish_reason": "stop"},
        {"prompt_tokens": 4},
        {"confidence": (1.0,)},
        {"label_logprobs": (0.0, 1.0)},
    ):
        with pytest.raises(EngineError, match="not whole"):
            check_whole(request, replace(completion, **change))
    check_whole(request, replace(completion, num_tokens=3, token_ids=TokenIds(range(3)), finish_reason="stop"))


def test_a_process_is_known_by_its_start_too():
    me = process(os.getpid())
    assert me is not None and me.is_alive
    assert not type(me)(me.pid, me.started + 1).is_alive
    assert process(2**22 + 1) is None
    assert Path(f"/proc/{me.pid}").exists()
