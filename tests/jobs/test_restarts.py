"""An engine that dies in the middle of a job: the job starts it again, or says that it gave up."""

from tests.job_processes import run
from tests.live.jobs_under_test import assert_same_results, attempts

SIMULATED = ("sampler=simulated", "problems.limit=6", "budget=4", "checkpoint.every_segments=4", "run.name=run")
PATCH = """
from pruner.errors import EngineError
from pruner.samplers.simulated import SimulatedSampler, SimulatedSamplerConfig
SimulatedSamplerConfig.num_restarts = {restarts}
step, starts, steps = SimulatedSampler.step, [], []
def begin(self, config, seed, old=SimulatedSampler.__init__):
    old(self, config, seed)
    starts.append(1)
    steps.clear()
SimulatedSampler.__init__ = begin
def dying(self):
    steps.append(1)
    if len(starts) <= {deaths} and len(steps) > {after}:
        raise EngineError("the engine died")
    return step(self)
SimulatedSampler.step = dying
"""


def patch(deaths, after=5, restarts=2):
    return PATCH.format(deaths=deaths, after=after, restarts=restarts)


def test_a_job_goes_on_with_a_new_engine(tmp_path):
    assert run("run", *SIMULATED, f"run.root={tmp_path / 'whole'}").returncode == 0
    result = run("run", *SIMULATED, f"run.root={tmp_path / 'died'}", patch=patch(deaths=2))
    assert result.returncode == 0, result.stderr
    assert "warning: the engine died. It is started again (number 1); what is committed stays." in result.stderr
    assert "It is started again (number 2)" in result.stderr
    assert_same_results(tmp_path / "died", tmp_path / "whole")
    rows = attempts(tmp_path / "died")
    assert [(row["end_reason"], row["message"]) for row in rows] == [("failed", "the engine died")] * 2 + [
        ("done", None)
    ]


def test_it_gives_up_after_its_restarts_and_the_next_call_goes_on(tmp_path):
    result = run("run", *SIMULATED, f"run.root={tmp_path}", patch=patch(deaths=9))
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "error: the engine died. It was started again 2 times"
    assert len(attempts(tmp_path)) == 3
    result = run("run", *SIMULATED, f"run.root={tmp_path}")
    assert result.returncode == 0, result.stderr


def test_it_gives_up_sooner_where_a_new_engine_gets_nothing_done(tmp_path):
    result = run("run", *SIMULATED, f"run.root={tmp_path}", patch=patch(deaths=9, after=0, restarts=9))
    assert result.returncode == 1
    assert "It was started again once, the last time without getting anything done" in result.stderr
    assert len(attempts(tmp_path)) == 2


def test_a_job_that_slurm_starts_again_and_again_in_vain_ends(tmp_path):
    def requeued(count, after):
        environment = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": str(count)}
        return run(
            "run",
            *SIMULATED,
            f"run.root={tmp_path}",
            environment=environment,
            patch=patch(deaths=9, after=after, restarts=0),
        )

    assert requeued(0, after=5).returncode == 1
    for count in (1, 2, 3):
        assert "the engine died" in requeued(count, after=0).stderr
    result = requeued(4, after=0)
    assert result.returncode == 1 and "nothing was committed in the last 3 attempts of Slurm job 7" in result.stderr
    shown = run("status", str(tmp_path / "run"))
    assert "failed" in shown.stdout and "nothing was committed in the last 3 attempts" in shown.stdout
    anew = run("run", *SIMULATED, f"run.root={tmp_path}", environment={"SLURM_JOB_ID": "8"})
    assert anew.returncode == 0, anew.stderr


def test_an_allocation_of_several_nodes_is_refused(tmp_path):
    environment = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2"}
    result = run("run", *SIMULATED, f"run.root={tmp_path}", environment=environment)
    assert result.returncode == 2 and "got an allocation of 2 nodes, expected one" in result.stderr
