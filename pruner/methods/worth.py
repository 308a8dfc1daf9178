"""Worth: sample as long as one more vote is worth what it costs, then vote.

Our own method. It has one setting that is the user's, `price`, and nothing in it was fitted to a model.

After n finished traces of a problem, v1 >= v2 are the votes of the two leading answers, r those of all others, and
V = v1 + v2 + r. The next m votes are taken to be (i, j, m - i - j) ~ Dirichlet-multinomial(m; v1 + 1, v2 + 1, r + 1), and

    gain(m) = E[max(0, v2 + j - v1 - i)] / (V + m + 3)          what they may raise the answer's share by
    rate    = max over m of  gain(m) / m  *  (V + 1) / (n + 1)  by trace; the last factor: the chance that a trace answers at all
    stop when rate < price * L / typical_tokens                 L: mean tokens of the problem's traces

m is 1, 2, 3, 4, 6, 8, 12 or 16, and not more than the budget leaves. Looking several votes ahead is what makes it work: one vote
can rarely change the leader, so a rule that looks at one stops at once. Scattered votes and traces without an answer make a
problem worth little: it is given up rather than sampled to the end.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import comb, prod
from typing import Literal

from pydantic import Field

from pruner.methods.base import MethodContext
from pruner.methods.wave_method import Finished, WaveConfig, WaveMethod
from pruner.settings.section import Positive

LOOK_AHEADS = (1, 2, 3, 4, 6, 8, 12, 16)
# The rule needs two votes to say anything of agreement.
_FIRST = 2


class WorthConfig(WaveConfig):
    """The settings of worth.

    Attributes:
        price: stop once a typical trace raises the answer's share by less; a smaller price costs more tokens.
        start: traces started at once after the first two: `one`, or `half` of the look-ahead that is worth most.
        typical_tokens: of a trace; a problem of longer ones is given fewer. None: what is known of the model, in a replay
            of the recorded one, else the recording's mean; if nothing is known, every problem's traces are typical.
    """

    name: Literal["worth"]
    price: float = Field(gt=0.0, le=1.0)
    start: Literal["one", "half"]
    typical_tokens: Positive | None

    @property
    def uses_typical_tokens(self) -> bool:
        return self.typical_tokens is None

    def make(self, context: MethodContext) -> Worth:
        return Worth(context.budget, self.price, self.start == "half", self.typical_tokens or context.typical_tokens)


class Worth(WaveMethod):
    """The state of one problem.

    All arithmetic is in whole numbers: whether a vote is worth its price depends on no rounding, and so on no machine.

    Args:
        takes_half: whether half of the best look-ahead starts at once, and not one trace.
        typical_tokens: None: every problem's traces are.
    """

    def __init__(self, budget: int, price: float, takes_half: bool, typical_tokens: int | None) -> None:
        super().__init__(budget, _FIRST)
        self._price = Fraction(repr(price))
        self._takes_half = takes_half
        self._typical_tokens = typical_tokens

    def next_wave(self, finished: Finished, wave: range) -> int:
        ahead = look_ahead(finished, self._budget, self._price, self._typical_tokens)
        return max(1, ahead // 2) if ahead and self._takes_half else min(1, ahead)

    def worth(self, finished: Finished) -> float:
        if len(finished.answers) in (0, self._budget):
            return 1.0
        return float(worth_over_price(finished, self._budget, self._price, self._typical_tokens)[0])


def look_ahead(finished: Finished, budget: int, price: Fraction, typical_tokens: int | None) -> int:
    """Return over how many further votes the next one is worth most; 0 if it is not worth its price.

    Args:
        finished: fewer traces than the budget.
        typical_tokens: None: every problem's traces are.
    """
    ratio, ahead = worth_over_price(finished, budget, price, typical_tokens)
    return ahead if ratio >= 1 else 0


def worth_over_price(
    finished: Finished, budget: int, price: Fraction, typical_tokens: int | None
) -> tuple[Fraction, int]:
    """Return what the next vote is worth in units of its price, and the look-ahead at which it is worth that. As `look_ahead`."""
    num_traces, num_votes = len(finished.answers), sum(finished.counts.values())
    rate, ahead = best_rate(*finished.leading(), budget - num_traces)
    worth = rate.numerator * (num_votes + 1) * price.denominator
    cost = rate.denominator * (num_traces + 1) * price.numerator
    if typical_tokens is not None:
        worth *= typical_tokens * num_traces
        cost *= finished.num_tokens
    return Fraction(worth, cost), ahead


@lru_cache(maxsize=65536)
def best_rate(first: int, second: int, rest: int, left: int) -> tuple[Fraction, int]:
    """Return the most that a vote may raise the answer's share by, over all look-aheads, and the shortest that reaches it.

    Args:
        first, second, rest: votes of the leading answer, the runner-up and all others.
        left: traces that the budget leaves, at least 1.
    """
    rates = [(gain(first, second, rest, ahead) / ahead, ahead) for ahead in LOOK_AHEADS if ahead <= left]
    return max(rates, key=lambda each: (each[0], -each[1]))


@lru_cache(maxsize=65536)
def gain(first: int, second: int, rest: int, ahead: int) -> Fraction:
    """Return by how much so many votes more may raise the answer's share, as expected now. See the module."""
    total = first + second + rest + 3
    expected = 0
    for behind in range(ahead + 1):
        for backing in range(first - second + behind + 1, ahead - behind + 1):
            others = ahead - behind - backing
            ways = comb(ahead, behind) * comb(ahead - behind, backing)
            chance = _rising(first + 1, behind) * _rising(second + 1, backing) * _rising(rest + 1, others)
            expected += (second + backing - first - behind) * ways * chance
    return Fraction(expected, _rising(total, ahead) * (total + ahead))


def _rising(start: int, steps: int) -> int:
    return prod(range(start, start + steps))
