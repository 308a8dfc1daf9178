"""Fit the lexical judge: logistic regression over features of pairs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pruner.judges.lexical_weights import LexicalWeights
from pruner.learning.config import LexicalTrainerConfig

# A problem with fewer pairs of its rarer label than this counts for less: its pairs say little.
_ENOUGH_PAIRS = 40
_LOOSE_INTERCEPT = 1e-3
_MAX_STEPS = 200


def fit(
    config: LexicalTrainerConfig, features: Sequence[Sequence[float]], labels: Sequence[int], problems: Sequence[str]
) -> LexicalWeights:
    """Fit the weights, then a slope and a bias that make the scores probabilities.

    Args:
        features: [pairs, features].
        labels: [pairs], 1 for same.
        problems: [pairs], which problem each is of.
    """
    raw = torch.tensor(features, dtype=torch.float64)
    y = torch.tensor(labels, dtype=torch.float64)
    numbers = {problem: number for number, problem in enumerate(sorted(set(problems)))}
    problem = torch.tensor([numbers[each] for each in problems])
    mean, scale = raw.mean(0), raw.std(0)
    scale = torch.where(scale > 1e-9, scale, torch.ones_like(scale))
    x = (raw - mean) / scale
    pair_weight = _pair_weights(config, y, problem)
    weights = _fit_weights(
        config, x, y, problem if config.problem_intercepts else torch.zeros_like(problem), pair_weight
    )
    slope, bias = _calibrate(x @ weights, y, problem)
    return LexicalWeights(tuple(mean.tolist()), tuple(scale.tolist()), tuple((slope * weights).tolist()), float(bias))


def _pair_weights(config: LexicalTrainerConfig, y: Tensor, problem: Tensor) -> Tensor:
    """Return what each pair counts: problems alike, but for those that hardly have both kinds."""
    count = int(problem.max()) + 1
    total = torch.bincount(problem, minlength=count).double()
    same = torch.bincount(problem, weights=y, minlength=count)
    rarer = torch.minimum(same, total - same)
    of_problem = (rarer / _ENOUGH_PAIRS).clamp(max=1.0) / total if config.problem_intercepts else 1.0 / total
    weight = of_problem[problem]
    rarer_label = 1.0 if float(y.mean()) < 0.5 else 0.0
    return torch.where(y == rarer_label, weight * config.loss.oversampling, weight)


def _fit_weights(config: LexicalTrainerConfig, x: Tensor, y: Tensor, group: Tensor, pair_weight: Tensor) -> Tensor:
    weights = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    intercepts = torch.zeros(int(group.max()) + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, intercepts], max_iter=_MAX_STEPS, line_search_fn="strong_wolfe")
    alpha = torch.where(y == 1, config.loss.alpha, 1 - config.loss.alpha)

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = x @ weights + intercepts[group]
        # The focal loss of two labels whose logits differ by `logits`; doubled, so that alpha 0.5 is the cross entropy.
        log_p = torch.nn.functional.logsigmoid(torch.where(y == 1, logits, -logits))
        focal = -2 * alpha * (1 - log_p.exp()) ** config.loss.gamma * log_p
        total = (pair_weight * focal).sum() + config.l2 * (weights**2).sum() + _LOOSE_INTERCEPT * (intercepts**2).sum()
        total.backward()
        return total

    optimizer.step(loss)
    return weights.detach()


def _calibrate(scores: Tensor, y: Tensor, problem: Tensor) -> tuple[Tensor, Tensor]:
    """Return slope and bias of the logistic curve through the scores (Platt scaling), problems alike."""
    weight = 1.0 / torch.bincount(problem).double()[problem]
    slope = torch.ones((), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([slope, bias], max_iter=_MAX_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = torch.nn.functional.binary_cross_entropy_with_logits(slope * scores + bias, y, weight=weight)
        total.backward()
        return total

    optimizer.step(loss)
    return slope.detach(), bias.detach()
