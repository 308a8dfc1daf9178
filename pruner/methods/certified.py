"""Certified: sample until the leading answer is certain to be the model's own favourite, up to a stated error rate.

The certificate holds at any stopping time and for any set of answers. Votes come in the order of the traces. For a candidate a,
votes after its first appearance are counted, that one left out: k for a, n_b for another answer b. With a fixed grid of theta
in (1/2, 1),

    E(k, n_b) = mean over theta of (2 theta)^k (2 - 2 theta)^n_b

is a supermartingale as long as a is no more probable than b. The candidate that appeared as the r-th is certified once

    E(k, n_b) >= r (r + 1) / delta    for every other b that was seen, and for one that was not (n_b = 0).

By Ville's inequality, and since the sum of 1 / (r (r + 1)) is 1, P(an answer is ever certified that is not the most probable one)
is at most delta. That is about what the model answers most often, not about what is right.

Beyond the budget the plurality answers, not certified.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Literal

from pydantic import Field

from pruner.methods.base import Answer, Certificate, MethodContext
from pruner.methods.wave_method import Finished, WaveConfig, WaveMethod
from pruner.rules.voting import Vote, winner
from pruner.settings.section import Positive

# The grid: theta = (1 + odd / unit) / 2 for the odd numbers below, midpoints of equal parts of (1/2, 1).
_UNIT = 100
# The largest e-value that is written.
_MOST = Fraction(10**300)


class CertifiedConfig(WaveConfig):
    """delta: the stated error rate. wave: traces started at once; certificates are given at the end of one."""

    name: Literal["certified"]
    delta: float = Field(gt=0.0, lt=1.0)
    wave: Positive

    def make(self, context: MethodContext) -> Certified:
        return Certified(context.budget, self.wave, self.delta)


class Certified(WaveMethod):
    """The state of one problem. Traces without an answer are no votes."""

    def __init__(self, budget: int, wave: int, delta: float) -> None:
        super().__init__(budget, wave)
        self._delta = Fraction(repr(delta))
        self._candidates: dict[str, Candidate] = {}
        self._num_counted = 0

    def next_wave(self, finished: Finished, wave: range) -> int:
        self._count(finished)
        return 0 if self._certificate(self._strongest()).is_certified else self._wave

    def answer(self, votes: tuple[Vote, ...], voters: tuple[int, ...]) -> Answer:
        self._count(self._finished)
        strongest = self._strongest()
        certificate = self._certificate(strongest)
        if not certificate.is_certified:
            return Answer(winner(votes), votes, voters, certificate)
        return Answer(next(vote.answer for vote in votes if vote.answer.key == strongest), votes, voters, certificate)

    def _count(self, finished: Finished) -> None:
        """Count the votes that were not counted yet, in the order of the traces."""
        for index in range(self._num_counted, len(finished.answers)):
            answer = finished.answers[index]
            if answer is not None:
                for candidate in self._candidates.values():
                    candidate.count(answer.key)
                self._candidates.setdefault(answer.key, Candidate(answer.key, len(self._candidates) + 1))
        self._num_counted = len(finished.answers)

    def _strongest(self) -> str | None:
        return max(self._candidates, key=lambda key: self._candidates[key].evidence, default=None)

    def _certificate(self, key: str | None) -> Certificate:
        evidence = Fraction(0) if key is None else self._candidates[key].evidence
        return Certificate(evidence * self._delta >= 1, float(min(evidence, _MOST)))


class Candidate:
    """An answer that may be certified, and the votes since it was first given. rank: r, the number of answers up to it."""

    def __init__(self, key: str, rank: int) -> None:
        self._key = key
        self._penalty = rank * (rank + 1)
        self._votes = 0
        self._rivals: dict[str, int] = {}
        self._strongest_rival = 0

    def count(self, key: str) -> None:
        if key == self._key:
            self._votes += 1
            return
        votes = self._rivals[key] = self._rivals.get(key, 0) + 1
        self._strongest_rival = max(self._strongest_rival, votes)

    @property
    def evidence(self) -> Fraction:
        """The e-value: the answer is certified once it is 1 / delta. The strongest rival is the one that E is least for."""
        return likelihood_ratio(self._votes, self._strongest_rival) / self._penalty


@lru_cache(maxsize=65536)
def likelihood_ratio(votes: int, rival: int) -> Fraction:
    """Return E(k, n_b) of the module's docstring, exactly.

    Source: a mixture of the likelihood ratios of a biased coin against a fair one (Robbins 1970), over a fixed grid.
    """
    total = sum((_UNIT + odd) ** votes * (_UNIT - odd) ** rival for odd in range(1, _UNIT, 2))
    return Fraction(total, (_UNIT // 2) * _UNIT ** (votes + rival))
