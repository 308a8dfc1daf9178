"""The generative judge: one prompt with both prefixes, one of two words out; the score is P(the word for same).

Zero-shot with any model, or a trained one: a model folder or a LoRA adapter, by config. Its label tokens' raw
log-probabilities are asked for, so no text is parsed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from pruner.config.judges import LlmJudgeConfig
from pruner.judges.base import Bench
from pruner.judges.pair_prompt import PairPrompt
from pruner.prompts import ChatPrompts
from pruner.samplers.base import Completion, Decoding, Request
from pruner.traces import Fact, Key, PairKey, Verdict


class LlmJudge:
    """P(same) from the judge's two label words.

    The left trace, a cluster's representative, comes first in the prompt, so consecutive pairs share it and the prefix
    cache serves it.

    Source: DeepPrune (arXiv 2510.08483), the generative judge; its prompt is not published, ours is in conf/judge.
    """

    name = "llm"

    def __init__(self, config: LlmJudgeConfig, prompts: ChatPrompts, max_model_len: int) -> None:
        """Raises InputError: the labels do not differ in their first token."""
        self._config = config
        self._prompt = PairPrompt(prompts, config.prompt, config.labels, config.system)
        self._max_model_len = max_model_len
        self._head_tokens: dict[Key, int] = {}
        self._decoding = Decoding(label_token_ids=self._prompt.label_token_ids, uses_adapter=config.adapter is not None)

    def prepares(self, trace_index: int, bench: Bench) -> tuple[Key, ...]:
        return ()

    def needs(self, pair: PairKey, bench: Bench, known: Mapping[Key, Fact]) -> tuple[Key, ...]:
        return tuple(key for key in self._orders(pair) if key not in known)

    def verdict(self, pair: PairKey, bench: Bench, known: Mapping[Key, Fact]) -> Verdict:
        facts = [fact for key in self._orders(pair) if isinstance(fact := known[key], Verdict)]
        scores = [fact.score for fact in facts if fact.score is not None]
        return replace(facts[0], score=sum(scores) / len(scores) if scores else None)

    def request(self, key: Key, bench: Bench) -> Request | None:
        assert isinstance(key, PairKey)
        question = bench.problem.question
        left, right = (bench.traces[index].prefix.text for index in (key.left_trace, key.right_trace))
        prompt = self._prompt.encode(question, left, right)
        if len(prompt) + 1 > self._max_model_len:
            return None
        self._head_tokens[key] = common_head(prompt, self._prompt.encode(question, left, ""))
        return Request(key, prompt, 1, 0, bench.priority, self._decoding)

    def read(self, key: Key, completion: Completion | None, bench: Bench) -> Verdict:
        assert isinstance(key, PairKey)
        if completion is None or completion.label_logprobs is None:
            return Verdict(key, None)
        return Verdict(
            key=key,
            score=probability_of_first(completion.label_logprobs),
            prompt_tokens=completion.prompt_tokens,
            cached_tokens=completion.cached_tokens,
            head_tokens=self._head_tokens.pop(key, 0),
            output_tokens=completion.num_tokens,
        )

    def _orders(self, pair: PairKey) -> tuple[PairKey, ...]:
        """Return the orders in which the judge is shown a pair; each is a request and a fact of its own."""
        if not self._config.both_orders:
            return (pair,)
        return pair, PairKey(pair.problem_id, pair.right_trace, pair.left_trace)


def common_head(left: tuple[int, ...], right: tuple[int, ...]) -> int:
    """Return how many tokens two sequences share at their beginning."""
    for position, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return position
    return min(len(left), len(right))


def probability_of_first(label_logprobs: tuple[float, ...]) -> float:
    """Return P(first label) among the two, from their raw log-probabilities."""
    first, second = label_logprobs
    return 1.0 / (1.0 + math.exp(min(700.0, second - first)))
