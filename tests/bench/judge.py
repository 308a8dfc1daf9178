"""The judge: how many pairs a second, how much of its prompts the cache serves, and how few pairs are asked for at all."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Sequence
from itertools import combinations, product
from pathlib import Path
from statistics import median
from typing import Any

from jobs.compose import main_config
from pruner.config.job import Config
from pruner.judges.base import JudgedProblem, Prefixed
from pruner.judges.llm import LlmJudgeConfig
from pruner.methods.base import Compare, MethodContext
from pruner.methods.deepprune import DeepPrune, DeepPruneConfig
from pruner.records.traces import PairKey, Segment, SegmentKey, Trace, Verdict, hash64
from pruner.rules.prefix import FixedTruncation, Prefix
from pruner.samplers import vllm_engines
from pruner.samplers.base import Request
from pruner.samplers.devices import num_devices
from pruner.samplers.vllm import VllmSampler
from pruner.samplers.vllm_engines import VllmSamplerConfig
from pruner.shard.inputs import Inputs, read_inputs, sampler_context
from pruner.shard.queue import completed
from tests.bench.children import in_child, serve
from tests.bench.live import last_attempt, rows, run_job
from tests.bench.outcome import Outcome
from tests.bench.settings import BenchConfig

WORDS = (
    "`run`: the main job with judge=llm on the real engine; of the judge's prompt tokens, those that the engine's prefix cache "
    "served. `pairs`: prefixes of `prefix_chars`, put together from that run's texts, judged by the engine alone: every later trace "
    "with each of the first two of its problem, their representatives. The shared one is first in the prompt, as methods ask, "
    "or second; the cache is emptied before each. `compared`: pairs that "
    "method=deepprune asks for with noisy verdicts (one in ten is wrong), as a share of K1 members of each of the K clusters for "
    "every newcomer, and of K1 members of each of the clusters that were there."
)
_ORDERS = ("shared first", "shared second")
_REPRESENTATIVES = 2
_BUDGETS = (64, 512)
_WRONG = 0.1


def run(config: BenchConfig) -> Outcome:
    found: list[dict[str, Any]] = [compared(budget, 0.8, seed) for budget in _BUDGETS for seed in range(5)]
    own = ["judge=llm", f"problems.limit={config.num_problems}", f"budget={config.num_traces}", *config.overrides]
    with tempfile.TemporaryDirectory(dir=config.scratch_folder) as folder:
        root = Path(folder)
        wall_s = run_job(root, own)
        attempt = last_attempt(root)
        prompt, cached = attempt["tokens_judge_prompt"], attempt["tokens_judge_prompt_cached"]
        run_row = {"what": "run", "wall_s": wall_s, "pairs": attempt["judge_calls"], "cached_share": cached / prompt}
        texts = [(row["problem_id"], row["trace_index"], row["text"]) for row in rows(root, "traces") if row["text"]]
    arguments = {"texts": texts, "overrides": own, "repeats": config.repeats, "prefix_chars": config.prefix_chars}
    measured = in_child("tests.bench.judge", arguments)["rows"]

    def middle(what: str, name: str, **where: Any) -> float:
        chosen = [row for row in [*found, *measured] if row["what"] == what]
        return median(float(row[name]) for row in chosen if all(row.get(key) == value for key, value in where.items()))

    figures = {
        "cached_share_run": run_row["cached_share"],
        **{
            f"{name}_{order.replace(' ', '_')}": middle("pairs", name, order=order)
            for name in ("cached_share", "pairs_per_s")
            for order in _ORDERS
        },
        **{f"compared_share_{budget}": middle("compared", "share_of_k_k1", budget=budget) for budget in _BUDGETS},
        **{
            f"compared_share_of_there_{budget}": middle("compared", "share_of_there", budget=budget)
            for budget in _BUDGETS
        },
    }
    return Outcome([*found, run_row, *measured], figures, WORDS)


def compared(budget: int, redundancy: float, seed: int) -> dict[str, Any]:
    """Let method=deepprune place `budget` traces of which so many pairs agree; return how many pairs it asked for."""
    config = main_config(["method=deepprune", f"budget={budget}", f"seed={seed}"])
    assert isinstance(config.method, DeepPruneConfig)
    changes = {"assign": "best", "answer": "vote", "k2": 1, "k3": 1, "finish_share": 1.0}
    context = MethodContext(f"p{seed}", budget, seed, FixedTruncation(1))
    method = DeepPrune(context, config.method.model_copy(update=changes))
    draw = random.Random(hash64("bench", budget, seed))
    # Most answer alike, the others spread over four answers: then redundancy = share^2 + (1 - share)^2 / 4.
    share = (1 + (1 - 5 * (1 - 4 * redundancy)) ** 0.5) / 5
    answers = [0 if draw.random() < share else 1 + draw.randrange(4) for _ in range(budget)]
    asked = there = 0
    method.begin()
    for index in range(budget):
        there += sum(min(config.method.k1, len(cluster.members)) for cluster in method.clusters)
        key = SegmentKey(f"p{seed}", index, 0)
        actions = list(method.on_segment(Trace(key.problem_id, index).append(Segment(key, 1, (1,), "", None, 0, 0))))
        while actions:
            action = actions.pop()
            if not isinstance(action, Compare):
                continue
            asked += len(action.pairs)
            verdicts = [_noisy(key.problem_id, pair, answers, draw) for pair in action.pairs]
            actions += method.on_verdicts(verdicts)
    same = sum(answers[left] == answers[right] for left, right in combinations(range(budget), 2))
    return {
        "what": "compared",
        "budget": budget,
        "seed": seed,
        "redundancy": same / (budget * (budget - 1) / 2),
        "clusters": len(method.clusters),
        "pairs": asked,
        "share_of_k_k1": asked / (budget * config.method.k * config.method.k1),
        "share_of_there": asked / there,
    }


def _noisy(problem_id: str, pair: tuple[int, int], answers: Sequence[int], draw: random.Random) -> Verdict:
    is_same = (answers[pair[0]] == answers[pair[1]]) != (draw.random() < _WRONG)
    return Verdict(PairKey(problem_id, *pair), 0.5 + (0.4 if is_same else -0.4))


def measure(texts: list[list[Any]], overrides: list[str], repeats: int, prefix_chars: int) -> dict[str, Any]:
    config = main_config(overrides)
    assert isinstance(config.sampler, VllmSamplerConfig)
    spec, _ = vllm_engines.engine_specs(config.sampler, sampler_context(config), num_devices())
    sampler = VllmSampler(spec, num_devices() > 0)
    sampler.wait_ready(lambda: False)
    try:
        inputs = read_inputs(config)
        by_order = {order: pair_requests(config, inputs, texts, prefix_chars, order) for order in _ORDERS}
        _drain(sampler, by_order[_ORDERS[0]][:8])
        found = []
        for number in range(repeats):
            for order, requests in by_order.items():
                found.append({"what": "pairs", "round": number, "order": order, **_drain(sampler, requests)})
        return {"rows": found}
    finally:
        sampler.close()


def pair_requests(
    config: Config, inputs: Inputs, texts: Sequence[Sequence[Any]], prefix_chars: int, order: str
) -> list[Request]:
    """Return the judge's requests for each problem's later traces with its first two, newcomer by newcomer.

    Args:
        texts: problem id, trace index and text of each trace.
        order: where the trace that pairs share is in the prompt.
    """
    assert isinstance(config.judge, LlmJudgeConfig)
    judge = config.judge.load(config.model, config.model.max_model_len)
    requests = []
    for priority, problem in enumerate(inputs.problems.problems):
        own = [text for problem_id, _, text in texts if problem_id == problem.problem_id]
        prefixed = {
            index: Prefixed(Trace(problem.problem_id, index), Prefix(long_text(own, index, prefix_chars), 0))
            for index in range(len(own))
        }
        bench = JudgedProblem(problem, (), prefixed, priority)
        for newcomer, shared in product(range(_REPRESENTATIVES, len(own)), range(_REPRESENTATIVES)):
            pair = (shared, newcomer) if order == _ORDERS[0] else (newcomer, shared)
            request = judge.request(PairKey(problem.problem_id, *pair), bench)
            assert request is not None
            requests.append(request)
    return requests


def long_text(texts: Sequence[str], index: int, num_chars: int) -> str:
    """Return so many characters of real text: a trace's own, then those of the traces after it, round and round."""
    joined = "\n".join([*texts[index:], *texts[:index]])
    return (joined * (num_chars // len(joined) + 1))[:num_chars]


def _drain(sampler: VllmSampler, requests: Sequence[Request]) -> dict[str, float]:
    sampler.llm.reset_prefix_cache()
    started = time.monotonic()
    # All of one priority: the engine takes them in the order in which they come.
    completions = list(completed(sampler, [_with_priority(request) for request in requests]))
    wall_s = time.monotonic() - started
    prompt = sum(each.prompt_tokens for each in completions)
    return {
        "wall_s": wall_s,
        "pairs": len(completions),
        "pairs_per_s": len(completions) / wall_s,
        "cached_share": sum(each.cached_tokens for each in completions) / prompt,
    }


def _with_priority(request: Request) -> Request:
    return Request(request.key, request.prompt_token_ids, request.max_tokens, request.seed, 0, request.decoding)


if __name__ == "__main__":
    serve(measure)
