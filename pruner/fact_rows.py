"""Facts as rows of their tables, and back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pruner.traces import Fact, PairKey, Probe, ProbeKey, Segment, SegmentKey, Verdict


def fact_row(fact: Fact) -> tuple[str, dict[str, Any]]:
    """Return a fact's table and its row there."""
    key = fact.key
    if isinstance(fact, Segment):
        name = "segments"
    elif isinstance(fact, Probe):
        name = "probes"
    else:
        name = "verdicts"
    values = {field: getattr(fact, field) for field in fact.__dataclass_fields__ if field != "key"}
    return name, {field: getattr(key, field) for field in key.__dataclass_fields__} | values


def read_segment(row: Mapping[str, Any]) -> Segment:
    """Return the segment that `fact_row` made a row of; likewise below."""
    return Segment(
        key=SegmentKey(row["problem_id"], row["trace_index"], row["segment_index"]),
        num_tokens=row["num_tokens"],
        token_ids=tuple(row["token_ids"]),
        text=row["text"],
        finish_reason=row["finish_reason"],
        prompt_tokens=row["prompt_tokens"],
        cached_tokens=row["cached_tokens"],
        confidence=None if row["confidence"] is None else tuple(row["confidence"]),
    )


def read_probe(row: Mapping[str, Any]) -> Probe:
    return Probe(
        key=ProbeKey(row["problem_id"], row["trace_index"], row["num_tokens"]),
        output_tokens=row["output_tokens"],
        token_ids=tuple(row["token_ids"]),
        text=row["text"],
        answer=row["answer"],
        prompt_tokens=row["prompt_tokens"],
        cached_tokens=row["cached_tokens"],
        shared_tokens=row["shared_tokens"],
    )


def read_verdict(row: Mapping[str, Any]) -> Verdict:
    return Verdict(
        key=PairKey(row["problem_id"], row["left_trace"], row["right_trace"]),
        score=row["score"],
        prompt_tokens=row["prompt_tokens"],
        cached_tokens=row["cached_tokens"],
        head_tokens=row["head_tokens"],
        output_tokens=row["output_tokens"],
    )
