"""What a server was found to be, how that is recorded in run.json, and what keeps two servers from working on one run. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pruner.errors import InputError

# The largest mean distance of two weight fingerprints of one model. slurm/README.md says how far numerics move them.
WEIGHT_TOLERANCE = 0.05
# Facts in which the servers of a run are equal, and their names in messages.
_EQUAL = {
    "model": "the model's name",
    "version": "vLLM",
    "max_model_len": "the context",
    "block_tokens": "the cache's block",
    "has_prefix_cache": "prefix caching",
    "takes_priorities": "priorities",
}


@dataclass(frozen=True)
class ServerFacts:
    """What a server was found to be.

    Attributes:
        model: the name that it serves the model by. root: the path that it loaded it from.
        fingerprint: the `system_fingerprint` of its answers; None: they have none.
        capacity_tokens, block_tokens, has_prefix_cache: of its cache, from its metrics; None: they do not say.
        has_seeds: a seeded request gave the same tokens twice.
        takes_priorities: it accepts requests with one; whether it heeds them cannot be seen.
        reports_cached: its answers say how many tokens were cached.
        weights: the weight fingerprint: log-probabilities of the tokens of a fixed text.
    """

    model: str
    root: str
    version: str
    max_model_len: int
    fingerprint: str | None
    capacity_tokens: int | None
    block_tokens: int | None
    has_prefix_cache: bool | None
    has_seeds: bool
    takes_priorities: bool
    reports_cached: bool
    weights: tuple[float, ...]

    def record(self) -> dict[str, Any]:
        """Return the facts as plain values, for run.json."""
        return asdict(self) | {"weights": [round(value, 4) for value in self.weights]}

    def warnings(self, block_tokens: int) -> list[str]:
        """Return what the server lacks that a run can do without. block_tokens: sampler.cache_block_tokens."""
        lines = []
        if not self.takes_priorities:
            lines.append(
                "the servers refuse priorities: requests are served in the order of arrival, and problems end later. Start them with "
                "--scheduling-policy priority"
            )
        if not self.has_seeds:
            lines.append(
                "the servers give a seeded request other tokens each time: what is lost and sampled again will differ"
            )
        if self.has_prefix_cache is False:
            lines.append(
                "the servers cache no prefixes: each segment reads its whole trace again. Use --enable-prefix-caching"
            )
        elif not self.reports_cached:
            lines.append(
                "the servers do not report cached tokens, which count as 0 then. Use --enable-prompt-tokens-details"
            )
        if self.block_tokens not in (None, block_tokens):
            lines.append(
                f"the servers' cache has blocks of {self.block_tokens} tokens: set "
                f"sampler.cache_block_tokens={self.block_tokens} in a new run"
            )
        return lines


def differences(known: ServerFacts, other: ServerFacts) -> list[str]:
    """Return what keeps another server from working beside a known one, one line per difference."""
    pairs = ((words, getattr(known, name), getattr(other, name)) for name, words in _EQUAL.items())
    # What one of them does not show is not known to differ.
    found = [
        f"{words}: {theirs} here, {ours} on the others"
        for words, ours, theirs in pairs
        if ours != theirs and None not in (ours, theirs)
    ]
    return found + _other_weights(known.weights, other.weights)


def check_recorded(recorded: Mapping[str, Any], now: ServerFacts) -> None:
    """Refuse to go on with another model than the run was begun with.

    Args:
        recorded: what `ServerFacts.record` gave then, from run.json.

    Raises:
        InputError: the servers have another one now.
    """
    try:
        model, weights = str(recorded["model"]), [float(value) for value in recorded["weights"]]
    except (KeyError, TypeError, ValueError):
        raise InputError("run.json: its record of the servers cannot be read. Choose another run.name.") from None
    lines = [] if model == now.model else [f"it was begun with {model}, the servers have {now.model}"]
    if lines := lines + _other_weights(weights, now.weights):
        raise InputError(
            f"sampler.urls: {'; '.join(lines)}. Serve the model that the run was begun with, or choose another run.name."
        )


def _other_weights(known: Sequence[float], other: Sequence[float]) -> list[str]:
    """Return a line if two weight fingerprints are not of the same weights."""
    if len(known) != len(other):
        return ["another model: its weight fingerprint has another length"]
    distance = sum(abs(one - two) for one, two in zip(known, other, strict=True)) / max(1, len(known))
    if distance <= WEIGHT_TOLERANCE:
        return []
    return [f"another model: log-probabilities of a fixed text differ by {distance:.2f} in the mean"]
