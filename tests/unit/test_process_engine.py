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
from pruner.samplers.channel import Channel, Closed, pair
from pruner.samplers.process import ProcessSampler
from pruner.samplers.simulated import SimulatedSampler, SimulatedSamplerConfig
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


def drain(sampler, timeout_s=60.0):
    found, deadline = {}, time.monotonic() + timeout_s
    while sampler.num_running:
        assert time.monotonic() < deadline
        found |= {completion.key: completion for completion in sampler.step()}
    return found


def test_it_gives_what_the_engine_gives_in_this_process(engine):
    engine.wait_ready()
    engine.submit(requests(10))
    there = drain(engine)
    here = SimulatedSampler(CONFIG, 7)
    here.submit(requests(10))
    assert there == drain(here)


def test_requests_may_be_made_while_it_loads(engine):
    engine.submit(requests(2))
    assert len(drain(engine)) == 2


def test_an_abort_drops_what_runs_and_what_is_on_its_way(engine):
    engine.submit(requests(4, tokens=80))
    time.sleep(0.5)
    engine.abort()
    assert (engine.num_running, engine.running_tokens) == (0, 0)
    engine.submit(requests(4, first=2))
    assert set(drain(engine)) == {SegmentKey("p", index, 0) for index in range(2, 6)}


def test_what_is_cancelled_does_not_come_and_may_be_asked_for_again(engine):
    engine.wait_ready()
    engine.submit(requests(4, tokens=80))
    time.sleep(0.2)
    engine.cancel([SegmentKey("p", 1, 0), SegmentKey("p", 3, 0), SegmentKey("p", 99, 0)])
    assert engine.num_running == 2
    again = [request for request in requests(4, tokens=80) if request.key.trace_index == 3]
    engine.submit(again)
    found = drain(engine)
    assert set(found) == {SegmentKey("p", index, 0) for index in (0, 2, 3)}
    assert engine.cancelled_tokens > 0 and engine.running_tokens == 0


def test_signals_to_every_process_of_the_step_do_not_reach_it(engine):
    engine.wait_ready()
    engine.submit(requests(8, tokens=160))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGQUIT):
        for member in session_members(engine.pid):
            os.kill(member, number)
    assert len(drain(engine)) == 8


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_its_death_is_noticed_and_named(engine, number):
    engine.wait_ready()
    engine.submit(requests(4, tokens=160))
    os.kill(engine.pid, number)
    began = time.monotonic()
    with pytest.raises(EngineError, match=f"the engine was ended by {number.name}"):
        drain(engine)
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
        engine.submit(requests(100))  # it hangs after a number of answers that is drawn: more than ten are needed
        with pytest.raises(EngineError, match="the engine hangs: running, and no report in 0 s|in 0.5 s|in 1 s"):
            drain(engine)
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
        engine.submit(requests(100))
        with pytest.raises(EngineError, match=message):
            while engine.num_running:
                taken |= {completion.key: completion for completion in engine.step()}
    finally:
        engine.close()
    here = SimulatedSampler(CONFIG, 7)
    here.submit(requests(100))
    expected = drain(here)
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
    engine.submit(requests(1))
    os.kill(below, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(EngineError, match="a process that vLLM had started ended"):
        drain(engine)
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


def test_a_channel_carries_long_messages_both_ways_without_blocking():
    ours, theirs = (Channel(end) for end in pair())
    long = bytes(10_000_000)
    ours.send(long)
    theirs.send(long)  # neither has read anything yet
    found = {}
    while len(found) < 2:
        for name, end in (("ours", ours), ("theirs", theirs)):
            for message in end.receive(0.01):
                found[name] = message
    assert found == {"ours": long, "theirs": long}
    ours.send("last")
    ours.close()
    assert theirs.receive(1.0) == ["last"]
    with pytest.raises(Closed):
        theirs.receive(1.0)
    theirs.send("into the void")


def test_only_whole_completions_pass():
    [request] = requests(1)
    here = SimulatedSampler(CONFIG, 7)
    here.submit([request])
    [completion] = drain(here).values()
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
