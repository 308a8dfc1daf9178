"""The served sampler: the same requests, put to vLLM's own server over HTTP, on one machine or many.

What the server is asked and what is taken of its answers is in `served/`. What is not promised: another server's numerics. Equal requests
give equal tokens only where the server is started so that they do (float32 on a CPU, VLLM_BATCH_INVARIANT=1 on a GPU).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from pruner.errors import InputError
from pruner.prompts import Prompts, check_tokenizer, model_prompts, tokenizer_fingerprint
from pruner.samplers.base import Contact, JudgeSampler, Sampler, SamplerConfig, SamplerContext
from pruner.samplers.served.addresses import api_key, read_urls, urls_fault
from pruner.samplers.served.examination import Facts, Wanted, check_same, wanted
from pruner.samplers.served.sampler import (
    JUDGE_KEY,
    KEY,
    Servers,
    ServerSampler,
    first_contact,
    open_served_judge,
)
from pruner.settings.model import ModelConfig
from pruner.settings.section import Positive, Seconds
from pruner.system.lines import print_warnings


class ServerSamplerConfig(SamplerConfig):
    """urls: of the servers, or `@FILE` with one a line. served_name: the model's name there; null: the only one.
    max_running_traces: of each server. aligned: see the vLLM sampler. connect_s: for a connection, and for a short answer. stall_s: a server
    without a sign of any answer for so long hangs. patience_s: without a sign of any server for so long, the job ends with 75.
    """

    name: Literal["server"]
    urls: str | tuple[str, ...]
    served_name: str | None = None
    segment_tokens: Positive
    cache_block_tokens: Positive
    aligned: bool = True
    connect_s: Seconds = 10.0
    stall_s: Seconds = 300.0
    patience_s: Seconds = 1800.0
    not_identity: ClassVar[tuple[str, ...]] = (
        "max_running_traces",
        "urls",
        "served_name",
        "connect_s",
        "stall_s",
        "patience_s",
    )
    has_engine: ClassVar[bool] = True

    @model_validator(mode="after")
    def _urls_are_urls(self) -> ServerSamplerConfig:
        if fault := urls_fault(self.urls):
            raise ValueError(f"urls: {fault}")
        return self

    @property
    def unused_keys(self) -> tuple[str, ...]:
        return "model.dtype", "model.tensor_parallel_size", "model.hf_overrides"

    @property
    def align_tokens(self) -> int | None:
        return self.cache_block_tokens if self.aligned else None

    def max_running(self, context: SamplerContext) -> int:
        return self.max_running_traces * (
            self.num_servers() if context.contact is None else int(context.contact.facts["servers"])
        )

    def num_servers(self) -> int:
        return max(1, len(read_urls(self.urls)))

    def check_model(self, model: ModelConfig) -> None:
        check_tokenizer(model.path, "model.path")

    def check(self, context: SamplerContext) -> None:
        api_key(KEY)
        judge = context.judge
        if judge is not None and judge.colocate and judge.adapter is not None and judge.served_name is None:
            raise InputError(
                "judge.served_name: an adapter on the sampler's servers needs the name that they serve it by "
                "(vllm serve --enable-lora --lora-modules NAME=FOLDER)."
            )
        if judge is not None and not judge.colocate and judge.urls is None:
            raise InputError(
                "judge.urls: with sampler=server a judge is on the sampler's servers (judge.colocate=true) or on its own (judge.urls=[...])."
            )

    def fingerprints(self, context: SamplerContext) -> dict[str, str]:
        return {"model": f"served, tokenizer {tokenizer_fingerprint(context.model)}"}

    def plan(self, context: SamplerContext) -> dict[str, Any]:
        urls = read_urls(self.urls)
        return {"sampler": self.model_dump() | {"urls": list(urls), "key": KEY if api_key(KEY) else None}}

    def prompts(self, context: SamplerContext) -> Prompts:
        return model_prompts(context.model)[0]

    def contact(self, context: SamplerContext, should_stop: Callable[[], bool]) -> Contact | None:
        """Find a server that works, and what it is. Raises InputError: there are others only. Unavailable: there is none."""
        facts = first_contact(self.servers(), self.wanted(context), should_stop)
        if facts is None:
            return None
        said = doubts(facts, self)
        if context.model.hf_overrides:
            given = json.dumps(context.model.hf_overrides)
            said.append(
                f"model.hf_overrides must be the servers' too, which cannot be seen: vllm serve --hf-overrides='{given}'"
            )
        print_warnings(said)
        served = {"servers": self.num_servers()} | facts.record()
        return Contact(served, facts)

    def check_contact(self, recorded: Mapping[str, Any], contact: Contact) -> None:
        check_same(recorded, contact.known)

    def open(self, context: SamplerContext) -> Sampler:
        expected = None if context.contact is None else context.contact.known
        return ServerSampler(self.servers(), self.wanted(context), expected)

    def open_judge(self, context: SamplerContext) -> JudgeSampler | None:
        judge = context.judge
        if judge is None or judge.urls is None:
            return None
        key = api_key(JUDGE_KEY) or api_key(KEY)
        return open_served_judge(judge, context.model, replace(self.servers(), urls=judge.urls, key=key))

    def shares_devices(self, context: SamplerContext) -> bool:
        return False

    def servers(self) -> Servers:
        """Return where the servers are."""
        return Servers(self.urls, api_key(KEY), self.max_running_traces, self.connect_s, self.stall_s, self.patience_s)

    def wanted(self, context: SamplerContext) -> Wanted:
        """Return what the servers must be."""
        prompts, tokenizer = model_prompts(context.model)
        judge = context.judge
        adapter = judge.served_name if judge is not None and judge.colocate and judge.adapter is not None else None
        return wanted(prompts, tokenizer, context.model.max_model_len, self.served_name, adapter)


def doubts(facts: Facts, sampler: ServerSamplerConfig) -> list[str]:
    """Return what a server lacks that a run can do without."""
    said = []
    if not facts.takes_priorities:
        said.append(
            "the servers refuse priorities: requests are served as they come, and problems end later. Start them with --scheduling-policy priority"
        )
    if not facts.has_seeds:
        said.append(
            "the servers give a seeded request other tokens each time: what is lost and sampled again will differ"
        )
    if facts.has_prefix_cache is False:
        said.append(
            "the servers cache no prefixes: each segment reads its whole trace again. Use --enable-prefix-caching"
        )
    elif not facts.reports_cached:
        said.append(
            "the servers do not say what was cached: cached tokens count as 0. Use --enable-prompt-tokens-details"
        )
    if facts.block_tokens not in (None, sampler.cache_block_tokens):
        said.append(
            f"the servers' cache has blocks of {facts.block_tokens} tokens: set sampler.cache_block_tokens={facts.block_tokens} in a new run"
        )
    return said
