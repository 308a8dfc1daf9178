"""first_k_equal in a simulated run and in its replay."""

import pyarrow.parquet as pq

from tests.job_processes import run
from tests.jobs.test_run import SIMULATED

COLUMNS = ("problem_id", "answer", "vote_counts", "traces_started", "tokens_sampled", "tokens_net")


def answers(root, name, *overrides):
    own = ("method=first_k_equal", "method.k=2", "method.wave=2")
    chosen = overrides if "method=cons" in overrides else (*overrides, *own)
    result = run("run", f"run.root={root}", f"run.name={name}", *chosen)
    assert result.returncode == 0, result.stderr
    return pq.read_table(root / name / "answers/shard=0000.parquet").select(list(COLUMNS)).to_pylist()


def test_it_answers_the_same_when_it_samples_and_when_it_replays(tmp_path):
    cons = answers(tmp_path, "cons", *SIMULATED, "method=cons")
    sampled = answers(tmp_path, "sampled", *SIMULATED)
    replayed = answers(tmp_path, "replayed", "sampler=replay", "budget=6", f"sampler.source={tmp_path}/cons")
    assert sampled == replayed
    assert {row["traces_started"] for row in sampled} <= {2, 4, 6}
    assert sum(row["tokens_sampled"] for row in sampled) < sum(row["tokens_sampled"] for row in cons)
