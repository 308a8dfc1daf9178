"""What an engine would be started with; starting it is tested in tests/live."""

from dataclasses import replace

import pytest

from jobs.parts import split_gpus
from pruner.errors import InputError
from pruner.samplers.vllm import EngineSpec, engine_arguments, environment, visible_devices

SPEC = EngineSpec("m", None, "bfloat16", 4096, 2, 0.8, False, 64, True)


def test_exact_means_float32_on_a_cpu_and_invariant_kernels_on_a_gpu():
    assert engine_arguments(SPEC, has_gpu=False)["dtype"] == "float32"
    assert engine_arguments(SPEC, has_gpu=True)["dtype"] == "bfloat16"
    assert environment(SPEC, has_gpu=True)["VLLM_BATCH_INVARIANT"] == "1"
    fast = replace(SPEC, is_exact=False)
    assert engine_arguments(fast, has_gpu=False)["dtype"] == "bfloat16"
    assert environment(fast, has_gpu=True)["VLLM_BATCH_INVARIANT"] == "0"


def test_prompts_are_never_prefilled_in_parts_on_a_cpu():
    arguments = engine_arguments(SPEC, has_gpu=False)
    assert arguments["enable_chunked_prefill"] is False
    assert arguments["max_num_batched_tokens"] >= arguments["max_model_len"]


def test_the_engine_is_in_process_on_a_cpu_only():
    assert environment(SPEC, has_gpu=False)["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert environment(SPEC, has_gpu=True)["VLLM_ENABLE_V1_MULTIPROCESSING"] == "1"
    assert environment(replace(SPEC, is_in_process=True), has_gpu=True)["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"


def test_an_allocation_is_split_between_sampler_and_judge():
    assert split_gpus(4, 2, None, None) == ((0, 1, 2), (3,))
    assert split_gpus(4, 2, None, (0,)) == ((1, 2, 3), (0,))
    assert split_gpus(4, 2, (2, 3), None) == ((2, 3), (1,))
    assert split_gpus(0, 2, None, None) == (None, None)
    for arguments in ((1, 1, None, None), (2, 2, None, None), (2, 1, (0,), (0,)), (1, 1, (0,), None)):
        with pytest.raises(InputError, match="judge.colocate=true"):
            split_gpus(*arguments)


def test_gpus_are_numbered_within_the_allocation():
    assert visible_devices([0, 2], "4,5,6,7") == "4,6"
    assert visible_devices([1], None) == "1"
    with pytest.raises(InputError, match="has only 2"):
        visible_devices([2], "0,1")


def test_an_adapter_switches_lora_on():
    assert "enable_lora" not in engine_arguments(SPEC, has_gpu=False)
    assert engine_arguments(replace(SPEC, adapter="a"), has_gpu=False)["enable_lora"] is True
