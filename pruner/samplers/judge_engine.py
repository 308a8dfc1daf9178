"""The engine that a judge asks: which model, and where it runs. One record of settings: judges have it, samplers start it."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from pruner.samplers.served.addresses import urls_fault
from pruner.settings.model import EngineModel
from pruner.settings.section import FilePath, Gpus, Positive, Section


class EngineSettings(Section):
    """Where a judge's engine runs.

    colocate: on the sampler's engine, or in a process of its own. The others concern only an engine of its own; gpus: ids within the
    allocation, null: the last ones. urls: of servers that have it, see sampler=server. served_name: the name of it, or of its adapter, on servers.
    """

    colocate: bool = True
    gpus: Gpus | None = None
    dtype: Literal["bfloat16", "float16", "float32"]
    max_model_len: Positive
    gpu_memory_utilization: float = Field(default=0.9, gt=0.0, le=1.0)
    urls: str | tuple[str, ...] | None = None
    served_name: str | None = None
    not_identity: ClassVar[tuple[str, ...]] = ("colocate", "gpus", "gpu_memory_utilization", "urls", "served_name")

    @model_validator(mode="after")
    def _urls_are_of_its_own_servers(self) -> EngineSettings:
        if self.urls is None:
            return self
        if self.colocate:
            raise ValueError(
                "urls: a colocated judge runs on the sampler's engine; set judge.colocate=false or judge.urls=null"
            )
        if fault := urls_fault(self.urls):
            raise ValueError(f"urls: {fault}")
        return self


class JudgeEngine(EngineSettings):
    """A judge's model and where it runs. path: null is the sampler's own model. adapter: a LoRA folder for it."""

    path: FilePath | None = None
    adapter: FilePath | None = None
    max_lora_rank: Positive = 16

    @property
    def num_gpus(self) -> int:
        """GPUs of its own, on a machine that has some."""
        return 0 if self.colocate or self.urls is not None else len(self.gpus or (0,))

    def own_model(self, sampled: EngineModel) -> EngineModel:
        """Return the model as an engine of the judge's own loads it. sampled: the sampler's, which is the judge's too without a path."""
        values = {name: getattr(sampled, name) for name in EngineModel.model_fields}
        if self.path is not None:
            values |= {"path": self.path, "revision": None, "hf_overrides": {}}
        own = ("dtype", "max_model_len", "gpu_memory_utilization")
        values |= {name: getattr(self, name) for name in own}
        return EngineModel(**values | {"tensor_parallel_size": len(self.gpus or (0,))})
