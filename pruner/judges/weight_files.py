"""What weight files say of themselves without being loaded: tensors' names, shapes and a fingerprint of their contents.

Knows safetensors' file format only; no model is built.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from pruner.errors import InputError
from pruner.settings.section import local_path

_SAMPLE_BYTES = 1024
_LORA_PREFIX = "base_model.model."


@dataclass(frozen=True)
class Tensor:
    """shape: as stored. start, num_bytes: where its values are in the file."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    num_bytes: int


def local_folder(path: str, revision: str | None = None) -> Path | None:
    """Return the folder of a model: a path as it is, a hub id as far as it has been downloaded; None if it has not."""
    folder = local_path(path)
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(path, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, HfHubHTTPError, OSError):
        return None


def tensors(folder: Path) -> dict[str, Tensor]:
    """Return the tensors of a folder's safetensors files by name.

    Raises:
        InputError: a file is damaged.
    """
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with file.open("rb") as stream:
                size = int.from_bytes(stream.read(8), "little")
                if 8 + size > file.stat().st_size:
                    raise ValueError("its header is cut off")
                header = json.loads(stream.read(size))
            if not isinstance(header, dict):
                raise ValueError("its header is no JSON object")
            for name, entry in header.items():
                if name != "__metadata__":
                    start, end = entry["data_offsets"]
                    found[name] = Tensor(file, entry["dtype"], tuple(entry["shape"]), 8 + size + start, end - start)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file}: no readable safetensors file ({error}).") from None
    return found


def weights_fingerprint(folder: Path) -> str:
    """Return a hash of a model's weights alone: every tensor's name, shape, and first and last bytes.

    It does not depend on how the weights are split into files, nor on what else lies beside them.
    """
    digest = blake2b(digest_size=16)
    for name, tensor in sorted(tensors(folder).items()):
        digest.update(f"{name}:{tensor.dtype}:{tensor.shape}".encode())
        with tensor.file.open("rb") as stream:
            stream.seek(tensor.start)
            digest.update(stream.read(min(_SAMPLE_BYTES, tensor.num_bytes)))
            stream.seek(tensor.start + max(0, tensor.num_bytes - _SAMPLE_BYTES))
            digest.update(stream.read(min(_SAMPLE_BYTES, tensor.num_bytes)))
    return digest.hexdigest()


def check_adapter_fits(adapter: Path, base: Path) -> None:
    """Refuse a LoRA adapter that was made for a model of another shape.

    Raises:
        InputError: names the first layer that does not fit.
    """
    layers = tensors(base)
    if not layers:
        return  # weights in another format: vLLM will report it
    for name, tensor in sorted(tensors(adapter).items()):
        layer, _, part = name.removeprefix(_LORA_PREFIX).partition(".lora_")
        if not part:
            continue
        weight = layers.get(f"{layer}.weight")
        is_input = part.startswith("A")
        expected = None if weight is None else weight.shape[1] if is_input else weight.shape[0]
        got = tensor.shape[1] if is_input else tensor.shape[0]
        if got != expected:
            there = "no such layer" if expected is None else str(expected)
            raise InputError(
                f"judge: the adapter {adapter} is for another base model than {base}: {layer} has width {got} in the "
                f"adapter and {there} in the model. Name the model that it was trained on."
            )
