"""The judge's life with the real model: trained, killed, resumed, scored by two libraries, used in the main job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pruner.learning.pair_files import write_pairs
from tests.job_processes import run
from tests.jobs.test_judge import PREFIX, made_pairs
from tests.live.jobs_under_test import PROJECT, SMALL, run_job, run_live, table
from tests.unit.test_learning import pair

pytestmark = pytest.mark.live
SHIPPED = PROJECT / "conf/shipped_judges/smollm2_135m"
STEPS = (
    "trainer=generative",
    "trainer.batch_size=2",
    "trainer.save_steps=3",
    "trainer.log_steps=1",
    "trainer.lora.rank=2",
)


def train(pairs, target, *more):
    return [sys.executable, "-m", "jobs.train_judge", f"pairs=[{pairs}]", f"target={target}", *STEPS, *more]


def finish(command):
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr
    return result


def finish_training(pairs, target):
    """Train to the end, forked from a process that has imported what training needs."""
    result = run("train_judge", *train(pairs, target)[3:], imported=("transformers.trainer", "peft"))
    assert result.returncode == 0, result.stderr
    return result


def wait_for(path, process, timeout_s=300):
    deadline = time.monotonic() + timeout_s
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline, f"no {path.name}"
        time.sleep(0.05)


@pytest.fixture
def pairs_file(tmp_path):
    path = tmp_path / "pairs.parquet"
    write_pairs(made_pairs(count=2), path, json.dumps({"prefix": PREFIX, "traces": "x"}))
    return path


def test_a_training_stopped_twice_ends_with_the_same_steps_and_weights(tmp_path, pairs_file):
    """Killed after its first save, asked to stop after a later one. Sums on another buffer may differ in the last bit."""
    from safetensors.torch import load_file

    finish_training(pairs_file, tmp_path / "whole")
    resumed = []
    for number, checkpoint in ((signal.SIGKILL, 3), (signal.SIGTERM, 9)):
        process = subprocess.Popen(
            train(pairs_file, tmp_path / "stopped"), cwd=PROJECT, stderr=subprocess.PIPE, text=True
        )
        wait_for(tmp_path / f"stopped/checkpoints/checkpoint-{checkpoint}/trainer_state.json", process)
        process.send_signal(number)
        resumed.append(process.communicate(timeout=120)[1])
        assert process.returncode == (-9 if number == signal.SIGKILL else 75)
        assert not (tmp_path / "stopped/judge.json").exists()
    resumed.append(finish_training(pairs_file, tmp_path / "stopped").stderr)
    assert all("going on from checkpoint-" in text for text in resumed[1:])
    whole, stopped = (tmp_path / name for name in ("whole", "stopped"))
    steps = [pq.read_table(folder / "losses.parquet").column("step").to_pylist() for folder in (whole, stopped)]
    assert steps[0] == steps[1]
    weights = [load_file(folder / "adapter_model.safetensors") for folder in (whole, stopped)]
    assert weights[0].keys() == weights[1].keys()
    assert max(float((weights[0][key].float() - weights[1][key].float()).abs().max()) for key in weights[0]) < 1e-4
    assert not (stopped / "checkpoints").exists()


def test_two_processes_train_one_judge_and_stop_at_the_same_step(tmp_path, pairs_file):
    """With a model of two tiny layers. Only one of the two is asked to stop."""
    base = tiny_model(tmp_path / "base")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "jobs.train_judge"]
    command = [*launch, *train(pairs_file, tmp_path / "judge", f"trainer.base.path={base}")[3:]]
    process = subprocess.Popen([*command, "trainer.epochs=40"], cwd=PROJECT, stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / "judge/checkpoints/checkpoint-3/trainer_state.json", process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[1]), signal.SIGUSR1)
    said = process.communicate(timeout=300)[1]
    assert process.returncode != 0 and said.count("the same command goes on from here") == 2, said
    whole = finish([*command, f"target={tmp_path}/whole"])
    assert whole.stdout.count("judge in") == 1, whole.stdout
    single = finish([*train(pairs_file, tmp_path / "single"), f"trainer.base.path={base}"])
    assert single.stdout.count("judge in") == 1
    steps = [pq.read_table(tmp_path / name / "losses.parquet").num_rows for name in ("whole", "single")]
    assert steps[0] == -(-steps[1] // 2)


def tiny_model(folder):
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).write_bytes((PROJECT / ".cache/models/smollm2_135m" / name).read_bytes())
    shape = LlamaConfig(
        vocab_size=49152, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    LlamaForCausalLM(shape).save_pretrained(folder)
    return folder


def test_vllm_and_transformers_give_the_same_scores(tmp_path):
    """The shipped adapter on pairs made by hand: through the engine of the main job, and through peft.

    PRUNER_PAIRS=100 is the whole comparison; on a CPU, vLLM copies an adapter's weights for every token that it reads.
    """
    count = int(os.environ.get("PRUNER_PAIRS", "16"))
    ends = [f"2 + 3 = {5 + k % 4}" for k in range(count)]
    others = [end if k % 2 else f"The answer is {k}" for k, end in enumerate(ends)]
    pairs = [pair("p", k % 4, 20 + k, k % 2, (ends[k], others[k])) for k in range(count)]
    path = tmp_path / "pairs.parquet"
    write_pairs(pairs, path, json.dumps({"prefix": PREFIX, "traces": "x"}))
    engine = ("sampler.in_process=true", "sampler.kv_cache_gib=1")
    result = run_live(
        "eval_judge", f"pairs=[{path}]", f"target={tmp_path}/eval", "bootstrap=5", f"judges=[{SHIPPED}]", *engine
    )
    assert result.returncode == 0, result.stderr
    scores = pq.read_table(tmp_path / "eval/scores.parquet").to_pylist()
    found = {(row["problem_id"], row["right_trace"]): row["score_smollm2_135m"] for row in scores}
    expected = scores_by_transformers(pairs)
    gaps = [abs(found[each.problem_id, each.right_trace] - score) for each, score in zip(pairs, expected, strict=True)]
    print(f"largest difference {max(gaps):.1e}, scores from {min(expected):.3f} to {max(expected):.3f}")
    assert max(expected) - min(expected) > 0.2
    assert len(gaps) == count and max(gaps) < 1e-2


def scores_by_transformers(pairs):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from pruner.judges.card import read_card
    from pruner.judges.pair_prompt import PairPrompt
    from pruner.prompts import ChatPrompts, load_tokenizer
    from pruner.settings.model import PromptConfig

    card = read_card(SHIPPED).judge
    prompts = ChatPrompts(load_tokenizer(card.base, None, False), PromptConfig())
    prompt = PairPrompt(prompts, card.prompt, card.labels, card.system)
    model = AutoModelForCausalLM.from_pretrained(card.base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(SHIPPED)).eval()
    scores = []
    for each in pairs:
        both = []
        for left, right in ((each.left, each.right), (each.right, each.left)):
            ids = torch.tensor([prompt.encode(each.question, left, right)])
            with torch.no_grad():
                logits = model(input_ids=ids, logits_to_keep=1).logits[0, -1, list(prompt.label_token_ids)]
            both.append(logits.float().softmax(-1)[0].item())
        scores.append(sum(both) / 2)
    return scores


def test_the_main_job_prunes_by_the_shipped_adapter_and_charges_it(tmp_path):
    """On one problem; the README's command runs the lexical judge."""
    run_job(tmp_path, *SMALL, "judge=trained", f"judge.path={SHIPPED}", "problems.limit=1")
    rows = table(tmp_path, "answers").to_pylist()
    verdicts = table(tmp_path, "verdicts").to_pylist()
    assert len(rows) == 1 and verdicts and all(0.0 <= row["score"] <= 1.0 for row in verdicts)
    assert sum(row["tokens_judge_prompt"] for row in rows) > 0
    assert {row["judge"] for row in rows} == {"trained"}


def test_an_adapter_of_another_base_model_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    other = tmp_path / "other"
    other.mkdir()
    base = PROJECT / ".cache/models/smollm2_135m"
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (other / name).write_bytes((base / name).read_bytes())
    weights = load_file(base / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"] + 1
    save_file(weights, other / "model.safetensors")
    result = run_job(tmp_path, *SMALL, "judge=trained", f"judge.path={SHIPPED}", f"model.path={other}", code=2)
    assert "was trained on other weights" in result.stderr and result.stderr.count("\n") == 1


def test_the_oracle_looks_into_a_finished_run_of_the_same_traces(tmp_path, all_traces):
    """Another run's traces are refused: tests/unit/test_learning.py."""
    oracle = ("judge=oracle", f"judge.source={all_traces}/run")
    run_job(tmp_path / "deep", *SMALL, "problems.limit=3", "prefix.max_tokens=16", *oracle)
    whole = {(row["problem_id"], row["trace_index"]): row for row in table(all_traces, "traces").to_pylist()}
    for row in table(tmp_path / "deep", "traces").to_pylist():
        assert whole[row["problem_id"], row["trace_index"]]["text"].startswith(row["text"])
    verdicts = table(tmp_path / "deep", "verdicts").to_pylist()
    assert verdicts and {row["score"] for row in verdicts} <= {0.0, 1.0}
    result = run_job(tmp_path / "cut", *SMALL, "prefix.max_tokens=12", *oracle, code=2)
    assert "Set sampler.segment_tokens=12" in result.stderr and result.stderr.count("\n") == 1
