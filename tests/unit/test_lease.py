import errno
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from pruner.checkpoint import lease
from pruner.checkpoint.lease import Lease, is_live, read_holder, this_holder
from pruner.errors import CheckpointError, InputError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lease" / "shard=0000.json"


def test_a_lease_is_held_once_and_free_after_release(path):
    with Lease(path, this_holder("7_1")).take(0) as held:
        with pytest.raises(InputError, match=rf"host .*, pid {os.getpid()}, Slurm job 7_1 works on it"):
            Lease(path, this_holder(None)).take(0)
        held.check()
    assert not list(path.parent.iterdir())
    Lease(path, this_holder(None)).take(0).release()


def test_the_second_waits_for_the_first(path, capsys):
    script = (
        "import sys, time; from pathlib import Path; from pruner.checkpoint.lease import Lease, this_holder\n"
        "with Lease(Path(sys.argv[1]), this_holder('5')).take(0): print('held', flush=True); time.sleep(1)"
    )
    with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True) as first:
        first.stdout.readline()
        with Lease(path, this_holder(None)).take(30):
            pass
    assert f"pid {first.pid}, Slurm job 5" in capsys.readouterr().err


def test_a_lease_of_a_dead_process_of_this_machine_is_taken_over_at_once(path):
    script = (
        "import os, sys; from pathlib import Path; from pruner.checkpoint.lease import Lease, this_holder\n"
        "Lease(Path(sys.argv[1]), this_holder(None)).take(0); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", script, path]).returncode == 9
    assert read_holder(path) is not None
    Lease(path, this_holder(None)).take(0).release()


def test_a_reused_pid_is_not_its_holder(path):
    Lease(path, replace(this_holder(None), started=1)).take(0)
    Lease(path, this_holder(None)).take(0).release()


def test_elsewhere_a_holder_lives_while_it_touches_its_lease(path):
    held = Lease(path, replace(this_holder(None), machine="another", host="far")).take(0)
    with pytest.raises(InputError, match="host far"):
        Lease(path, this_holder(None)).take(0)
    old = time.time() - lease.STALE_S - 1
    os.utime(path, (old, old))
    assert not is_live(path, read_holder(path))
    with Lease(path, this_holder(None)).take(0):
        with pytest.raises(CheckpointError, match="stood still for too long"):
            held.check()
        held.release()
        assert read_holder(path) is not None, "a lost lease was released for its new holder"


def test_a_damaged_lease_does_not_block(path):
    path.parent.mkdir()
    path.write_text("{")
    Lease(path, this_holder(None)).take(0).release()


def test_who_finds_a_dead_holder_that_another_has_taken_over_from_meanwhile_gets_nothing(path):
    dead = replace(this_holder(None), started=1)
    Lease(path, dead).take(0)
    found = read_holder(path)
    with Lease(path, this_holder(None)).take(0) as held:
        late = Lease(path, this_holder(None))
        assert not late._inherit([found], late._holder)
        held.check()
        assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_of_two_nodes_that_find_a_dead_holder_the_second_waits_though_the_first_has_only_begun_to_take_over(path):
    Lease(path, replace(this_holder(None), machine="dead")).take(0)
    old = time.time() - lease.STALE_S - 1
    os.utime(path, (old, old))
    found = read_holder(path)
    first = Lease(path, replace(this_holder(None), machine="first", host="first"))
    assert first._inherit([found], first._holder)
    with pytest.raises(InputError, match="host first"):
        Lease(path, replace(this_holder(None), machine="second")).take(0)
    first._replace([found])
    first.check()


def test_a_holder_that_was_killed_while_it_took_over_or_released_does_not_block(path):
    for killed_while in ("taking over", "releasing"):
        Lease(path, replace(this_holder(None), started=1)).take(0)
        found = read_holder(path)
        own = replace(this_holder(None), started=2)
        killed = Lease(path, own)
        assert killed._inherit([found], killed._holder if killed_while == "taking over" else replace(own, token="end"))
        with Lease(path, this_holder(None)).take(0) as held:
            held.check()
        assert not list(path.parent.iterdir())


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO])
def test_a_read_error_that_passes_does_not_end_the_lease(path, monkeypatch, number):
    monkeypatch.setattr(lease, "_READ_POLL_S", 0.001)
    with Lease(path, this_holder(None)).take(0) as held:
        failing(monkeypatch, number, times=3)
        held.check()
        failing(monkeypatch, number, times=3)
        with pytest.raises(InputError, match=f"pid {os.getpid()} works on it"):
            Lease(path, this_holder(None)).take(0)
        failing(monkeypatch, number, times=3)
    assert not path.exists()


def test_a_read_error_that_stays_is_said_to_be_one(path, monkeypatch):
    monkeypatch.setattr(lease, "_READ_POLL_S", 0.001)
    monkeypatch.setattr(lease, "_READ_AGAIN_S", 0.01)
    with Lease(path, this_holder(None)).take(0) as held:
        failing(monkeypatch, errno.EIO, times=10**6)
        with pytest.raises(CheckpointError, match=r"cannot be read \(Input/output error\)") as caught:
            held.check()
        assert "stood still" not in str(caught.value) and "nobody" not in str(caught.value)
        assert read_holder(path) is None, "who only looks does not wait"


def failing(monkeypatch, number, times):
    """Let reading the lease fail so many times."""
    left = [times]
    real = open

    def opened(*given, **named):
        if left[0] > 0:
            left[0] -= 1
            raise OSError(number, os.strerror(number))
        return real(*given, **named)

    monkeypatch.setattr(lease, "open", opened, raising=False)


def test_a_lease_whose_file_or_folder_is_gone_is_not_said_to_have_stood_still(path):
    held = Lease(path, this_holder(None)).take(0)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"its lease .*shard=0000\.json is gone"):
        held.check()
    path.write_text("{")
    with pytest.raises(CheckpointError, match="is damaged"):
        held.check()
    shutil.rmtree(path.parent)
    with pytest.raises(CheckpointError, match=r"the folder .*lease is gone") as caught:
        held.check()
    assert "stood still" not in str(caught.value)
    held.release()


def test_only_one_of_many_gets_it(path):
    script = (
        "import sys, time; from pathlib import Path; from pruner.checkpoint.lease import Lease, this_holder\n"
        "from pruner.errors import InputError\n"
        "try:\n"
        "  with Lease(Path(sys.argv[1]), this_holder(None)).take(0): print('held', flush=True); time.sleep(3)\n"
        "except InputError: print('refused', flush=True)\n"
    )
    Lease(path, replace(this_holder(None), started=1)).take(0)
    racers = [
        subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True) for _ in range(6)
    ]
    said = [racer.communicate()[0].strip() for racer in racers]
    assert said.count("held") == 1 and said.count("refused") == 5
