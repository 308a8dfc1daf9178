"""What tokens and GPU hours cost: the weights and prices of the accounting; `accounting` in conf/config.yaml holds them."""

from __future__ import annotations

from pydantic import model_validator

from pruner.settings.section import Amount, Section


class AccountingConfig(Section):
    """What one judge token costs, in sampled tokens. prompt: newly read; cached: computed by this job before; output. speculative: what a
    token costs that was sampled before it was asked for, and never was. price_*: at most one, in any currency, for an estimated cost."""

    judge_prompt_weight: Amount
    judge_cached_weight: Amount
    judge_output_weight: Amount
    speculative_weight: Amount = 1.0
    price_per_gpu_hour: Amount | None = None
    price_per_million_tokens: Amount | None = None

    @model_validator(mode="after")
    def _one_price(self) -> AccountingConfig:
        if self.price_per_gpu_hour is not None and self.price_per_million_tokens is not None:
            raise ValueError(
                f"price_per_gpu_hour: got {self.price_per_gpu_hour} and price_per_million_tokens "
                f"{self.price_per_million_tokens}, expected one of them. Set the other to null"
            )
        return self
