"""Asks a server what it is before it gets work: model, context, tokenizer, version, cache, abilities, and its weight fingerprint."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pruner.prompts import ChatPrompts
from pruner.records.traces import Problem
from pruner.samplers.served.client import Client
from pruner.samplers.served.facts import ServerFacts
from pruner.samplers.served.faults import Fault, Mismatch, Refused, retried

# Questions whose prompts a server must cut into the same tokens: digits, code, scripts, white space.
_QUESTIONS = (
    "What is 12345 + 6789? Answer with a number, e.g. 3.14 or -2/7.",
    "def f(x):\n\treturn  x**2  # naïve café, Größe, œuvre\n\n\nProve: ∑ 1/n² = π²/6 ≤ 2.",
    "三角形の面積は?  Сколько будет 2+2?  كم؟  🧮🤖",
)
# Tokens whose log-probabilities are the fingerprint of a model's weights.
_FINGERPRINT_TOKENS = 128
_SEEDED_TOKENS = 16
_SEED_TRIES = 3
# How often one question is asked.
_TRIES = 4
# The priority of an examination, before that of any request.
_FIRST = -(1 << 20)


@dataclass(frozen=True)
class Requirements:
    """What a server must be.

    Attributes:
        prompts, tokenizer: the model's own.
        max_model_len: tokens of context that it must have.
        model: the name that it serves the model by; None: it serves one.
        adapter: the name that it serves the judge's LoRA adapter by; None: it needs none.
    """

    prompts: ChatPrompts
    tokenizer: Any
    max_model_len: int
    model: str | None
    adapter: str | None = None

    def texts(self) -> list[str]:
        """Return texts that it must cut into the same tokens."""
        return [self.prompts.rendered(Problem("", 0, each, None)) or each for each in _QUESTIONS]

    def tokens(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))


async def examine(client: Client, url: str, required: Requirements) -> ServerFacts:
    """Ask a server what it is. A few short requests, which sample 97 tokens at most.

    Raises:
        Mismatch: it does not meet the requirements.
        Fault: it gives no answer, or none that can be read.
    """
    try:
        return await _Examination(client, url, required).facts()
    except Refused as refused:
        if refused.status in (401, 403):
            raise Mismatch(
                ["it wants a key, or another one. Put it into the environment: PRUNER_API_KEY=..."]
            ) from None
        raise
    except Fault:
        raise
    except Exception as error:  # whatever a server says must not end the task that looks after it
        raise Fault(f"answers that are not vLLM's ({type(error).__name__})") from None


class _Examination:
    """The questions to one server."""

    def __init__(self, client: Client, url: str, required: Requirements) -> None:
        self._client = client
        self._url = url
        self._required = required
        self._texts = required.texts()
        self._prompt = required.tokens(self._texts[0] + self._texts[1])[:_FINGERPRINT_TOKENS]

    async def facts(self) -> ServerFacts:
        version = str((await self._json("/version"))["version"])[:100]
        models = {each["id"]: each for each in (await self._json("/v1/models"))["data"]}
        card = self._card(models)
        name = str(card["id"])
        if lines := [*self._shortcomings(models, card), *await self._tokenizer_fault(name)]:
            raise Mismatch(lines)
        scored, takes_priorities = await self._scored(name)
        sampling = {"model": name, "priority": _FIRST if takes_priorities else 0}
        has_seeds, cached = await self._seeds(sampling)
        cache = await self._cache()
        return ServerFacts(
            model=name,
            root=str(card.get("root") or "")[:1000],
            version=version,
            max_model_len=int(card["max_model_len"]),
            fingerprint=scored.get("system_fingerprint"),
            capacity_tokens=cache.get("kv_cache_size_tokens"),
            block_tokens=cache.get("block_size"),
            has_prefix_cache=True if cached else cache.get("enable_prefix_caching"),
            has_seeds=has_seeds,
            takes_priorities=takes_priorities,
            reports_cached=cached is not None,
            weights=self._weights(scored),
        )

    def _card(self, models: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return what the server says of the model. Raises Mismatch: it does not have it, or has others too."""
        name, names = self._required.model, ", ".join(models)[:300] or "no model"
        if name is None:
            own = [card for card in models.values() if not card.get("parent")]
            if len(own) != 1:
                raise Mismatch([f"it serves {names}; say which by sampler.served_name"])
            return own[0]
        if name not in models:
            raise Mismatch([f"it serves {names}, expected {name}"])
        return models[name]

    def _shortcomings(self, models: Mapping[str, Any], card: Mapping[str, Any]) -> list[str]:
        required, lines = self._required, []
        if required.adapter is not None and required.adapter not in models:
            names = ", ".join(models)[:300]
            lines.append(f"judge.served_name: it serves {names}, expected {required.adapter} among them")
        if int(card["max_model_len"]) < required.max_model_len:
            lines.append(
                f"its context has {int(card['max_model_len'])} tokens, expected at least model.max_model_len = {required.max_model_len}"
            )
        return lines

    async def _tokenizer_fault(self, name: str) -> list[str]:
        for text in self._texts:
            body = {"model": name, "prompt": text, "add_special_tokens": False}
            try:
                answer = await self._json("/tokenize", body)
            except Refused as refused:
                if refused.status in (404, 405):
                    return ["it has no /tokenize, so that it can't be seen whether it has the tokenizer of model.path"]
                raise
            if list(answer["tokens"]) != self._required.tokens(text):
                return ["it has another tokenizer than model.path: a prompt gives other tokens"]
        return []

    async def _scored(self, name: str) -> tuple[dict[str, Any], bool]:
        """Return the answer that has the log-probabilities of the fixed text, and whether a priority was accepted."""
        body = {"model": name, "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
        try:
            return await self._sample(body | {"priority": _FIRST}), True
        except Refused as refused:
            if refused.status not in (400, 422):
                raise
        return await self._sample(body), False

    def _weights(self, scored: Mapping[str, Any]) -> tuple[float, ...]:
        positions = scored["choices"][0]["prompt_logprobs"][1:]  # the first token has none
        pairs = zip(self._prompt[1:], positions, strict=True)
        return tuple(float(each[str(token)]["logprob"]) for token, each in pairs)

    async def _seeds(self, body: Mapping[str, Any]) -> tuple[bool, int | None]:
        """Return whether a seeded request gives the same tokens twice, and how many tokens were cached; None: it does not say."""
        cached: list[int] = []
        for seed in range(1, 1 + _SEED_TRIES):
            found = []
            for _ in range(2):
                answer = await self._sample({**body, "max_tokens": _SEEDED_TOKENS, "temperature": 1.0, "seed": seed})
                found.append(list(answer["choices"][0]["token_ids"]))
                number = (answer["usage"].get("prompt_tokens_details") or {}).get("cached_tokens")
                cached += [] if number is None else [int(number)]
            if found[0] == found[1]:
                break
        return found[0] == found[1], max(cached, default=None)

    async def _sample(self, values: Mapping[str, Any]) -> dict[str, Any]:
        body = {"prompt": self._prompt, "return_token_ids": True, "top_p": 1.0, "top_k": 0, "min_p": 0.0, **values}
        return dict(await self._json("/v1/completions", body, is_sampled=True))

    async def _json(self, path: str, body: Mapping[str, Any] | None = None, is_sampled: bool = False) -> Any:
        return json.loads(await self._ask(path, body, is_sampled))

    async def _ask(self, path: str, body: Mapping[str, Any] | None = None, is_sampled: bool = False) -> bytes:
        """Return an answer. One that is broken does not end the examination."""
        return await retried(lambda: self._client.ask(f"{self._url}{path}", body, is_sampled), _TRIES)

    async def _cache(self) -> dict[str, Any]:
        """Return the settings of the cache from the server's metrics, tokens of all its engines together; empty if it shows none."""
        try:
            text = (await self._ask("/metrics")).decode(errors="replace")
        except Refused as refused:
            if refused.status not in (401, 403, 404):
                raise
            return {}
        engines = re.findall(r"^vllm:cache_config_info\{(.*)\} ", text, re.MULTILINE)
        labels = [dict(re.findall(r'(\w+)="([^"]*)"', each)) for each in engines]
        first = labels[0] if labels else {}
        sizes = [each.get("kv_cache_size_tokens", "") for each in labels]
        found: dict[str, Any] = {}
        if first.get("block_size", "").isdigit():
            found["block_size"] = int(first["block_size"])
        if sizes and all(size.isdigit() for size in sizes):
            found["kv_cache_size_tokens"] = sum(map(int, sizes))
        if first.get("enable_prefix_caching") in ("True", "False"):
            found["enable_prefix_caching"] = first["enable_prefix_caching"] == "True"
        return found
