"""A recording made to stand for other traces: as many of each problem as are wanted, of another mean length. For estimates only."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

from pruner.recordings.recording import RecordedProblem, RecordedTrace, Recording


def stretched(recording: Recording, budget: int, mean_tokens: float, num_problems: int) -> Recording:
    """Return a recording with its first problems, each with its traces in turn until there are `budget` of them, all longer or shorter by
    the same factor. Their answers are the recorded ones; texts, tokens and confidences are gone.

    Args:
        mean_tokens: of all traces of the recording, afterwards.
    """
    lengths = [trace.num_tokens for each in recording.problems.values() for trace in each.traces.values()]
    factor = mean_tokens * len(lengths) / sum(lengths)
    kept = islice(recording.problems.items(), num_problems)
    problems = {name: _stretched(each, budget, factor) for name, each in kept}
    carried = recording.carried.slice(0, len(problems))
    return replace(
        recording,
        problems=problems,
        carried=carried,
        fingerprint="stretched",
        segment_tokens=None,
        align_tokens=None,
        typical_tokens=None,
        probes={},
        verdicts={},
    )


def _stretched(problem: RecordedProblem, budget: int, factor: float) -> RecordedProblem:
    recorded = list(problem.traces.values())
    traces = {index: _trace(recorded[index % len(recorded)], index, factor) for index in range(budget)}
    return replace(problem, traces=traces)


def _trace(trace: RecordedTrace, index: int, factor: float) -> RecordedTrace:
    num_tokens = max(1, round(trace.num_tokens * factor))
    probes = tuple((max(1, round(tokens * factor)), answer) for tokens, answer in trace.probes)
    return RecordedTrace(index, num_tokens, trace.finish_reason or "stop", trace.answer, probes=probes)
