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
from tests.live.jobs_under_test import JUDGED, SMALL, assert_accounting_agrees, assert_same_results, run_job, table

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


def test_a_server_gives_the_rows_of_an_engine_of_the_jobs_own(tmp_path, server, judged):
    """Prefixes, labels and votes: in float32 both give the same tokens."""
    run_served(tmp_path, server, *JUDGED)
    assert_same_results(judged, tmp_path)
    assert_no_key(tmp_path)
    assert '"served"' in RunFolder(tmp_path, "run", 0).run_json.read_text()


def test_a_judge_may_be_on_servers_of_its_own(tmp_path, server, judged):
    beside = ("judge.colocate=false", "judge.max_model_len=2048", f"judge.urls=[{server.url}]")
    run_served(tmp_path, server, *JUDGED, *beside)
    assert_same_results(judged, tmp_path)


def test_confidences_differ_in_the_last_bits_alone(tmp_path, server):
    """They do with what else is in a batch, on any engine; tokens do not. Two traces of the same tokens may change places by that."""
    method = ("method=deepconf_offline", "method.window=16")
    run_job(tmp_path / "own", *SMALL, *method)
    run_served(tmp_path / "served", server, *method)
    sides = (table(tmp_path / side, "traces").to_pylist() for side in ("own", "served"))
    for row, expected in zip(*sides, strict=True):
        same = ("problem_id", "trace_index", "text", "answer", "tokens_sampled", "finish_reason", "status")
        assert {name: row[name] for name in same} == {name: expected[name] for name in same}
        assert row["confidence"] == pytest.approx(expected["confidence"], rel=1e-4)


def test_a_killed_job_goes_on_and_another_model_is_refused(tmp_path, server, all_traces):
    arguments = ("method=cons", "results.token_ids=true", *SERVED, f"sampler.urls=[{server.url}]")
    job = start_job(tmp_path / "cut", *arguments)
    while done_problems(tmp_path / "cut") < 2:
        assert job.poll() is None, (tmp_path / "cut/log.txt").read_text()
    job.kill()
    job.wait()
    other = Serving(tmp_path, is_real=True, model=str(other_model(tmp_path / "other_model")))
    other.start()
    try:
        other.wait()
        before = (tmp_path / "cut/run/run.json").read_text()
        assert start_job(tmp_path / "cut", *arguments[:-1], f"sampler.urls=[{other.url}]").wait() == 2
    finally:
        other.kill()
    log = (tmp_path / "cut/log.txt").read_text().splitlines()
    assert "sampler.urls: another model: log-probabilities of a fixed text differ by" in log[-1]
    assert (tmp_path / "cut/run/run.json").read_text() == before
    assert start_job(tmp_path / "cut", *arguments).wait() == 0
    assert_same_results(all_traces, tmp_path / "cut")
    assert_no_key(tmp_path / "cut")


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
