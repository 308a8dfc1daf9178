"""What a signal does at which moment, in this process; in processes of their own: tests/chaos/test_signals.py."""

import os
import signal

import pytest

from jobs import signals
from jobs.signals import StopSignals

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)


class Ended(BaseException):
    pass


@pytest.fixture(autouse=True)
def handlers(monkeypatch):
    """Handlers are put back, and what would end the process raises."""

    def ended(code):
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", ended)
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_before_a_job_begins_a_stop_ends_it_with_75(number, capfd):
    signals.end_at_once()
    with pytest.raises(Ended, match="75"):
        signal.raise_signal(number)
    assert capfd.readouterr().err == signals.message(number) + "\n"


@pytest.mark.parametrize("number", NUMBERS)
def test_a_second_signal_is_the_same_stop_until_the_moment_is_over(number, monkeypatch):
    now = 100.0
    monkeypatch.setattr(signals.time, "monotonic", lambda: now)
    stop = StopSignals()
    signal.raise_signal(number)
    now += 1.0
    signal.raise_signal(signal.SIGTERM)
    assert stop.received == number
    now += StopSignals.MOMENT_S
    with pytest.raises(Ended, match="75"):
        signal.raise_signal(signal.SIGTERM)


def test_what_stopped_one_point_of_a_sweep_stops_the_next():
    first = StopSignals()
    assert not StopSignals()
    signal.raise_signal(signal.SIGTERM)
    assert not first and StopSignals().received == signal.SIGTERM


def test_nohup_keeps_a_job_alive_when_its_terminal_is_closed():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals.end_at_once()
    stop = StopSignals()
    signal.raise_signal(signal.SIGHUP)
    assert not stop


def test_a_launcher_with_a_handler_of_its_own_hears_of_the_stop_once_all_is_committed():
    heard = []
    signal.signal(signal.SIGUSR2, lambda number, frame: heard.append(number))
    StopSignals()
    stop = StopSignals()  # the next point of a sweep
    signal.raise_signal(signal.SIGUSR2)
    assert not heard
    stop.hand_on()
    assert heard == [signal.SIGUSR2]


def test_without_a_launcher_nothing_is_handed_on():
    signals.end_at_once()
    stop = StopSignals()
    signal.raise_signal(signal.SIGUSR2)
    stop.hand_on()


def test_ctrl_c_ends_other_programs_at_once_even_while_native_code_works():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts tests in the background ignores it
    signals.begin(is_resumable=False)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_other_programs_in_the_background_of_a_script_do_not_hear_ctrl_c():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signals.begin(is_resumable=False)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
