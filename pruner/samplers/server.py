"""The served sampler: the same requests, put to vLLM's own server over HTTP, on one machine or many.

The package `served` asks the servers and checks their answers. A server's numerics are its own: equal requests give equal tokens only if
the server is started so (float32 on a CPU, VLLM_BATCH_INVARIANT=1 on a GPU).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from pruner.errors import InputError
from pruner.prompts import TOKENIZER_CONFIG, Prompts, check_model_folder, model_prompts, tokenizer_fingerprint
from pruner.samplers.base import Sampler, SamplerConfig, SamplerContext
from pruner.samplers.served.addresses import KEY, Servers, api_key, urls_fault
from pruner.samplers.served.examination import Requirements
from pruner.samplers.served.facts import ServerFacts
from pruner.samplers.served.sampler import ServerSampler, examined, open_served_judge
from pruner.settings.section import Positive, Seconds
from pruner.system.lines import print_warnings


class ServerSamplerConfig(SamplerConfig):
    """Settings of the served sampler.

    Attributes:
        urls: of the servers, or `@FILE` with one URL per line.
        served_name: the model's name there; null: they serve one model.
        max_running_traces: requests that each server works on at once.
        aligned: see the vLLM sampler.
        connect_s: for a connection, and for a short answer.
        stall_s: a server hangs if it gives no sign of any answer for this time.
        patience_s: the job ends with exit code 75 if no server gives a sign for this time.
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

    @property
    def servers(self) -> Servers:
        return Servers(self.urls, api_key(KEY), self.max_running_traces, self.connect_s, self.stall_s, self.patience_s)

    def check(self, context: SamplerContext) -> None:
        check_model_folder(context.model.path, "model.path", TOKENIZER_CONFIG)
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
        servers = self.servers
        return {"sampler": self.model_dump() | {"urls": list(servers.addresses()), "key": KEY if servers.key else None}}

    def prompts(self, context: SamplerContext) -> Prompts:
        return model_prompts(context.model)[0]

    def check_servers(self, context: SamplerContext, should_stop: Callable[[], bool]) -> ServerFacts | None:
        found = examined(self.servers, self.requirements(context), should_stop)
        if should_stop():
            return None
        # Which of two kinds of servers came first is chance, so neither is taken.
        if differing := [each for each in found if each.state == "refused" and each.facts is not None]:
            raise InputError([f"sampler.urls: the servers differ: {each.url}: {each.why}." for each in differing])
        facts = next(each.facts for each in found if each.state == "works" and each.facts is not None)
        warnings = facts.warnings(self.cache_block_tokens)
        if context.model.hf_overrides:
            given = json.dumps(context.model.hf_overrides)
            warnings.append(
                f"model.hf_overrides must be the servers' too, which cannot be seen: vllm serve --hf-overrides='{given}'"
            )
        print_warnings(warnings)
        return facts

    def open(self, context: SamplerContext) -> Sampler:
        return ServerSampler(self.servers, self.requirements(context), context.servers)

    def open_judge(self, context: SamplerContext, sampler: Sampler, should_stop: Callable[[], bool]) -> Sampler | None:
        judge = context.judge
        return None if judge is None or judge.urls is None else open_served_judge(judge, context.model, self.servers)

    def requirements(self, context: SamplerContext) -> Requirements:
        """Return what the servers must be."""
        prompts, tokenizer = model_prompts(context.model)
        judge = context.judge
        adapter = judge.served_name if judge is not None and judge.colocate and judge.adapter is not None else None
        return Requirements(prompts, tokenizer, context.model.max_model_len, self.served_name, adapter)
