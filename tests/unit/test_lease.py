import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from pruner import lease
from pruner.errors import CheckpointError, InputError
from pruner.lease import Lease, is_live, read_holder, this_holder


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
        "import sys, time; from pathlib import Path; from pruner.lease import Lease, this_holder\n"
        "with Lease(Path(sys.argv[1]), this_holder('5')).take(0): print('held', flush=True); time.sleep(1)"
    )
    with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True) as first:
        first.stdout.readline()
        with Lease(path, this_holder(None)).take(30):
            pass
    assert f"pid {first.pid}, Slurm job 5" in capsys.readouterr().err


def test_a_lease_of_a_dead_process_of_this_machine_is_taken_over_at_once(path):
    script = (
        "import os, sys; from pathlib import Path; from pruner.lease import Lease, this_holder\n"
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


def test_a_live_lease_that_came_in_between_is_put_back(path):
    dead = replace(this_holder(None), token="dead")
    with Lease(path, this_holder(None)).take(0) as held:
        other = Lease(path, this_holder(None))
        other._clear(dead)
        held.check()


def test_only_one_of_many_gets_it(path):
    script = (
        "import sys, time; from pathlib import Path; from pruner.lease import Lease, this_holder\n"
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
