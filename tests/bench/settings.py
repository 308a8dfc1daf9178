"""The settings of a benchmark."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Len

from pruner.settings.section import FilePath, Positive, Section, local_path


class BenchConfig(Section):
    """What is measured, and how often.

    Attributes:
        target: a folder; tables are written there, as Parquet and Markdown.
        scratch: a folder for checkpoints that are measured and removed; None: the system's temporary one.
        repeats: pairs A B A B ..., or rounds; the table has each of them, the last line their medians.
        overrides: of the main job, for the measured run.
        segments: orchestrator: one row per number; resume: the second number.
        segment_tokens: of simulated traces.
        num_problems: engine, judge; speculation: eight times as many.
        num_traces, trace_tokens: engine: of each problem, and tokens of each.
        segment_lengths: engine: instead of pairs, throughput at these segment lengths.
        deepprune: engine: the same problems with method=deepprune beside it.
        prefix_chars: judge: of each prefix.
    """

    bench: Literal["engine", "orchestrator", "resume", "judge", "speculation"]
    target: FilePath = "outputs/bench"
    scratch: FilePath | None = None
    repeats: Positive = 5
    overrides: tuple[str, ...] = ()
    segments: Annotated[tuple[Positive, ...], Len(1)] = (10_000, 100_000, 1_000_000)
    segment_tokens: Positive = 1024
    num_problems: Positive = 16
    num_traces: Positive = 16
    trace_tokens: Positive = 256
    segment_lengths: tuple[Positive, ...] = ()
    deepprune: bool = True
    prefix_chars: Positive = 600

    @property
    def scratch_folder(self) -> str | None:
        return str(local_path(self.scratch)) if self.scratch is not None else None
