"""Ask a judge of the main job about labelled pairs: the very prompts, requests and verdicts that a run would make."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pruner.judges.base import Judge, JudgedProblem, Prefixed
from pruner.learning.pairs import LabelledPair
from pruner.prompts import Prompts
from pruner.records.traces import Fact, Key, PairKey, Probe, Problem, Segment, SegmentKey, Trace, Verdict
from pruner.rules.prefix import Prefix
from pruner.samplers.base import Completion, Request, Sampler
from pruner.shard.queue import completed


@dataclass(frozen=True)
class Scored:
    """A judge's verdicts.

    Attributes:
        scores: [pairs], None where there is no verdict.
        tokens_read: prompt tokens that the judge newly read; those that the engine's cache served are not counted.
    """

    scores: tuple[float | None, ...]
    tokens_read: int


def score_pairs(
    judge: Judge,
    open_sampler: Callable[[], Sampler],
    prompts: Prompts,
    pairs: Sequence[LabelledPair],
    max_running: int,
    key_of: Callable[[str], str],
) -> Scored:
    """Return the judge's verdict on each pair.

    Args:
        open_sampler: starts an engine; called only if the judge asks for one.
        prompts: as the traces were sampled with; a judge that asks for no probes does with any.
        max_running: requests in the engine at once.
        key_of: the canonical key of a probed answer.
    """
    problems = judged_problems(pairs, prompts)
    facts: dict[Key, Fact] = {}
    requests: dict[Key, Request] = {}

    def read(key: Key, completion: Completion | None) -> None:
        fact = judge.read(key, completion, problems[key.problem_id])
        if isinstance(fact, Probe) and fact.answer is not None:
            fact = replace(fact, answer_key=key_of(fact.answer))
        facts[key] = fact

    keys = [PairKey(pair.problem, pair.left_trace, pair.right_trace) for pair in pairs]
    parts = [judge.parts(key, problems[key.problem_id]) for key in keys]
    for needed in dict.fromkeys(part for each in parts for part in each):
        request = judge.request(needed, problems[needed.problem_id])
        if request is None:
            read(needed, None)
        else:
            requests[needed] = request
    for completion in _completions(open_sampler, list(requests.values()), max_running) if requests else ():
        read(completion.key, completion)
    scores = [
        judge.verdict(key, problems[key.problem_id], [facts[part] for part in each]).score
        for key, each in zip(keys, parts, strict=True)
    ]
    read_facts = [fact for fact in facts.values() if isinstance(fact, Probe | Verdict)]
    return Scored(
        scores=tuple(scores),
        tokens_read=sum(fact.prompt_tokens - fact.cached_tokens for fact in read_facts),
    )


def _completions(
    open_sampler: Callable[[], Sampler], requests: Sequence[Request], max_running: int
) -> Iterator[Completion]:
    """Yield the completions of all requests, as they come, and report them in tenths."""
    sampler = open_sampler()
    try:
        sampler.wait_ready(lambda: False)
        for done, completion in enumerate(completed(sampler, requests, max_running), start=1):
            yield completion
            if done % max(1, len(requests) // 10) == 0:
                print(f"  {done:,} of {len(requests):,} requests", file=sys.stderr, flush=True)
    finally:
        sampler.close()


def judged_problems(pairs: Sequence[LabelledPair], prompts: Prompts) -> Mapping[str, JudgedProblem]:
    """Return the problems of pairs, with the prefixes that are in them, by LabelledPair.problem."""
    groups: dict[str, list[LabelledPair]] = {}
    for pair in pairs:
        groups.setdefault(pair.problem, []).append(pair)
    problems = [Problem(name, number, group[0].question, None) for number, (name, group) in enumerate(groups.items())]
    return {
        each.problem_id: JudgedProblem(
            each,
            prompts.encode_problem(each),
            _prefixed(each.problem_id, groups[each.problem_id], prompts),
            priority=0,
        )
        for each in problems
    }


def _prefixed(problem: str, pairs: Sequence[LabelledPair], prompts: Prompts) -> Mapping[int, Prefixed]:
    prefixes = {pair.left_trace: Prefix(pair.left, pair.left_tokens) for pair in pairs}
    prefixes |= {pair.right_trace: Prefix(pair.right, pair.right_tokens) for pair in pairs}
    traces = {}
    for index, prefix in prefixes.items():
        # Recorded traces have no token ids; the prefix's text is encoded anew, for the probe that continues it.
        ids = prompts.encode_text(prefix.text)
        segment = Segment(SegmentKey(problem, index, 0), len(ids), ids, prefix.text, None, 0, 0)
        traces[index] = Prefixed(Trace(problem, index).append(segment), prefix)
    return traces
