"""What a method can be told; conf/method holds the values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pruner.config.section import MAX_COUNT, Positive, Section, Share


class MethodSection(Section):
    """What a method needs beside its traces."""

    @property
    def uses_judge(self) -> bool:
        return False

    @property
    def needs_confidence(self) -> bool:
        return False

    @property
    def asked_tokens(self) -> int | None:
        """The most tokens of an answer that is asked of a running trace; None if the method asks none."""
        return None


class ConsConfig(MethodSection):
    name: Literal["cons"]


class AdaptiveConfig(MethodSection):
    """threshold: stop once P(the leader beats the runner-up) exceeds it; 1: never. wave: traces started at once."""

    name: Literal["adaptive"]
    threshold: float = Field(ge=0.5, le=1.0)
    wave: Positive


class EscConfig(MethodSection):
    """window: traces started at once; when all of them agree, no more start."""

    name: Literal["esc"]
    window: Annotated[int, Field(ge=2, le=MAX_COUNT)]


class DeepConfOfflineConfig(MethodSection):
    """score: what a trace's vote weighs. keep: the top share of traces, by score, that votes. window: tokens of a group."""

    name: Literal["deepconf_offline"]
    score: Literal["mean", "tail", "bottom_10", "lowest_group"]
    keep: float = Field(gt=0.0, le=1.0)
    window: Positive

    @property
    def needs_confidence(self) -> bool:
        return True


class DeepConfOnlineConfig(MethodSection):
    """warmup: traces that set the threshold. keep: share of them above it. consensus: the leader's share of the vote at which
    no more start; null: the whole budget starts. wave: traces started at once after the warm-up. window: tokens of a group."""

    name: Literal["deepconf_online"]
    warmup: Positive
    keep: float = Field(gt=0.0, le=1.0)
    consensus: Annotated[float, Field(gt=0.0, le=1.0)] | None
    wave: Positive
    window: Positive

    @property
    def needs_confidence(self) -> bool:
        return True


class WavesConfig(MethodSection):
    """See pruner/methods/waves.py. probe_tokens: of an answer that a running trace is asked for, if it `asks`."""

    name: Literal["waves"]
    confidence: float = Field(ge=0.5, lt=1.0)
    every_tokens: Positive
    width: Positive
    asks: bool
    probe_tokens: Positive
    spend_unit: float = Field(gt=0.0, le=1e9)
    spend_power: float = Field(ge=0.0, le=100.0)
    brevity: float = Field(ge=0.0, le=100.0)

    @property
    def asked_tokens(self) -> int | None:
        return self.probe_tokens if self.asks else None


class DeepPruneConfig(MethodSection):
    """tau: a trace joins a cluster only above it. k, k1, k2, k3 as in the paper. finish_share: see conf/method."""

    name: Literal["deepprune"]
    tau: Share
    k: Positive
    k1: Positive
    k2: Positive
    k3: Positive
    finish_share: float = Field(gt=0.0, le=1.0)
    assign: Literal["best", "first"]
    answer: Literal["vote", "representatives"]

    @property
    def uses_judge(self) -> bool:
        return True


AnyMethod = Annotated[
    ConsConfig
    | DeepPruneConfig
    | AdaptiveConfig
    | EscConfig
    | DeepConfOfflineConfig
    | DeepConfOnlineConfig
    | WavesConfig,
    Field(discriminator="name"),
]
