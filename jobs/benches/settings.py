"""The settings of a benchmark; conf/bench.yaml describes them and holds their values."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Len

from pruner.settings.section import FilePath, Positive, Section, local_path


class BenchConfig(Section):
    bench: Literal["engine", "orchestrator", "checkpoint", "resume", "judge", "report", "speculation"]
    target: FilePath
    scratch: FilePath | None
    repeats: Positive
    overrides: tuple[str, ...]
    segments: Annotated[tuple[Positive, ...], Len(1)]
    segment_tokens: Positive
    num_problems: Positive
    num_traces: Positive
    trace_tokens: Positive
    segment_lengths: tuple[Positive, ...]
    deepprune: bool
    prefix_chars: Positive
    num_runs: Positive

    @property
    def scratch_folder(self) -> str | None:
        return str(local_path(self.scratch)) if self.scratch is not None else None
