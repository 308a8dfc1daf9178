"""sampler=server on vLLM's own server: the rows of sampler=vllm, the job killed, another model behind the same name."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from pruner.results.run_folder import RunFolder
from tests.chaos.served import KEY, Serving, assert_no_key, done_problems, start_job
from tests.documents import PROJECT
from tests.job_processes import run
from tests.live.jobs_under_test import SMALL, assert_accounting_agrees, assert_same_results, run_job, table

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]
SEGMENTS = ("sampler.segment_tokens=16", "sampler.max_running_traces=32", "problems.limit=6", "budget=6")
SERVED = ("sampler=server", "sampler.aligned=false", "sampler.cache_block_tokens=32", *SEGMENTS)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    found = Serving(tmp_path_factory.mktemp("server"), is_real=True)
    found.start()
    found.wait()
    yield found
    found.kill()


def run_served(root, server, *overrides, code=0):
    arguments = [f"run.root={root}", "run.name=run", *SERVED, f"sampler.urls=[{server.url}/v1]", *overrides]
    result = run("run", *arguments, environment={"PRUNER_API_KEY": KEY})
    assert result.returncode == code, f"exit code {result.returncode}\n{result.stdout}\n{result.stderr}"
    assert KEY not in result.stdout + result.stderr
    if code == 0:
        assert_accounting_agrees(root / "run")
    return result


@pytest.mark.parametrize(
    "method",
    [
        ("method=deepprune", "judge=llm"),
        ("method=deepconf_online", "method.warmup=4", "method.window=16"),
        ("method=worth",),
    ],
    ids=lambda method: method[0],
)
def test_a_server_gives_the_rows_of_an_engine_of_the_jobs_own(tmp_path, server, method):
    """Prefixes, labels, confidences and votes. In float32 both give the same tokens; confidences differ in the last bits with what runs beside."""
    run_job(tmp_path / "own", *SMALL, *method)
    run_served(tmp_path / "served", server, *method)
    if "deepconf" not in method[0]:
        assert_same_results(tmp_path / "own", tmp_path / "served")
    else:
        for name in ("answers", "traces"):
            for row, expected in zip(
                *(table(tmp_path / side, name).to_pylist() for side in ("own", "served")), strict=True
            ):
                own, theirs = (each.pop("confidence", None) or [] for each in (row, expected))
                assert row == expected and own == pytest.approx(theirs, rel=1e-4)
    assert_no_key(tmp_path)
    assert '"served"' in RunFolder(tmp_path / "served", "run", 0).run_json.read_text()


def test_a_judge_may_be_on_servers_of_its_own(tmp_path, server):
    method = ("method=deepprune", "judge=llm")
    run_job(tmp_path / "own", *SMALL, *method)
    beside = (*method, "judge.colocate=false", "judge.max_model_len=2048", f"judge.urls=[{server.url}]")
    run_served(tmp_path / "served", server, *beside)
    assert_same_results(tmp_path / "own", tmp_path / "served")


def test_a_killed_job_goes_on_and_another_model_is_refused(tmp_path, server):
    arguments = ("method=cons", *SERVED, f"sampler.urls=[{server.url}]")
    job = start_job(tmp_path / "cut", *arguments)
    while done_problems(tmp_path / "cut") < 2:
        assert job.poll() is None, (tmp_path / "cut/log.txt").read_text()
    job.kill()
    job.wait()
    assert start_job(tmp_path / "cut", *arguments).wait() == 0
    assert start_job(tmp_path / "whole", *arguments).wait() == 0
    assert_same_results(tmp_path / "whole", tmp_path / "cut")
    # Once more, and this time the server is another when the job comes back.
    job = start_job(tmp_path / "other", *arguments)
    while done_problems(tmp_path / "other") < 2:
        assert job.poll() is None
    job.kill()
    job.wait()
    server.kill()
    other = Serving(tmp_path, is_real=True, model=str(other_model(tmp_path / "other_model")))
    other.start()
    try:
        other.wait()
        before = (tmp_path / "other/run/run.json").read_text()
        moved = (*arguments[:-1], f"sampler.urls=[{other.url}]")
        assert start_job(tmp_path / "other", *moved).wait() == 2
    finally:
        other.kill()
    log = (tmp_path / "other/log.txt").read_text().splitlines()
    assert "sampler.urls: another model: log-probabilities of a fixed text differ by" in log[-1]
    assert (tmp_path / "other/run/run.json").read_text() == before
    assert_no_key(tmp_path / "other")


def other_model(folder):
    """Make a model of the same name, form and tokenizer with other weights."""
    shutil.copytree(PROJECT / ".cache/models/smollm2_135m", folder)
    [file] = folder.glob("*.safetensors")
    weights, source = load_file(file), torch.Generator().manual_seed(0)
    for name, values in weights.items():
        if values.dim() == 2 and "layers" in name:
            noise = 1 + 0.1 * torch.randn(values.shape, generator=source)
            weights[name] = (values.float() * noise).to(values.dtype)
    save_file(weights, file, metadata={"format": "pt"})
    return folder
