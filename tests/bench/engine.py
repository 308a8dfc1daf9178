"""Our runner against vLLM that is handed all requests at once: same engine, prompts, seeds, tokens; alternating."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from jobs.compose import main_config
from pruner.answers.reader import AnswerReader
from pruner.checkpoint.store import TraceRange, open_store
from pruner.config.job import Config
from pruner.records.traces import SegmentKey, TokenIds, hash64
from pruner.samplers import vllm_engines
from pruner.samplers.base import Request, Sampler
from pruner.samplers.devices import num_devices
from pruner.samplers.process import ProcessSampler
from pruner.samplers.server import ServerSamplerConfig
from pruner.samplers.vllm_engines import VllmSamplerConfig
from pruner.shard import build
from pruner.shard.inputs import Inputs, read_inputs, sampler_context
from tests.bench.children import in_child, serve
from tests.bench.outcome import Outcome
from tests.bench.settings import BenchConfig
from tests.bench.workbench import Workbench, begin

WORDS = (
    "`raw` hands all prompts to `LLM.generate` at once, in the engine's process; `ours` is runner, case, method=cons and store in the "
    "job's process on the same engine, checkpoint included. Both sample every trace to its full length (`ignore_eos`) and give its text; "
    "tokens are compared. The prefix cache is emptied before each. `engine_s` is the time inside the engine's steps, `submit_s` in handing "
    "over requests, both in its process; `job_cpu_s` is the job's own processor time."
)
SERVED_WORDS = (
    "`served` is runner, case, method=cons and store on servers (sampler=server), `client` a plain client that asks the same servers for "
    "each problem's traces in one request (`n`), `in process` the first on an engine of the job's own. All sample every trace to its full "
    "length; sides take turns. The prefix cache is emptied before each where the server lets that be done (VLLM_SERVER_DEV_MODE=1)."
)
SEGMENT_WORDS = "`ours` as in the pairs, at different segment lengths. A kill loses what runs: on average half a segment of each running trace."


class Measured(Protocol):
    """An engine that is measured."""

    @property
    def sampler(self) -> Sampler:
        """What the runner works with."""

    def reset(self, is_whole: bool) -> None:
        """Forget what is cached and what was measured. is_whole: traces go on to their full length."""

    def clock(self) -> Mapping[str, float]:
        """Return what was measured inside the engine, as Clock names it; nothing where that cannot be seen."""


@dataclass(frozen=True)
class InProcess:
    """The program's own engine, in the benchmark's process of it."""

    sampler: ProcessSampler

    def reset(self, is_whole: bool) -> None:
        self.sampler.call("reset", is_whole)

    def clock(self) -> Mapping[str, float]:
        return dict(self.sampler.call("clock"))


def run(config: BenchConfig) -> Outcome:
    size = [
        f"problems.limit={config.num_problems}",
        f"budget={config.num_traces}",
        f"model.sampling.max_tokens={config.trace_tokens}",
    ]
    if isinstance(main_config(["method=cons", *size, *config.overrides]).sampler, ServerSamplerConfig):
        keys = {"repeats": config.repeats, "scratch": config.scratch, "overrides": [*size, *config.overrides]}
        found = in_child("tests.bench.served", keys)
        return Outcome(found["rows"], found["figures"], SERVED_WORDS)
    arguments = {name: getattr(config, name) for name in ("repeats", "segment_lengths", "deepprune", "scratch")}
    found = in_child("tests.bench.engine", arguments | {"overrides": [*size, *config.overrides]})
    rows, figures = found["rows"], found["figures"]
    return Outcome(rows, figures, SEGMENT_WORDS if config.segment_lengths else WORDS)


@dataclass(frozen=True)
class Side:
    """One measurement and the tokens that it gave, by trace."""

    row: dict[str, Any]
    tokens: dict[tuple[str, int], TokenIds]


def measure(
    repeats: int,
    overrides: list[str],
    segment_lengths: list[int],
    deepprune: bool,
    scratch: str | None,
) -> dict[str, Any]:
    config = main_config(["method=cons", *overrides])
    inputs = read_inputs(config)
    assert isinstance(config.sampler, VllmSamplerConfig)
    spec, _ = vllm_engines.engine_specs(config.sampler, sampler_context(config), num_devices())
    patience = config.sampler
    sampler = ProcessSampler("the engine", (spec, num_devices() > 0), patience.stall_s, patience.load_s, CHILD)
    try:
        sampler.wait_ready()
        warm_up(sampler, config, inputs)
        if segment_lengths:
            return _curve(sampler, overrides, segment_lengths, repeats, scratch)
        rows, figures = _pairs(sampler, config, inputs, repeats, scratch)
        if deepprune:
            found = [ours(InProcess(sampler), main_config([each, *overrides]), scratch, False).row for each in _BESIDE]
            rows += found
            figures |= {f"{row['side']}_s_per_kept_trace": row["s_per_kept_trace"] for row in found}
        return {"rows": rows, "figures": figures}
    finally:
        sampler.close()


CHILD = (sys.executable, "-m", "tests.bench.engine_child")
_BESIDE = ("method=cons", "method=deepprune")


def _pairs(
    sampler: ProcessSampler, config: Config, inputs: Inputs, repeats: int, scratch: str | None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    rows, ratios, same = [], [], True
    for number in range(repeats):
        own = ours(InProcess(sampler), config, scratch, True)
        raw = _raw(sampler, config, inputs)
        rows += [{"pair": number, **side.row} for side in (own, raw)]
        assert own.row["tokens"] == raw.row["tokens"], "both have to do the same work"
        same = same and own.tokens == raw.tokens
        ratios.append(own.row["tokens_per_s"] / raw.row["tokens_per_s"])
    figures = {
        "ratio": median(ratios),
        "ratio_least": min(ratios),
        "ours_tokens_per_s": median(row["tokens_per_s"] for row in rows if row["side"] == "ours"),
        "raw_tokens_per_s": median(row["tokens_per_s"] for row in rows if row["side"] == "raw"),
        "tokens_equal": same,
    }
    return rows, figures


def _curve(
    sampler: ProcessSampler, overrides: list[str], lengths: list[int], repeats: int, scratch: str | None
) -> dict[str, Any]:
    rows = []
    for number in range(repeats):
        for length in lengths:
            config = main_config(["method=cons", *overrides, f"sampler.segment_tokens={length}"])
            row = ours(InProcess(sampler), config, scratch, True).row
            lost = length / 2 * config.sampler.max_running_traces
            rows.append({"round": number, "segment_tokens": length, **row, "tokens_lost_by_a_kill": lost})
    figures = {
        f"tokens_per_s_{length}": median(row["tokens_per_s"] for row in rows if row["segment_tokens"] == length)
        for length in lengths
    }
    return {"rows": rows, "figures": figures}


def ours(engine: Measured, config: Config, scratch: str | None, is_whole: bool) -> Side:
    """Measure runner, cases and store on an engine."""
    engine.reset(is_whole)
    inputs = read_inputs(config)
    with (
        tempfile.TemporaryDirectory(dir=scratch) as folder,
        AnswerReader(config.problems.answers, config.problems.patterns, config.answer_time_limit_s) as reader,
        open_store(Path(folder) / "shard.duckdb", {"bench": "engine"}, 0.0) as store,
    ):
        begin(store)
        problems = inputs.problems.problems
        runner = Workbench(config, inputs, engine.sampler).runner(store, reader, iter(problems), len(problems), {})
        started, cpu_s = time.monotonic(), time.process_time()
        runner.run()
        wall_s, cpu_s = time.monotonic() - started, time.process_time() - cpu_s
        clock = engine.clock()
        segments = store.totals.segments
        answers = store.answers(config.accounting).to_pylist()
        table = store.traces(TraceRange(0, len(inputs.problems.problems)), False, True)
        tokens = {
            (row["problem_id"], row["trace_index"]): TokenIds(row["token_ids"])
            for row in table.select(["problem_id", "trace_index", "token_ids"]).to_pylist()
        }
        sampled = sum(row["tokens_sampled"] for row in answers)
        kept = sum(row["traces_finished"] for row in answers)
        read = sum(row["tokens_judge_prompt"] - row["tokens_judge_cached"] for row in answers)
        row = {
            "side": "ours" if is_whole else config.method.name,
            "wall_s": wall_s,
            "tokens": sampled,
            "tokens_per_s": sampled / wall_s,
            "engine_s": clock.get("engine_s"),
            "submit_s": clock.get("submit_s"),
            "commit_s": store.commit_s,
            "job_cpu_s": cpu_s,
            "job_cpu_ms_per_request": 1000 * cpu_s / segments,
            "steps": clock.get("steps"),
            "mean_running": clock["running_sum"] / clock["steps"] if clock else None,
        }
        if not is_whole:
            row |= {
                "traces_kept": kept,
                "s_per_kept_trace": wall_s / max(1, kept),
                "s_per_answer": wall_s / len(answers),
                "tokens_prefix": sum(row["tokens_prefix"] for row in answers),
                "judge_calls": sum(row["judge_calls"] for row in answers),
                "judge_tokens_read": read,
                "judge_tokens_sampled": sum(row["tokens_judge_output"] for row in answers),
            }
        return Side(row, tokens)


def _raw(sampler: ProcessSampler, config: Config, inputs: Inputs) -> Side:
    sampler.call("reset", True)
    wall_s, tokens = sampler.call("generate", requests_of(config, inputs))
    count = sum(len(ids) for ids in tokens.values())
    row = {"side": "raw", "wall_s": wall_s, "tokens": count, "tokens_per_s": count / wall_s}
    return Side(row, tokens)


def requests_of(config: Config, inputs: Inputs) -> list[Request]:
    """Return every trace as one request, with the seed that its first segment has."""
    prompts, rule = build.make_prompts(config, inputs), build.trace_rule(config)
    requests = []
    for priority, problem in enumerate(inputs.problems.problems):
        prompt = prompts.encode_problem(problem)
        for index in range(config.budget):
            key = SegmentKey(problem.problem_id, index, 0)
            seed = hash64(rule.seed, "segment", problem.problem_id, index, 0)
            requests.append(Request(key, prompt, rule.max_tokens, seed, priority, rule.decoding))
    return requests


def warm_up(sampler: ProcessSampler, config: Config, inputs: Inputs) -> None:
    requests = requests_of(config, inputs)[: config.sampler.max_running_traces]
    short = [Request(each.key, each.prompt_token_ids, 8, each.seed, 0, each.decoding) for each in requests]
    sampler.call("generate", short)


if __name__ == "__main__":
    serve(measure)
