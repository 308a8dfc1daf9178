"""The lexical judge: it reads each prefix once and weighs what two readings share. It needs no engine.

A reading is a fact like a probe, with the prefix's tokens as its cost, so every token that the judge reads is charged, once;
the pairs themselves cost nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pruner.errors import InputError
from pruner.judges.base import JudgedProblem
from pruner.judges.prefix_features import FEATURES, Reading, pair_features, read_prefix
from pruner.records.traces import Fact, Key, PairKey, Probe, ProbeKey, Verdict
from pruner.samplers.base import Completion, Request

WEIGHTS = "lexical.safetensors"
_READINGS_KEPT = 4096


@dataclass(frozen=True)
class LexicalWeights:
    """P(same) = sigmoid(bias + weights . (features - mean) / scale).

    Attributes:
        mean, scale, weights: [features], in the order of prefix_features.FEATURES.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float

    def save(self, folder: Path) -> None:
        values = {name: np.array(getattr(self, name), dtype=np.float64) for name in ("mean", "scale", "weights")}
        save_file(values | {"bias": np.array([self.bias], dtype=np.float64)}, folder / WEIGHTS)


def load_weights(folder: Path) -> LexicalWeights:
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
    if not len(mean) == len(scale) == len(weights) == len(FEATURES):
        raise InputError(f"judge: {path} has weights for {len(weights)} features, expected {len(FEATURES)}.")
    return LexicalWeights(mean, scale, weights, bias)


def score(weights: LexicalWeights, left: Reading, right: Reading) -> float:
    """Return P(same), the same for both orders."""
    features = pair_features(left, right)
    logit = weights.bias + math.fsum(
        weight * (value - mean) / scale
        for weight, value, mean, scale in zip(weights.weights, features, weights.mean, weights.scale, strict=True)
    )
    return 1.0 / (1.0 + math.exp(-max(-700.0, min(700.0, logit))))


class LexicalJudge:
    """P(same) of a pair from two readings, each made once."""

    name = "lexical"

    def __init__(self, weights: LexicalWeights) -> None:
        self._weights = weights
        self._read = lru_cache(_READINGS_KEPT)(read_prefix)

    def prepares(self, trace_index: int, judged: JudgedProblem) -> tuple[Key, ...]:
        return (_reading_key(trace_index, judged),)

    def parts(self, pair: PairKey, judged: JudgedProblem) -> tuple[Key, ...]:
        return tuple(_reading_key(index, judged) for index in (pair.left_trace, pair.right_trace))

    def verdict(self, pair: PairKey, judged: JudgedProblem, parts: Sequence[Fact]) -> Verdict:
        texts = (judged.traces[index].prefix.text for index in (pair.left_trace, pair.right_trace))
        left, right = (self._read(text, judged.problem.question) for text in texts)
        return Verdict(pair, score(self._weights, left, right))

    def request(self, key: Key, judged: JudgedProblem) -> Request | None:
        return None  # there is no engine to ask

    def read(self, key: Key, completion: Completion | None, judged: JudgedProblem) -> Probe:
        assert isinstance(key, ProbeKey)
        return Probe(key, 0, (), "", None, prompt_tokens=key.num_tokens, cached_tokens=0, shared_tokens=0)


def _reading_key(trace_index: int, judged: JudgedProblem) -> ProbeKey:
    return ProbeKey(judged.problem.problem_id, trace_index, judged.traces[trace_index].prefix.num_tokens)
