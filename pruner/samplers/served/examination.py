"""What a server is, asked before it gets work: model, context, tokenizer, version, what it can, and a print of its weights."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from pruner.errors import InputError
from pruner.prompts import ChatPrompts
from pruner.samplers.served.answer import Origin
from pruner.samplers.served.client import Client, Refused, Unreachable

# Questions whose prompts a server must cut into the same tokens: digits, code, scripts, white space.
_QUESTIONS = (
    "What is 12345 + 6789? Answer with a number, e.g. 3.14 or -2/7.",
    "def f(x):\n\treturn  x**2  # naïve café, Größe, œuvre\n\n\nProve: ∑ 1/n² = π²/6 ≤ 2.",
    "三角形の面積は?  Сколько будет 2+2?  كم؟  🧮🤖",
)
# Tokens whose log-probabilities are the print of a model's weights, and how far two prints of the same may lie apart in the mean: see
# slurm/README.md for what numerics make of it.
_PRINT_TOKENS = 128
PRINT_TOLERANCE = 0.05
_SEEDED_TOKENS = 16
_SEED_TRIES = 3
# The priority of what is asked here, before that of any request.
_FIRST = -(1 << 20)
_TRIES = 4

_T = TypeVar("_T")


class Misfit(Exception):
    """A server that is not what the run needs. lines: why, one a fault."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = tuple(lines)


@dataclass(frozen=True)
class Wanted:
    """What a server must be.

    Attributes:
        model: the name that it serves the model by; None: it serves one.
        adapter: the name that it serves the judge's LoRA adapter by; None: it needs none.
        max_model_len: tokens of context that it must have.
        tokenizer: the model's own.
        texts: that it must cut into the same tokens.
    """

    model: str | None
    adapter: str | None
    max_model_len: int
    tokenizer: Any
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """What a server is.

    Attributes:
        model: the name that it serves the model by. root: where it has it from.
        fingerprint: the `system_fingerprint` that its answers carry; None where they carry none.
        capacity_tokens, block_tokens, has_prefix_cache: of its cache, from its metrics; None where it shows none.
        has_seeds: a seeded request gave the same tokens twice.
        takes_priorities: it does not refuse requests with one; whether it heeds them cannot be seen.
        reports_cached: its answers say how many tokens were cached.
        weights: log-probabilities of the tokens of a fixed text.
    """

    model: str
    root: str
    version: str
    max_model_len: int
    fingerprint: str | None
    capacity_tokens: int | None
    block_tokens: int | None
    has_prefix_cache: bool | None
    has_seeds: bool
    takes_priorities: bool
    reports_cached: bool
    weights: tuple[float, ...]

    def origin(self, model: str | None = None) -> Origin:
        """Return what its answers must say, or those of another model that it serves."""
        return Origin(model or self.model, self.fingerprint)

    def record(self) -> dict[str, Any]:
        """Return the facts as plain values, for run.json."""
        return asdict(self) | {"weights": [round(value, 4) for value in self.weights]}


def wanted(
    prompts: ChatPrompts, tokenizer: Any, max_model_len: int, model: str | None, adapter: str | None = None
) -> Wanted:
    """Return what a server must be for a model. prompts, tokenizer: the model's."""
    return Wanted(
        model, adapter, max_model_len, tokenizer, tuple(prompts.rendered(each) or each for each in _QUESTIONS)
    )


async def examine(client: Client, url: str, want: Wanted) -> Facts:
    """Ask a server what it is. A few short requests; the most that it samples is 50 tokens.

    Raises:
        Unreachable: it gives no answer, or none that can be read.
        Misfit: it is not what is wanted.
    """
    try:
        return await _examined(_Patient(client), url, want)
    except Refused as refused:
        if refused.status in (401, 403):
            raise Misfit(["it wants a key, or another one. Put it into the environment: PRUNER_API_KEY=..."]) from None
        raise Unreachable(str(refused)) from None
    except (Unreachable, Misfit):
        raise
    except Exception as error:  # whatever a server says must not end what looks after it
        raise Unreachable(f"answers that are not vLLM's ({type(error).__name__})") from None


class _Patient:
    """A client that asks again where an answer is broken, so that one fault does not end an examination."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def get(self, url: str) -> bytes:
        return await self._tried(lambda: self._client.get(url))

    async def get_json(self, url: str) -> Any:
        return await self._tried(lambda: self._client.get_json(url))

    async def post(self, url: str, body: Mapping[str, Any]) -> Any:
        return await self._tried(lambda: self._client.post(url, body))

    async def sample(self, url: str, body: Mapping[str, Any]) -> Any:
        return await self._tried(lambda: self._client.post(f"{url}/v1/completions", body, is_sampled=True))

    async def _tried(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        wait = wait_random_exponential(multiplier=0.1, max=2.0)
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(_is_passing), stop=stop_after_attempt(_TRIES), wait=wait, reraise=True
        ):
            with attempt:
                found = await ask()
        return found


def _is_passing(error: BaseException) -> bool:
    """Say whether the same question may be answered a moment later."""
    if isinstance(error, Refused):
        return error.status == 429 or error.status >= 500
    return isinstance(error, Unreachable) and not error.is_gone and not error.is_slow


async def _examined(client: _Patient, url: str, want: Wanted) -> Facts:
    version = str((await client.get_json(f"{url}/version"))["version"])[:100]
    models = {str(each["id"]): each for each in (await client.get_json(f"{url}/v1/models"))["data"]}
    card = _card(models, want.model)
    name, max_model_len = str(card["id"]), int(card["max_model_len"])
    faults = []
    if want.adapter is not None and want.adapter not in models:
        faults.append(f"judge.served_name: it serves {_named(models)}, expected {want.adapter} among them")
    if max_model_len < want.max_model_len:
        faults.append(
            f"its context has {max_model_len} tokens, expected at least model.max_model_len = {want.max_model_len}"
        )
    faults += await _tokenizer_faults(client, url, name, want)
    if faults:
        raise Misfit(faults)
    prompt = want.tokenizer.encode(want.texts[0] + want.texts[1], add_special_tokens=False)[:_PRINT_TOKENS]
    common = {"model": name, "prompt": prompt, "return_token_ids": True, "top_p": 1.0, "top_k": 0, "min_p": 0.0}
    takes_priorities = await _takes_priorities(client, url, common)
    common |= {"priority": _FIRST if takes_priorities else 0}
    whole = await client.sample(url, common | {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0})
    weights = tuple(
        float(each[str(token)]["logprob"])
        for token, each in zip(prompt[1:], whole["choices"][0]["prompt_logprobs"][1:], strict=True)
    )
    has_seeds, reports_cached, cached = await _seeds(client, url, common)
    cache = await _cache(client, url)
    return Facts(
        model=name,
        root=str(card.get("root") or "")[:1000],
        version=version,
        max_model_len=max_model_len,
        fingerprint=whole.get("system_fingerprint"),
        capacity_tokens=cache.get("kv_cache_size_tokens"),
        block_tokens=cache.get("block_size"),
        has_prefix_cache=True if cached else cache.get("enable_prefix_caching"),
        has_seeds=has_seeds,
        takes_priorities=takes_priorities,
        reports_cached=reports_cached,
        weights=weights,
    )


def _card(models: Mapping[str, Mapping[str, Any]], name: str | None) -> Mapping[str, Any]:
    """Return what the server says of the model that is wanted. Raises Misfit."""
    own = {key: card for key, card in models.items() if not card.get("parent")}
    if name is None and len(own) == 1:
        return next(iter(own.values()))
    if name is None:
        raise Misfit([f"it serves {_named(models)}; say which by sampler.served_name"])
    if name not in models:
        raise Misfit([f"it serves {_named(models)}, expected {name}"])
    return models[name]


def _named(models: Mapping[str, Any]) -> str:
    return ", ".join(models)[:300] or "no model"


async def _tokenizer_faults(client: _Patient, url: str, name: str, want: Wanted) -> list[str]:
    for text in want.texts:
        own = list(want.tokenizer.encode(text, add_special_tokens=False))
        try:
            theirs = await client.post(f"{url}/tokenize", {"model": name, "prompt": text, "add_special_tokens": False})
        except Refused as refused:
            if refused.status in (404, 405):
                return ["it has no /tokenize, so that it can't be seen whether it has the tokenizer of model.path"]
            raise
        if list(theirs["tokens"]) != own:
            return ["it has another tokenizer than model.path: a prompt gives other tokens"]
    return []


async def _seeds(client: _Patient, url: str, common: dict[str, Any]) -> tuple[bool, bool, int]:
    """Return whether a seeded request gives the same tokens twice, whether cached tokens are reported, and how many were cached."""
    reports, cached = False, 0
    for seed in range(1, 1 + _SEED_TRIES):
        found = []
        for _ in range(2):
            answer = await client.sample(url, common | {"max_tokens": _SEEDED_TOKENS, "temperature": 1.0, "seed": seed})
            found.append(list(answer["choices"][0]["token_ids"]))
            details = answer["usage"].get("prompt_tokens_details") or {}
            reports = reports or details.get("cached_tokens") is not None
            cached = max(cached, details.get("cached_tokens") or 0)
        if found[0] == found[1]:
            return True, reports, cached
    return False, reports, cached


async def _takes_priorities(client: _Patient, url: str, common: dict[str, Any]) -> bool:
    try:
        await client.sample(url, common | {"max_tokens": 1, "temperature": 0.0, "priority": _FIRST})
    except Refused as refused:
        if refused.status in (400, 422):
            return False
        raise
    return True


async def _cache(client: _Patient, url: str) -> dict[str, Any]:
    """Return the settings of a server's cache from its metrics, tokens of all its engines together; empty where it shows none."""
    try:
        text = (await client.get(f"{url}/metrics")).decode(errors="replace")
    except Refused as refused:
        if refused.status not in (401, 403, 404):
            raise
        return {}
    engines = re.findall(r"^vllm:cache_config_info\{(.*)\} ", text, re.MULTILINE)
    labels = [dict(re.findall(r'(\w+)="([^"]*)"', each)) for each in engines]
    found: dict[str, Any] = {}
    if labels and (size := labels[0].get("block_size", "")).isdigit():
        found["block_size"] = int(size)
    sizes = [each.get("kv_cache_size_tokens", "") for each in labels]
    if sizes and all(size.isdigit() for size in sizes):
        found["kv_cache_size_tokens"] = sum(map(int, sizes))
    if labels and labels[0].get("enable_prefix_caching") in ("True", "False"):
        found["enable_prefix_caching"] = labels[0]["enable_prefix_caching"] == "True"
    return found


def differences(one: Facts, other: Facts) -> list[str]:
    """Return what keeps two servers from working on one run, one line a difference."""
    names = {
        "model": "the model's name",
        "version": "vLLM",
        "max_model_len": "the context",
        "block_tokens": "the cache's block",
        "has_prefix_cache": "prefix caching",
        "takes_priorities": "priorities",
    }
    pairs = ((words, getattr(one, key), getattr(other, key)) for key, words in names.items())
    # What one of them does not show is not known to differ.
    found = [
        f"{words}: {theirs} here, {ours} on the others"
        for words, ours, theirs in pairs
        if ours != theirs and None not in (ours, theirs)
    ]
    return found + other_weights(one.weights, other.weights)


def other_weights(known: Sequence[float], found: Sequence[float]) -> list[str]:
    """Return a line if two prints are not of the same weights."""
    if len(known) != len(found):
        return ["its print has another length"]
    apart = sum(abs(a - b) for a, b in zip(known, found, strict=True)) / max(1, len(known))
    if apart <= PRINT_TOLERANCE:
        return []
    return [f"another model: log-probabilities of a fixed text differ by {apart:.2f} in the mean"]


def check_same(recorded: Mapping[str, Any], now: Facts) -> None:
    """Refuse to go on with another model than a run was begun with.

    Args:
        recorded: what `Facts.record` gave then.

    Raises:
        InputError: the servers have another one now.
    """
    try:
        was, weights = str(recorded["model"]), [float(value) for value in recorded["weights"]]
    except (KeyError, TypeError, ValueError):
        raise InputError("run.json: what it says of the servers cannot be read. Choose another run.name.") from None
    faults = [] if was == now.model else [f"it was begun with {was}, the servers have {now.model}"]
    if faults := faults + other_weights(weights, now.weights):
        raise InputError(
            f"sampler.urls: {'; '.join(faults)}. Serve the model that the run was begun with, or choose another run.name."
        )
