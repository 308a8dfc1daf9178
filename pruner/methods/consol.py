"""ConSol: a sequential probability ratio test of the two leading answers, then a vote."""

from __future__ import annotations

from math import log
from typing import Annotated, Literal

from pydantic import Field

from pruner.methods.base import MethodContext
from pruner.methods.wave_method import Finished, WaveConfig, WaveMethod
from pruner.settings.section import Positive

_Open = Annotated[float, Field(gt=0.0, lt=1.0)]


class ConsolConfig(WaveConfig):
    """The settings of the test.

    Attributes:
        p1: the leader's share of the two leading answers' votes that is tested against a half.
        alpha, beta: the stated rates of a false and of a missed lead. With the authors' values, and p1 this close to a half, the test
            is no more than a lead of three votes, and the rate of false leads is far above alpha.
        wave: traces started at once.
    """

    name: Literal["consol"]
    p1: float = Field(gt=0.5, lt=1.0)
    alpha: _Open
    beta: _Open
    wave: Positive

    def make(self, context: MethodContext) -> Consol:
        return Consol(context.budget, self)


class Consol(WaveMethod):
    """Stops once the ratio of likelihoods accepts either hypothesis: the leader leads, or the two are equal.

    Traces without an answer count for nobody. A wave is judged by all answers at its end.

    Source: ConSol (arXiv 2503.17587), the SPRT and its defaults.
    """

    def __init__(self, budget: int, config: ConsolConfig) -> None:
        super().__init__(budget, config.wave)
        self._gain, self._loss = log(config.p1 / 0.5), log((1 - config.p1) / 0.5)
        self._leads = log((1 - config.beta) / config.alpha)
        self._equal = log(config.beta / (1 - config.alpha))

    def next_wave(self, finished: Finished, wave: range) -> int:
        first, second, _ = finished.leading()
        ratio = first * self._gain + second * self._loss
        return 0 if ratio >= self._leads or ratio <= self._equal else self._wave
