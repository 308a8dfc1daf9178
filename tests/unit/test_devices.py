"""What this machine has and what is refused there. There is no GPU here: nvidia-smi is a script, torch is asked nothing."""

import pytest

from pruner.errors import InputError
from pruner.samplers import devices, vllm_engines
from pruner.samplers.base import SamplerContext
from pruner.samplers.vllm import environment
from tests.composed import config
from tests.unit.test_engine_spec import SPEC


@pytest.fixture
def a_card(tmp_path, monkeypatch):
    """nvidia-smi that lists a card, with a driver that a test may set."""

    def there(driver="580.65.06"):
        script = tmp_path / "nvidia-smi"
        script.write_text(f'#!/bin/sh\necho "NVIDIA H100 80GB HBM3, {driver}, 81559"\n')
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return there


def test_cards_are_read_and_hidden_ones_are_not(a_card, monkeypatch):
    a_card()
    assert devices.visible_cards() == [devices.Card("NVIDIA H100 80GB HBM3", "580.65.06", 81559)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices.visible_cards() == []


def test_a_card_beside_a_torch_without_cuda_is_refused_with_the_mend(a_card):
    a_card()
    with pytest.raises(
        InputError, match=r"NVIDIA H100 80GB HBM3 is visible, but torch .* without CUDA.*PRUNER_ENGINE=cuda"
    ):
        devices.check_build()


def test_a_driver_that_is_too_old_is_named(a_card, monkeypatch):
    import torch

    a_card("535.104")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(InputError, match=r"Driver 535.104 is older than 580, which CUDA 13.0 needs"):
        devices.check_build()


def test_a_sampler_is_refused_before_anything_is_loaded(a_card):
    a_card()
    parsed = config()
    with pytest.raises(InputError, match="without CUDA"):
        parsed.sampler.check(SamplerContext(0, parsed.model))


def test_what_the_config_leaves_open_is_what_fits_the_machine(monkeypatch):
    def resolved(gpus):
        monkeypatch.setattr(vllm_engines, "num_devices", lambda: gpus)
        found = config()
        sampler = found.sampler
        values = (sampler.exact, sampler.segment_tokens, sampler.max_running_traces, sampler.align_tokens)
        return *values, found.speculate.ahead

    assert resolved(0) == (True, 256, 64, None, 0)
    assert resolved(1) == (False, 1024, 256, 32, 7)
    monkeypatch.setattr(vllm_engines, "num_devices", lambda: 1)
    chosen = config("sampler.exact=true", "sampler.segment_tokens=64").sampler
    assert (chosen.exact, chosen.segment_tokens) == (True, 64)
    assert config("speculate.ahead=3").speculate.ahead == 3
    assert config("accounting.price_per_million_tokens=2").speculate.ahead == 0, "paid by the token"


def test_exactness_on_a_gpu_belongs_to_its_card_and_vllm(monkeypatch):
    monkeypatch.setattr(vllm_engines, "num_devices", lambda: 1)
    monkeypatch.setattr(vllm_engines, "exact_setting", lambda: {"card": "H100", "vllm": "0.33.0"})
    monkeypatch.setattr(vllm_engines, "path_fingerprint", lambda path, revision: "weights")
    parsed = config()
    context = SamplerContext(0, parsed.model)
    assert parsed.sampler.fingerprints(context) == {"model": "weights"}
    exact = parsed.sampler.model_copy(update={"exact": True})
    assert exact.fingerprints(context) == {"model": "weights", "card": "H100", "vllm": "0.33.0"}


def test_models_that_cannot_be_exact_are_refused_and_an_old_vllm_is_doubted(monkeypatch):
    fault, _ = devices.exact_faults("gpt_oss")
    assert fault is not None and "not exact" in fault
    monkeypatch.setattr(devices, "vllm_version", lambda: "0.32.1")
    fault, doubt = devices.exact_faults("qwen3")
    assert fault is None and doubt is not None and "older than 0.33" in doubt
    monkeypatch.setattr(devices, "vllm_version", lambda: "0.33.0")
    assert devices.exact_faults("qwen3") == (None, None)


def test_compiled_kernels_are_kept_for_each_node(monkeypatch):
    monkeypatch.delenv("VLLM_CACHE_ROOT", raising=False)
    import socket

    assert environment(SPEC, has_gpu=True)["VLLM_CACHE_ROOT"].endswith(f"vllm/nodes/{socket.gethostname()}")
    monkeypatch.setenv("VLLM_CACHE_ROOT", "/scratch/vllm")
    assert environment(SPEC, has_gpu=True)["VLLM_CACHE_ROOT"] == "/scratch/vllm"
