"""The main job with the real engine, the default model and the demo set."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time

import duckdb
import pyarrow.parquet as pq
import pytest

from tests.live.jobs_under_test import (
    DEMO_COMMANDS,
    DEMO_PROBLEMS,
    JUDGED,
    SMALL,
    assert_same_results,
    attempts,
    run_job,
    start_job,
    table,
    wait_for_segments,
)

pytestmark = pytest.mark.live


def test_a_job_that_is_killed_stopped_and_killed_ends_with_the_same_rows(uninterrupted, tmp_path):
    # Few at once, so that traces do not end their segments in step and something is always under way.
    overrides = (*SMALL, "checkpoint.every_segments=3", "checkpoint.every_s=0.3", "sampler.max_running_traces=8")
    draw = random.Random(1)
    committed = set()
    total = len(read_segments(uninterrupted))
    for part, number in enumerate((signal.SIGKILL, signal.SIGTERM, signal.SIGKILL), start=1):
        process = start_job(tmp_path, *overrides)
        wait_for_segments(tmp_path, total * part // 5, process)
        time.sleep(draw.random() / 2)
        process.send_signal(number)
        assert process.wait(timeout=60) == (75 if number == signal.SIGTERM else -signal.SIGKILL)
        now = read_segments(tmp_path)
        assert committed <= now, "a committed segment is gone"
        committed = now
    run_job(tmp_path, *overrides)
    assert_same_results(tmp_path, uninterrupted)
    final = read_segments(tmp_path)
    assert committed <= final, "a committed segment was sampled again"
    assert len({key for key, _, _ in final}) == len(final)
    rows = attempts(tmp_path)
    assert [row["end_reason"] for row in rows] == ["killed", "interrupted", "killed", "done"]
    assert sum(row["segments"] or 0 for row in rows) == total and rows[1]["discarded_tokens"] >= 0
    assert "nothing to do" in run_job(tmp_path, *overrides).stderr and len(attempts(tmp_path)) == 4
    # The checkpoint's whole content is derived again from the facts, and nothing changes.
    run_job(tmp_path, *overrides, "checkpoint.rederive=true")
    assert_same_results(tmp_path, uninterrupted)


def read_segments(root):
    """Return ((problem, trace, segment), tokens, attempt) of all committed segments."""
    with duckdb.connect(str(root / "run/checkpoint/shard=0000.duckdb")) as connection:
        rows = connection.execute(
            "SELECT problem_id, trace_index, segment_index, token_ids, attempt FROM segments"
        ).fetchall()
    return {((p, t, s), tuple(ids), attempt) for p, t, s, ids, attempt in rows}


def test_voting_beats_a_single_trace_and_pruning_saves_tokens(demo_project):
    """With the README's two commands; what they have done already is skipped."""
    for command in DEMO_COMMANDS.values():
        subprocess.run(["bash", "-euc", command], cwd=demo_project, check=True, capture_output=True)
    cons, pruned = (
        pq.read_table(demo_project / "outputs" / name / "answers/shard=0000.parquet").to_pylist()
        for name in ("method=cons", "default")
    )
    accuracy = sum(row["correct"] for row in cons) / len(cons)
    single = sum(row["single_accuracy"] for row in cons) / len(cons)
    print(f"cons: vote {accuracy:.1%}, mean single trace {single:.1%}")
    assert accuracy > single + 0.05
    assert all(row["traces_finished"] == 16 and row["tokens_prefix"] == 0 for row in cons)
    assert [row["problem_id"] for row in pruned] == [row["problem_id"] for row in cons] and len(cons) == DEMO_PROBLEMS
    assert all(row["status"] != "failed" and row["votes_total"] > 0 and row["tokens_sampled"] > 0 for row in cons)
    net = sum(row["tokens_net"] for row in cons)
    with_probes = sum(row["tokens_sampled"] + row["tokens_judge_output"] for row in pruned)
    print(f"tokens: cons {net:.0f}, worth {with_probes}, {sum(r['tokens_net'] for r in pruned):.0f} net")
    assert with_probes < net and sum(row["tokens_net"] for row in pruned) < net
    with duckdb.connect() as connection:
        connection.execute(
            (demo_project / "outputs/views.sql").read_text().replace("'outputs/", f"'{demo_project}/outputs/")
        )
        query = "SELECT method, avg(correct), sum(tokens_net) FROM answers WHERE run = 'method=cons' GROUP BY 1"
        ((method, average, tokens),) = connection.execute(query).fetchall()
    assert (method, tokens) == ("cons", net) and average == pytest.approx(accuracy)


def test_a_generative_judge_scores_pairs_alike_on_the_samplers_engine_and_on_its_own(judged, judged_apart):
    rows = judged_rows(judged)
    for row, other in zip(rows, table(judged_apart, "verdicts").to_pylist(), strict=True):
        assert row["score"] == pytest.approx(other["score"], abs=1e-4)


def test_a_generative_judge_reads_prefixes_that_end_at_a_reasoning_word(tmp_path):
    words = ("prefix=reasoning_words", "prefix.count=2", "prefix.max_tokens=24")
    run_job(tmp_path, *SMALL, *JUDGED, *words, "problems.limit=2", "method.k1=2")
    judged_rows(tmp_path)


def judged_rows(root):
    """Return a run's verdicts, each with its cost, which its answers add up."""
    rows = table(root, "verdicts").to_pylist()
    assert rows and all(0.0 <= row["score"] <= 1.0 for row in rows)
    assert all(row["prompt_tokens"] > row["head_tokens"] > 0 and row["output_tokens"] == 1 for row in rows)
    answers = table(root, "answers").to_pylist()
    assert sum(row["judge_verdicts"] for row in answers) == len(rows)
    assert sum(row["tokens_judge_prompt"] for row in answers) == sum(row["prompt_tokens"] for row in rows)
    return rows


def write_adapter(folder, scale):
    """Write a LoRA adapter for the first layer's queries; with scale 0 it changes nothing."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    weights = {
        name.format("A"): torch.randn(8, 576, generator=generator),
        name.format("B"): scale * torch.randn(576, 8, generator=generator),
    }
    save_file(weights, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 8, "lora_alpha": 8, "target_modules": ["q_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_an_adapter_on_the_samplers_engine_judges_and_leaves_the_traces_alone(tmp_path):
    overrides = (*SMALL, "problems.limit=1", "budget=4", "judge=llm", "method.k1=1", "method.tau=1.0", "method.k=1")
    scores, traces = {}, {}
    for scale in (0.0, 3.0):
        root = tmp_path / f"scale{scale}"
        root.mkdir()
        run_job(root, *overrides, f"judge.adapter={write_adapter(root / 'adapter', scale)}", "judge.max_lora_rank=8")
        scores[scale] = {(r["left_trace"], r["right_trace"]): r["score"] for r in table(root, "verdicts").to_pylist()}
        traces[scale] = [(r["trace_index"], r["text"]) for r in table(root, "traces").to_pylist()]
    assert scores[0.0].keys() == scores[3.0].keys() and scores[0.0] != scores[3.0]
    assert traces[0.0] == traces[3.0]
