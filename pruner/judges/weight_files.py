"""Weight files, read without building a model: tensors' names and shapes, and a fingerprint of their contents. Owns safetensors."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from pruner.errors import InputError
from pruner.settings.section import local_path

_SAMPLE_BYTES = 1024
_LORA_PREFIX = "base_model.model."


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


def weight_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors in a folder's weight files, by name.

    Raises:
        InputError: a file is damaged.
    """
    return {name: tuple(weights.get_slice(name).get_shape()) for name, weights in _tensors(folder)}


def weights_fingerprint(folder: Path) -> str:
    """Return a hash of a model's weights alone: every tensor's name, shape, and first and last bytes.

    It does not depend on how the weights are split into files, nor on what else lies beside them.

    Raises:
        InputError: a file is damaged.
    """
    import torch

    parts = {}
    for name, weights in _tensors(folder):
        kind = weights.get_slice(name)
        values = weights.get_tensor(name).flatten().view(torch.uint8)
        ends = b"".join(end.numpy().tobytes() for end in (values[:_SAMPLE_BYTES], values[-_SAMPLE_BYTES:]))
        parts[name] = f"{name}:{kind.get_dtype()}:{tuple(kind.get_shape())}".encode() + ends
    return blake2b(b"".join(parts[name] for name in sorted(parts)), digest_size=16).hexdigest()


def check_adapter_fits(adapter: Path, base: Path) -> None:
    """Refuse a LoRA adapter that was made for a model of another shape.

    Raises:
        InputError: names the first layer that does not fit.
    """
    layers = tensor_shapes(base)
    if not layers:
        return  # weights in another format: vLLM will report it
    for name, shape in sorted(tensor_shapes(adapter).items()):
        layer, _, part = name.removeprefix(_LORA_PREFIX).partition(".lora_")
        if not part:
            continue
        weight = layers.get(f"{layer}.weight")
        side = 1 if part.startswith("A") else 0  # A reads the layer's input, B writes its output
        expected = None if weight is None else weight[side]
        if shape[side] != expected:
            there = "no such layer" if expected is None else str(expected)
            raise InputError(
                f"judge: the adapter {adapter} is for another base model than {base}: {layer} has width {shape[side]} in the "
                f"adapter and {there} in the model. Name the model that it was trained on."
            )


def _tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield each tensor's name with the open file that it is in. Raises InputError."""
    for file in weight_files(folder):
        try:
            with safe_open(file, framework="pt") as weights:
                for name in weights.keys():  # noqa: SIM118  # it is no mapping
                    yield name, weights
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"{file}: no readable safetensors file ({error}). Fetch or make it again.") from None
