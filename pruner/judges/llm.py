"""The generative judge: one prompt with both prefixes, one of two words out; the score is P(the word for same).

Zero-shot with any model, or a trained one: a model folder or a LoRA adapter, by config. Its label tokens' raw
log-probabilities are asked for, so no text is parsed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from pruner.errors import InputError
from pruner.judges.base import JudgeConfig, JudgeContext, JudgedProblem, MakeProber
from pruner.judges.card import check_base
from pruner.judges.pair_prompt import PairPrompt
from pruner.prompts import ChatPrompts, check_model_folder, load_tokenizer, path_fingerprint
from pruner.records.traces import Fact, Key, PairKey, Verdict
from pruner.samplers.base import Completion, Decoding, Request
from pruner.samplers.judge_engine import JudgeEngine
from pruner.settings.model import ModelConfig


class LlmJudgeConfig(JudgeConfig, JudgeEngine):
    """A generative judge. path: null is the sampler's own model. adapter: a LoRA folder for it. colocate: then
    path must be null. labels: the words for same and different. both_orders: show each
    pair in both orders and average. opening: text between the end of the prompt and the label; a reasoning model that
    is to answer at once needs the end of its thinking there. A prompt may do without {question}."""

    name: Literal["llm"]
    system: str | None = None
    prompt: str
    labels: Annotated[tuple[str, ...], Field(min_length=2, max_length=2)]
    both_orders: bool = False
    opening: str = ""
    template_kwargs: dict[str, str | bool | int] = Field(default_factory=dict)
    not_identity: ClassVar[tuple[str, ...]] = ("path", "adapter", *JudgeEngine.not_identity)
    asks_engine: ClassVar[bool] = True

    @model_validator(mode="after")
    def _colocated_is_the_samplers_model(self) -> LlmJudgeConfig:
        if self.colocate and self.path is not None:
            raise ValueError("colocate: got true with a path of its own; set judge.colocate=false or judge.path=null")
        if self.colocate and self.gpus is not None:
            raise ValueError(
                "gpus: a colocated judge runs on the sampler's; set judge.colocate=false or judge.gpus=null"
            )
        for field in ("{left}", "{right}"):
            if field not in self.prompt:
                raise ValueError(f"prompt: has no {field}")
        return self

    def engine(self) -> JudgeEngine:
        return self

    def check(self, context: JudgeContext) -> None:
        if self.path is not None:
            check_model_folder(self.path, "judge.path")
        if self.adapter is not None:
            if not (Path(self.adapter) / "adapter_config.json").is_file():
                raise InputError(f"judge.adapter: got {self.adapter!r}, expected a folder with adapter_config.json.")
            path, revision = (self.path, None) if self.path else (context.model.path, context.model.revision)
            check_base(None, Path(self.adapter), path, revision)

    def fingerprints(self, known: Mapping[str, str]) -> dict[str, str]:
        return {
            "judge": path_fingerprint(self.path) if self.path else known["model"],
            "adapter": path_fingerprint(self.adapter) if self.adapter else "none",
        }

    def make(self, context: JudgeContext, make_prober: MakeProber) -> LlmJudge:
        max_model_len = context.model.max_model_len if self.colocate else self.max_model_len
        return self.load(context.model, max_model_len)

    def load(self, model: ModelConfig, max_model_len: int) -> LlmJudge:
        """Return the judge with its tokenizer.

        Args:
            model: the sampler's, which is the judge's too if it has no path.
            max_model_len: of the engine that it asks.
        """
        path = self.path or model.path
        tokenizer = load_tokenizer(path, None if self.path else model.revision, model.trust_remote_code)
        template = model.prompt.model_copy(update={"template_kwargs": self.template_kwargs})
        return LlmJudge(self, ChatPrompts(tokenizer, template), max_model_len)


class LlmJudge:
    """P(same) from the judge's two label words.

    The left trace, a cluster's representative, comes first in the prompt, so consecutive pairs share it and the prefix
    cache serves it.

    Source: DeepPrune (arXiv 2510.08483), the generative judge; its prompt is not published, ours is in conf/judge.
    """

    name = "llm"

    def __init__(self, config: LlmJudgeConfig, prompts: ChatPrompts, max_model_len: int) -> None:
        """Raises InputError: one label is the beginning of the other."""
        self._config = config
        self._prompt = PairPrompt(prompts, config.prompt, config.labels, config.system, config.opening)
        self._max_model_len = max_model_len
        self._head_tokens: dict[Key, int] = {}
        self._decoding = Decoding(label_token_ids=self._prompt.label_token_ids, uses_adapter=config.adapter is not None)

    def prepares(self, trace_index: int, judged: JudgedProblem) -> tuple[Key, ...]:
        return ()

    def parts(self, pair: PairKey, judged: JudgedProblem) -> tuple[Key, ...]:
        """Return the orders in which the judge is shown a pair; each is a request and a fact of its own."""
        if not self._config.both_orders:
            return (pair,)
        return pair, PairKey(pair.problem_id, pair.right_trace, pair.left_trace)

    def verdict(self, pair: PairKey, judged: JudgedProblem, parts: Sequence[Fact]) -> Verdict:
        facts = [fact for fact in parts if isinstance(fact, Verdict)]
        scores = [fact.score for fact in facts if fact.score is not None]
        return replace(facts[0], score=sum(scores) / len(scores) if scores else None)

    def request(self, key: Key, judged: JudgedProblem) -> Request | None:
        assert isinstance(key, PairKey)
        question = judged.problem.question
        left, right = (judged.traces[index].prefix.text for index in (key.left_trace, key.right_trace))
        prompt = self._prompt.encode(question, left, right)
        if len(prompt) + 1 > self._max_model_len:
            return None
        self._head_tokens[key] = common_head(prompt, self._prompt.encode(question, left, ""))
        return Request(key, prompt, 1, 0, judged.priority, self._decoding)

    def read(self, key: Key, completion: Completion | None, judged: JudgedProblem) -> Verdict:
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
