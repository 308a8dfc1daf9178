"""From the config to the method that it names."""

from __future__ import annotations

from pruner.clustering import ClusterRule
from pruner.config.job import Config
from pruner.methods.adaptive import Adaptive
from pruner.methods.base import Method
from pruner.methods.cons import Cons
from pruner.methods.deepconf_offline import DeepConfOffline, DeepConfOfflineRule
from pruner.methods.deepconf_online import DeepConfOnline, DeepConfOnlineRule
from pruner.methods.deepprune import DeepPrune, DeepPruneRule
from pruner.methods.esc import Esc
from pruner.methods.waves import Waves, WavesRule
from pruner.prefix import Truncation


def make_method(config: Config, problem_id: str, truncation: Truncation) -> Method:
    method = config.method
    if method.name == "cons":
        return Cons(config.budget)
    if method.name == "adaptive":
        return Adaptive(config.budget, method.wave, method.threshold)
    if method.name == "esc":
        return Esc(config.budget, method.window)
    if method.name == "deepconf_offline":
        weighing = DeepConfOfflineRule(method.score, method.keep, method.window)
        return DeepConfOffline(config.budget, weighing)
    if method.name == "deepconf_online":
        stopping = DeepConfOnlineRule(method.warmup, method.keep, method.consensus, method.wave, method.window)
        return DeepConfOnline(config.budget, stopping)
    if method.name == "waves":
        waves = WavesRule(
            confidence=method.confidence,
            every_tokens=method.every_tokens,
            width=method.width,
            asks=method.asks,
            spend_unit=method.spend_unit,
            spend_power=method.spend_power,
            brevity=method.brevity,
        )
        return Waves(config.budget, waves)
    rule = DeepPruneRule(
        cluster=ClusterRule(method.tau, method.k, method.k1, method.assign),
        answer=method.answer,
        num_finished=method.k2,
        num_finished_singletons=method.k3,
        finish_share=method.finish_share,
    )
    return DeepPrune(problem_id, config.budget, config.seed, rule, truncation)
