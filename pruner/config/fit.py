"""Which judge can judge which sampler's traces."""

from __future__ import annotations

from pruner.judges.base import JudgeConfig
from pruner.judges.registry import JUDGES
from pruner.samplers.base import SamplerConfig
from pruner.samplers.registry import SAMPLERS


def misfit(judge: JudgeConfig, sampler: SamplerConfig) -> str | None:
    """Return what keeps a judge from judging a sampler's traces, with what to choose instead; None if nothing does."""
    if judge.works_with(sampler):
        return judge.fault(sampler)
    if not sampler.has_text:
        return f"judge: got {judge.name}, expected {_fitting(sampler)} with sampler={sampler.name}"
    if judge.asks_engine and not sampler.has_engine:
        return (
            f"judge: got {judge.name}, which needs an engine, with sampler={sampler.name}. Expected {_fitting(sampler)}"
        )
    recorded = [name for name, kind in SAMPLERS.items() if kind.has_recording]
    return f"judge: got {judge.name}, which needs sampler={_either(recorded)}"


def _fitting(sampler: SamplerConfig) -> str:
    """Return the judges that can judge a sampler's traces, in words."""
    fitting = {name: kind for name, kind in JUDGES.items() if kind.works_with(sampler)}
    if sampler.has_engine:
        return _either(list(fitting))
    limits = {name: f" ({kind.without_engine})" if kind.without_engine else "" for name, kind in fitting.items()}
    return _either([f"{name}{limit}" for name, limit in limits.items()])


def _either(names: list[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last
