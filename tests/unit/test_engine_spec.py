"""What an engine would be started with; starting it is tested in tests/live."""

from dataclasses import replace

import pytest

from jobs.compose import main_config
from pruner.errors import InputError
from pruner.samplers.vllm import EngineOptions, EngineSpec, engine_arguments, environment, visible_devices
from pruner.samplers.vllm_engines import split_gpus
from pruner.settings.model import EngineModel
from pruner.shard.inputs import sampler_context

OPTIONS = EngineOptions(max_running_traces=64, exact=True, cache_block_tokens=32)
MODEL = EngineModel(path="m", dtype="bfloat16", max_model_len=4096, tensor_parallel_size=2, gpu_memory_utilization=0.8)
SPEC = EngineSpec(MODEL, OPTIONS)


def with_options(**changes):
    return replace(SPEC, options=OPTIONS.model_copy(update=changes))


def test_exact_means_float32_on_a_cpu_and_invariant_kernels_on_a_gpu():
    assert engine_arguments(SPEC, has_gpu=False)["dtype"] == "float32"
    assert engine_arguments(SPEC, has_gpu=True)["dtype"] == "bfloat16"
    assert environment(SPEC, has_gpu=True)["VLLM_BATCH_INVARIANT"] == "1"
    fast = with_options(exact=False)
    assert engine_arguments(fast, has_gpu=False)["dtype"] == "bfloat16"
    assert environment(fast, has_gpu=True)["VLLM_BATCH_INVARIANT"] == "0"


def test_prompts_are_never_prefilled_in_parts_on_a_cpu():
    arguments = engine_arguments(SPEC, has_gpu=False)
    assert arguments["enable_chunked_prefill"] is False
    assert arguments["max_num_batched_tokens"] >= arguments["max_model_len"]


def test_the_engine_core_has_a_process_of_its_own_on_a_gpu_only():
    assert environment(SPEC, has_gpu=False)["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert environment(SPEC, has_gpu=True)["VLLM_ENABLE_V1_MULTIPROCESSING"] == "1"
    assert environment(with_options(core_process=False), has_gpu=True)["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"


def test_an_allocation_is_split_between_sampler_and_judge():
    assert split_gpus(4, 2, None, None, 1.8) == ((0, 1, 2), (3,))
    assert split_gpus(4, 2, None, (0,), 1.8) == ((1, 2, 3), (0,))
    assert split_gpus(4, 2, (2, 3), None, 1.8) == ((2, 3), (1,))
    assert split_gpus(0, 2, None, None, 1.8) == (None, None)
    for arguments in ((1, 1, None, None), (2, 2, None, None), (2, 1, (0,), (0,)), (1, 1, (0,), None)):
        with pytest.raises(InputError, match="judge.colocate=true"):
            split_gpus(*arguments, 1.8)


def test_sampler_and_judge_share_a_card_where_its_memory_holds_both():
    assert split_gpus(1, 1, (0,), (0,), 0.95) == ((0,), (0,))
    with pytest.raises(InputError, match="at most 1 together"):
        split_gpus(1, 1, (0,), (0,), 1.05)


def planned(monkeypatch, gpus, *overrides):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    config = main_config(["model=deepseek_8b", "method=deepprune", "dry_run=true", *overrides])
    return config.sampler.plan(sampler_context(config))


def test_a_plan_says_every_engine_its_process_and_its_cards(monkeypatch):
    found = planned(monkeypatch, "4,5,6", "judge=llm", "judge.colocate=false", "model.tensor_parallel_size=2")
    assert found["sampler"]["environment"]["CUDA_VISIBLE_DEVICES"] == "4,5"
    assert found["judge"]["environment"]["CUDA_VISIBLE_DEVICES"] == "6"
    assert found["sampler"]["process"] == "a child process, the engine in a process below it, 2 workers below that"
    assert found["judge"]["process"] == "a child process, the engine in a process below it"
    assert found["sampler"]["environment"]["VLLM_BATCH_INVARIANT"] == "0"
    exact = planned(monkeypatch, "4", "sampler.exact=true")["sampler"]
    assert exact["environment"]["VLLM_BATCH_INVARIANT"] == "1" and exact["arguments"]["max_num_seqs"] == 256


def test_a_colocated_judge_starts_no_engine_but_its_adapter_is_loaded(monkeypatch):
    assert set(planned(monkeypatch, "0", "judge=llm")) == {"sampler"}
    found = planned(monkeypatch, "0", "judge=llm", "judge.adapter=some/adapter", "judge.max_lora_rank=32")
    assert found["sampler"]["arguments"]["enable_lora"] is True
    assert found["sampler"]["arguments"]["max_lora_rank"] == 32


def test_two_engines_on_one_card_split_its_memory(monkeypatch):
    shares = ("model.gpu_memory_utilization=0.6", "judge.gpu_memory_utilization=0.3")
    found = planned(
        monkeypatch, "7", "judge=llm", "judge.colocate=false", "sampler.gpus=[0]", "judge.gpus=[0]", *shares
    )
    assert [found[name]["arguments"]["gpu_memory_utilization"] for name in ("sampler", "judge")] == [0.6, 0.3]
    assert {found[name]["environment"]["CUDA_VISIBLE_DEVICES"] for name in found} == {"7"}


def test_gpus_are_numbered_within_the_allocation():
    assert visible_devices([0, 2], "4,5,6,7") == "4,6"
    assert visible_devices([1], None) == "1"
    with pytest.raises(InputError, match="has only 2"):
        visible_devices([2], "0,1")


def test_an_adapter_switches_lora_on():
    assert "enable_lora" not in engine_arguments(SPEC, has_gpu=False)
    assert engine_arguments(replace(SPEC, adapter="a"), has_gpu=False)["enable_lora"] is True
