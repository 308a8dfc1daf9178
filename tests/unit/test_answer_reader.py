"""The worker that reads answers: it dies, sleeps, starts again; no answer is ever taken for another because of it."""

import json
import os
import signal
import time

import pytest

from pruner.answers.reader import AnswerReader
from pruner.answers.readings import Reading
from pruner.errors import AnswerError
from pruner.records.traces import FinalAnswer, TraceKey


def key(index=0):
    return TraceKey("p", index)


def read_all(reader, *readings):
    for reading in readings:
        reader.submit(reading)
    found = {}
    deadline = time.monotonic() + 120
    while len(found) < len(readings) and time.monotonic() < deadline:
        found.update({read.key: read.answer for read in reader.take()})
        reader.wait(0.2)
    return [found[reading.key] for reading in readings]


@pytest.fixture(scope="module")
def reader():
    with AnswerReader("math", [r"answer is (\S+)\."], 2.0) as reader:
        yield reader


def test_texts_and_answers_are_read_keyed_and_graded(reader):
    found = read_all(
        reader,
        Reading(key(0), text=r"so \boxed{\frac{1}{2}}", gold="0.5"),
        Reading(key(1), text="the answer is x+1.", gold="1+x"),
        Reading(key(2), text="nothing", gold="5"),
        Reading(key(3), answer="7", gold="8"),
        Reading(key(4), answer="listen", gold="silent"),
        Reading(key(5), answer=r"\sqrt{12}"),
    )
    assert found[0] == FinalAnswer(r"\frac{1}{2}", "1/2", 1)
    assert found[1] == FinalAnswer("x+1", found[1].key, 1)
    assert found[2] is None
    assert found[3] == FinalAnswer("7", "7", 0)
    assert found[4].correct == 0
    assert found[5].correct is None and found[5].key.startswith("3.4641016151")


def test_plain_answers_start_no_worker():
    reader = AnswerReader("math")
    for index, answer in enumerate(("3", "-12", "3")):
        reader.submit(Reading(key(index), text=f"\\boxed{{{answer}}}", gold="3"))
    assert [read.answer.correct for read in reader.take()] == [1, 0, 1]
    assert reader._worker is None and reader.num_waiting == 0


def test_grading_that_never_ends_is_wrong_and_the_next_one_works(reader):
    tower, sum_ = read_all(
        reader, Reading(key(0), answer="9^{9^{9^{9}}}", gold="9^{9^{9^{8}}}"), Reading(key(1), answer="x+2", gold="2+x")
    )
    assert tower.correct == 0 and sum_.correct == 1


def test_a_worker_that_was_killed_is_started_again_and_asked_again():
    with AnswerReader("math") as reader:
        read_all(reader, Reading(key(0), answer="x+1", gold="1+x"))
        worker = reader._worker._process
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        (found,) = read_all(reader, Reading(key(1), answer="x+3", gold="3+x"))
        assert found.correct == 1 and reader._worker._process.pid != worker.pid


def test_a_worker_that_keeps_dying_ends_the_job_and_never_means_not_equal(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setattr("pruner.answers.reader.sys.executable", "/bin/false")
    reader = AnswerReader("math")
    reader.submit(Reading(key(), answer="x+1", gold="1+x"))
    with pytest.raises(AnswerError, match=r"died 3 times in a row at 'x\+1'"):
        for _ in range(100):
            reader.take()
            reader.wait(0.2)
    reader.close()


def test_a_worker_that_is_stopped_does_not_block_the_loop(reader):
    read_all(reader, Reading(key(0), answer="x+1", gold="1+x"))
    pid = reader._worker._process.pid
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    long_text = "x" * 200_000
    for index in range(200):
        reader.submit(Reading(key(index), text=f"{long_text} \\boxed{{{index}.5}}", gold="1"))
        reader.take()
    assert time.monotonic() - started < 30.0
    assert reader.num_waiting == 200
    os.kill(pid, signal.SIGCONT)
    found = {}
    while reader.num_waiting:
        reader.wait(0.2)
        found.update({read.key.trace_index: read.answer.key for read in reader.take()})
    assert found == {index: f"{2 * index + 1}/2" for index in range(200)}


def test_options_are_read_by_their_letter():
    with AnswerReader("choice") as reader:
        found = read_all(reader, Reading(key(0), answer="(B)", gold="B. Paris"), Reading(key(1), answer="A", gold="B"))
    assert [(each.key, each.correct) for each in found] == [("B", 1), ("A", 0)]


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="expected one of choice, exact, math, number"):
        AnswerReader("words")


def test_surrogates_and_control_characters_pass(reader):
    (found,) = read_all(reader, Reading(key(), answer="\ud800\x00\u2028é", gold="5"))
    assert found.text == json.loads(json.dumps("\ud800\x00\u2028é")) and found.correct == 0


def test_grading_that_ends_the_worker_by_its_limit_is_wrong_and_does_not_end_the_job(monkeypatch):
    """A regular expression that never ends sees no signal handler: the kernel ends the worker, which is the limit at work."""
    with AnswerReader("math", (), 0.5) as reader:
        read_all(reader, Reading(key(0), answer="x+1", gold="1+x"))
        reader.submit(Reading(key(1), answer="x+4", gold="4+x"))
        os.kill(reader._worker._process.pid, signal.SIGVTALRM)
        found = {}
        while reader.num_waiting:
            reader.wait(0.2)
            found.update({read.key: read.answer for read in reader.take()})
    assert found[key(1)].correct in (0, 1) and found[key(1)].key.startswith("f:")
