"""Two remedies for a label that is rare: the focal loss, and oversampling. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


@dataclass(frozen=True)
class Example:
    """A prompt and its label: 1 for same."""

    input_ids: tuple[int, ...]
    label: int


def focal_loss(logits: Tensor, labels: Tensor, alpha: float, gamma: float) -> Tensor:
    """Return the mean of -alpha_t (1 - p_t)^gamma log(p_t).

    Args:
        logits: [batch, 2], of the words for same and different, in this order.
        labels: [batch], 1 where the answers are equal.
        alpha: weight of same pairs, in (0, 1); different pairs weigh 1 - alpha. 0.5 weighs both alike.
        gamma: 0 gives half the cross entropy (alpha 0.5); larger counts pairs that are already right for less.

    Source: Lin et al., Focal Loss for Dense Object Detection (arXiv 1708.02002), equation 5; DeepPrune section 4.
    """
    log_p = -cross_entropy(logits.float(), 1 - labels, reduction="none")
    alpha_t = torch.where(labels == 1, alpha, 1.0 - alpha)
    return -(alpha_t * (1.0 - log_p.exp()) ** gamma * log_p).mean()


def oversampled(examples: Sequence[Example], factor: int) -> list[Example]:
    """Return the examples, those of the rarer label `factor` times."""
    same = sum(example.label for example in examples)
    rarer = 1 if same * 2 < len(examples) else 0
    return [example for example in examples for _ in range(factor if example.label == rarer else 1)]
