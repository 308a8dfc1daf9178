"""The lexical judge's weights and their file. Knows no torch: a run that only judges needs none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pruner.errors import InputError

WEIGHTS = "lexical.safetensors"


@dataclass(frozen=True)
class LexicalWeights:
    """P(same) = sigmoid(bias + weights . (features - mean) / scale).

    Attributes:
        mean, scale, weights: [features].
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float


def save(weights: LexicalWeights, folder: Path) -> None:
    values = {name: np.array(getattr(weights, name), dtype=np.float64) for name in ("mean", "scale", "weights")}
    save_file(values | {"bias": np.array([weights.bias], dtype=np.float64)}, folder / WEIGHTS)


def load(folder: Path, num_features: int) -> LexicalWeights:
    """Return the weights in a judge's folder.

    Raises:
        InputError: they are missing, damaged, or for other features.
    """
    path = folder / WEIGHTS
    try:
        values = {name: tensor.tolist() for name, tensor in load_file(path).items()}
        mean, scale, weights = (tuple(values[name]) for name in ("mean", "scale", "weights"))
        bias = float(values["bias"][0])
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(f"judge: {path} cannot be read ({type(error).__name__}).") from None
    if not len(mean) == len(scale) == len(weights) == num_features:
        raise InputError(f"judge: {path} has weights for {len(weights)} features, expected {num_features}.")
    return LexicalWeights(mean, scale, weights, bias)
