"""Ask a judge of the main job about labelled pairs: the very prompts, requests and verdicts that a run would make."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pruner.judges.base import Judge, JudgedProblem, Prefixed
from pruner.learning.pairs import LabelledPair
from pruner.prompts import Prompts
from pruner.records.traces import Fact, Key, PairKey, Probe, Problem, Segment, SegmentKey, Trace, Verdict
from pruner.rules.prefix import Prefix
from pruner.samplers.base import Request, Sampler
from pruner.shard.queue import completed


@dataclass(frozen=True)
class Scored:
    """What a judge said.

    Attributes:
        scores: [pairs], None where there is no verdict.
        tokens_read: prompt tokens in all, what the engine's cache served included.
        tokens_cached: of these what the cache served.
    """

    scores: tuple[float | None, ...]
    tokens_read: int
    tokens_cached: int


def score_pairs(
    judge: Judge,
    sampler: Sampler | None,
    prompts: Prompts,
    pairs: Sequence[LabelledPair],
    max_running: int,
    key_of: Callable[[str], str] = lambda answer: answer,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Scored:
    """Return the judge's verdict on each pair.

    Args:
        sampler: an engine; None for a judge that asks for none.
        max_running: requests in the engine at once.
        key_of: the canonical key of a probed answer.
        report: called with the requests done and their total.
    """
    facts: dict[Key, Fact] = {}
    requests: dict[Key, Request] = {}
    asked: list[tuple[PairKey, JudgedProblem]] = []
    owner: dict[Key, JudgedProblem] = {}
    for judged, pair in with_benches(pairs, prompts):
        key = PairKey(judged.problem.problem_id, pair.left_trace, pair.right_trace)
        asked.append((key, judged))
        for needed in judge.parts(key, judged):
            if needed in facts:
                continue
            request = None if needed in requests else judge.request(needed, judged)
            if request is not None:
                requests[needed], owner[needed] = request, judged
            elif needed not in requests:
                facts[needed] = keyed(judge.read(needed, None, judged), key_of)
    if requests:
        assert sampler is not None, "the judge asks for an engine"
        for done, completion in enumerate(completed(sampler, requests.values(), max_running), start=1):
            facts[completion.key] = keyed(judge.read(completion.key, completion, owner[completion.key]), key_of)
            report(done, len(requests))
    read = [fact for fact in facts.values() if isinstance(fact, Probe | Verdict)]
    return Scored(
        scores=tuple(
            judge.verdict(key, judged, [facts[part] for part in judge.parts(key, judged)]).score
            for key, judged in asked
        ),
        tokens_read=sum(fact.prompt_tokens for fact in read),
        tokens_cached=sum(fact.cached_tokens for fact in read),
    )


def keyed(fact: Probe | Verdict, key_of: Callable[[str], str]) -> Probe | Verdict:
    """Return a probe with its answer's key; a verdict as it is."""
    if isinstance(fact, Verdict) or fact.answer is None:
        return fact
    return replace(fact, answer_key=key_of(fact.answer))


def with_benches(pairs: Sequence[LabelledPair], prompts: Prompts) -> list[tuple[JudgedProblem, LabelledPair]]:
    """Return each pair with its problem's judged; problems of two sets never share one."""
    groups: dict[tuple[str, str], list[LabelledPair]] = {}
    for pair in pairs:
        groups.setdefault((pair.problem_set, pair.problem_id), []).append(pair)
    benches: dict[tuple[str, str], JudgedProblem] = {}
    for number, (key, group) in enumerate(groups.items()):
        problem = Problem("/".join(key), number, group[0].question, None)
        benches[key] = JudgedProblem(
            problem, prompts.encode_question(problem.question), _prefixed(problem, group, prompts), 0
        )
    return [(benches[pair.problem_set, pair.problem_id], pair) for pair in pairs]


def _prefixed(problem: Problem, pairs: Sequence[LabelledPair], prompts: Prompts) -> Mapping[int, Prefixed]:
    texts = {pair.left_trace: (pair.left, pair.left_tokens) for pair in pairs}
    texts |= {pair.right_trace: (pair.right, pair.right_tokens) for pair in pairs}
    found = {}
    for index, (text, num_tokens) in texts.items():
        # Recorded traces have no token ids; the prefix's text is encoded anew, for the probe that continues it.
        ids = prompts.encode_text(text)
        segment = Segment(SegmentKey(problem.problem_id, index, 0), len(ids), ids, text, None, 0, 0)
        trace = Trace(problem.problem_id, index).append(segment)
        found[index] = Prefixed(trace, Prefix(text, num_tokens))
    return found
