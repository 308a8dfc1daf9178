"""What any engine's tokens come to: the text of new tokens, and what a token's confidence is. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pruner.records.traces import SegmentKey
from pruner.samplers.base import Request

# Number of candidates in a token's confidence. Source: DeepConf (arXiv 2508.15260), k = 20.
CONFIDENCE_TOP_K = 20
_DECODE_WINDOW = 16


def decode_increment(tokenizer: Any, request: Request, new_ids: Sequence[int], is_stopped: bool) -> str:
    """Return the text of new tokens such that the texts of a trace's requests, joined, are the text of all its tokens.

    A character whose bytes are split over two requests belongs to the later one. `is_stopped`: there is no later one.
    """
    before = request.prompt_token_ids[-_DECODE_WINDOW:] if isinstance(request.key, SegmentKey) else ()
    if isinstance(request.key, SegmentKey) and request.key.segment_index == 0:
        before = ()
    head = tokenizer.decode(list(before), skip_special_tokens=True).rstrip("\ufffd")
    whole = tokenizer.decode([*before, *new_ids], skip_special_tokens=True)
    increment = (
        whole[len(head) :] if whole.startswith(head) else tokenizer.decode(list(new_ids), skip_special_tokens=True)
    )
    return increment if is_stopped else increment.rstrip("\ufffd")
