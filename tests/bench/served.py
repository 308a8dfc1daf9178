"""Our runner on servers against a plain client of the same servers, and against our runner on an engine of its own."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from jobs.compose import main_config
from pruner.config.job import Config
from pruner.errors import InputError
from pruner.samplers.devices import num_devices
from pruner.samplers.process import ProcessSampler
from pruner.samplers.served.sampler import ServerSampler
from pruner.samplers.server import ServerSamplerConfig
from pruner.samplers.vllm_engines import VllmSamplerConfig, engine_specs
from pruner.shard.inputs import Inputs, read_inputs, sampler_context
from tests.bench.children import serve
from tests.bench.engine import CHILD, InProcess, Side, ours, requests_of, warm_up


@dataclass(frozen=True)
class Served:
    """Servers. name: the model's on them."""

    sampler: ServerSampler
    urls: tuple[str, ...]
    name: str
    key: str | None

    def reset(self, is_whole: bool) -> None:
        for url in self.urls:
            try:
                self.post(f"{url}/reset_prefix_cache", {})
            except urllib.error.HTTPError as error:
                if error.code != 404:
                    raise

    def clock(self) -> Mapping[str, float]:
        return {}

    def post(self, url: str, body: Mapping[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request) as answer:
            content = answer.read()
        return json.loads(content) if content else None


def measure(repeats: int, scratch: str | None, overrides: list[str]) -> dict[str, Any]:
    config = main_config(["method=cons", *overrides])
    inputs = read_inputs(config)
    assert isinstance(config.sampler, ServerSamplerConfig)
    servers = replace(config.sampler.servers, extra={"ignore_eos": True})
    facts = config.sampler.check_servers(sampler_context(config), lambda: False)
    assert facts is not None
    beside, own = in_process(overrides)
    sampler = ServerSampler(servers, config.sampler.requirements(sampler_context(config)), facts)
    rows: list[dict[str, Any]] = []
    try:
        sampler.wait_ready(lambda: False)
        served = Served(sampler, servers.addresses(), facts.model, servers.key)
        own.wait_ready()
        warm_up(own, beside, inputs)
        same = True
        for number in range(repeats):
            found = ours(served, config, scratch, True)
            local = ours(InProcess(own), beside, scratch, True)
            same = same and found.tokens == local.tokens
            sides = (found, client(served, config, inputs), replace(local, row=local.row | {"side": "in process"}))
            rows += [{"round": number, **side.row} for side in sides]
    finally:
        sampler.close()
        own.close()
    rows = [row | {"side": "served"} if row["side"] == "ours" else row for row in rows]
    rates = {
        side: [row["tokens_per_s"] for row in rows if row["side"] == side]
        for side in ("served", "client", "in process")
    }
    figures: dict[str, Any] = {
        f"{side.replace(' ', '_')}_tokens_per_s": median(values) for side, values in rates.items()
    }
    for side in ("client", "in process"):
        pairs = [one / other for one, other in zip(rates["served"], rates[side], strict=True)]
        figures |= {
            f"ratio_to_{side.replace(' ', '_')}": median(pairs),
            f"least_ratio_to_{side.replace(' ', '_')}": min(pairs),
        }
    return {"rows": rows, "figures": figures | {"tokens_equal_in_process": same}}


def in_process(overrides: list[str]) -> tuple[Config, ProcessSampler]:
    """Start the engine that the same overrides would give without servers."""
    kept = [each for each in overrides if not each.startswith("sampler")]
    config = main_config(["method=cons", *kept])
    if not isinstance(config.sampler, VllmSamplerConfig):
        raise InputError(f"bench: got sampler={config.sampler.name}, expected an engine.")
    spec, _ = engine_specs(config.sampler, sampler_context(config), num_devices())
    patience = config.sampler
    return config, ProcessSampler("the engine", (spec, num_devices() > 0), patience.stall_s, patience.load_s, CHILD)


def client(served: Served, config: Config, inputs: Inputs) -> Side:
    """Ask for each problem's traces in one request, as many at once as fill the servers."""
    served.reset(True)
    firsts = requests_of(config, inputs)[:: config.budget]
    sampling = config.model.sampling
    width = max(1, round(config.sampler.max_running_traces * len(served.urls) / config.budget))

    def ask(numbered: tuple[int, Any]) -> int:
        number, request = numbered
        body = {
            "model": served.name,
            "prompt": list(request.prompt_token_ids),
            "n": config.budget,
            "max_tokens": request.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": request.seed,
            "ignore_eos": True,
        }
        answer = served.post(f"{served.urls[number % len(served.urls)]}/v1/completions", body)
        return int(answer["usage"]["completion_tokens"])

    started = time.monotonic()
    with ThreadPoolExecutor(width) as threads:
        tokens = sum(threads.map(ask, enumerate(firsts)))
    wall_s = time.monotonic() - started
    row = {"side": "client", "wall_s": wall_s, "tokens": tokens, "tokens_per_s": tokens / wall_s}
    return Side(row, {})


if __name__ == "__main__":
    serve(measure)
