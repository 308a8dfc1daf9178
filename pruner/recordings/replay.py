"""Recorded traces as a run can be replayed over them. Reads them from an earlier run or from any Parquet; knows no engine.

A recording may be resampled: each problem is then in the set R times, each time with its traces in another seeded
order, under the name `<problem>#<repetition>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pyarrow as pa

from pruner.errors import InputError
from pruner.problems.problem_set import ProblemSet, fingerprint
from pruner.recordings.recording import RecordedProblem, RecordedTrace, Recording
from pruner.records.traces import Probe, ProbeKey, Problem, hash64


@dataclass(frozen=True)
class ProbeCost:
    """The assumed cost of a probe that was recorded without one, in tokens: decoded, and of the answer opening."""

    output_tokens: int
    opening_tokens: int


_FREE = ProbeCost(0, 0)


class Replay:
    """A recording, as the problems and traces of a run see it.

    Args:
        resample: R, how often each problem is in the set; None: once, its traces in the recorded order.
        seed: of the orders.
    """

    def __init__(self, recording: Recording, resample: int | None, seed: int, probe_cost: ProbeCost = _FREE) -> None:
        self.probe_cost = probe_cost
        self.recording = recording
        self.is_resampled = resample is not None
        self._resample = resample
        self._seed = seed
        self._orders: dict[str, tuple[int, ...]] = {}

    def problem_set(self, limit: int | None) -> ProblemSet:
        """Return the problems: all of them in the first order, then in the second, and so on."""
        names = list(self.recording.problems)[:limit]
        carried = self.recording.carried.slice(0, len(names))
        problems: list[Problem] = []
        tables: list[pa.Table] = []
        for repetition in range(self._resample or 1):
            for name in names:
                problem = self.recording.problems[name].problem
                problem_id = name if self._resample is None else f"{name}#{repetition}"
                problems.append(Problem(problem_id, len(problems), problem.question, problem.answer))
            tables.append(
                carried.append_column("source_problem_id", pa.array(names, pa.string())).append_column(
                    "repetition", pa.array([repetition] * len(names), pa.int32())
                )
            )
        return ProblemSet(tuple(problems), pa.concat_tables(tables), fingerprint(problems))

    def source(self, problem_id: str) -> RecordedProblem:
        name = problem_id if self._resample is None else problem_id.rpartition("#")[0]
        return self.recording.problems[name]

    def trace(self, problem_id: str, trace_index: int) -> RecordedTrace:
        """Return what is at this place of the problem's order.

        Raises:
            InputError: there is none at this place.
        """
        traces = self.source(problem_id).traces
        index = trace_index if self._resample is None else self._order(problem_id, traces)[trace_index]
        if index not in traces:
            raise InputError(
                f"sampler.source: problem {problem_id} has no trace {index}. It was recorded with a smaller budget, or a "
                "method started fewer: replay traces of a run of method=cons with at least this budget."
            )
        return traces[index]

    def probe(self, key: ProbeKey) -> Probe | None:
        """Return the probe that an earlier run made exactly there, under the key by which it is asked for now."""
        if not self.recording.probes:
            return None
        trace_index = self.trace(key.problem_id, key.trace_index).trace_index
        problem_id = self.source(key.problem_id).problem.problem_id
        recorded = self.recording.probes.get(ProbeKey(problem_id, trace_index, key.num_tokens))
        return None if recorded is None else replace(recorded, key=key)

    def check_budget(self, budget: int) -> None:
        """Raises InputError: a problem has fewer traces than may be started."""
        if self._resample is None:
            return
        for name, recorded in self.recording.problems.items():
            if len(recorded.traces) < budget:
                raise InputError(
                    f"budget: got {budget}, but problem {name} has {len(recorded.traces)} recorded traces. Set a smaller one."
                )

    def check_confidences(self) -> None:
        """Raises InputError: a trace has none."""
        traces = self.recording.traces
        if bare := sum(not trace.confidence for trace in traces):
            raise InputError(
                f"sampler.source: {bare} of {len(traces)} traces have no confidences, expected one number a token. "
                "Replay a run of a method that has them sampled (deepconf_offline), or set sampler.columns.confidence."
            )

    def typical_tokens(self) -> int:
        """Return what the recorded run knew of a trace's typical length; else the mean of all traces that finished, or of all."""
        if self.recording.typical_tokens is not None:
            return self.recording.typical_tokens
        traces = self.recording.traces
        lengths = [trace.num_tokens for trace in traces if trace.finish_reason is not None]
        lengths = lengths or [trace.num_tokens for trace in traces]
        return max(1, round(sum(lengths) / len(lengths)))

    def _order(self, problem_id: str, traces: Mapping[int, RecordedTrace]) -> tuple[int, ...]:
        if problem_id not in self._orders:
            rank = {index: hash64(self._seed, "resample", problem_id, index) for index in traces}
            self._orders[problem_id] = tuple(sorted(traces, key=lambda index: (rank[index], index)))
        return self._orders[problem_id]
