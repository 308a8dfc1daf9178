"""Judges that jobs.train_judge made: a folder's card says whether it is a generative or a lexical one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pruner.errors import InputError
from pruner.judges.base import Judge, JudgeConfig, JudgeContext, MakeProber
from pruner.judges.card import GenerativeCard, JudgeCard, check_base, check_prefix, overlap, read_card, read_tau
from pruner.judges.lexical import LexicalJudge, load_weights
from pruner.judges.llm import LlmJudgeConfig
from pruner.prompts import check_model_folder, path_fingerprint
from pruner.samplers.judge_engine import EngineSettings
from pruner.settings.model import ModelConfig
from pruner.settings.section import FilePath, local_path
from pruner.system.lines import print_warnings


class TrainedJudgeConfig(JudgeConfig, EngineSettings):
    """A judge that jobs.train_judge made. path: its folder. The settings of an engine concern
    a generative one. base: where the model of an adapter with an engine of its own is; null: where
    it was at training. both_orders: null: as it was trained."""

    name: Literal["trained"]
    path: FilePath
    base: FilePath | None = None
    both_orders: bool | None = None
    not_identity: ClassVar[tuple[str, ...]] = ("path", "base", *EngineSettings.not_identity)
    without_engine: ClassVar[str] = "a lexical one"

    def engine(self) -> LlmJudgeConfig | None:
        """Return the generative judge that the folder's card describes; None if it is a lexical one. Raises InputError."""
        folder = local_path(self.path)
        card = read_card(folder).judge
        if not isinstance(card, GenerativeCard):
            return None
        base = self.base or card.base if card.is_adapter else str(folder)
        return LlmJudgeConfig(
            name="llm",
            path=None if self.colocate else base,
            adapter=str(folder) if card.is_adapter else None,
            max_lora_rank=card.lora_rank or 16,
            system=card.system,
            prompt=card.prompt,
            labels=card.labels,
            both_orders=card.both_orders if self.both_orders is None else self.both_orders,
            template_kwargs=card.template_kwargs,
            **{key: getattr(self, key) for key in EngineSettings.model_fields},
        )

    def tau(self) -> float | None:
        return read_tau(local_path(self.path))

    def check(self, context: JudgeContext) -> None:
        folder = local_path(self.path)
        card = read_card(folder)
        check_prefix(card, context.prefix, folder)
        if isinstance(card.judge, GenerativeCard):
            self._check_generative(card.judge, folder, context.model)
        else:
            load_weights(folder)
        warn_of_overlap(card, self.path, [(each.problem_id, each.question) for each in context.problems])

    def fingerprints(self, known: Mapping[str, str]) -> dict[str, str]:
        return {"judge": path_fingerprint(self.path)}

    def make(self, context: JudgeContext, make_prober: MakeProber) -> Judge:
        if (generative := self.engine()) is not None:
            return generative.make(context, make_prober)
        if context.replay is not None and not context.replay.recording.has_text:
            raise InputError("judge: got trained, but the recorded traces of sampler.source have no text to read.")
        return LexicalJudge(load_weights(local_path(self.path)))

    def _check_generative(self, card: GenerativeCard, folder: Path, model: ModelConfig) -> None:
        if not card.is_adapter:
            if self.colocate:
                raise InputError(
                    f"judge.colocate: {self.path} is a whole model, which needs an engine of its own. "
                    "Set judge.colocate=false."
                )
            return
        path, revision = (model.path, model.revision) if self.colocate else (self.base or card.base, None)
        if not self.colocate and self.urls is None:
            check_model_folder(path, "judge.base")
        check_base(card, folder, path, revision)


def warn_of_overlap(card: JudgeCard, path: str, problems: list[tuple[str, str]]) -> None:
    if shared := overlap(card, problems):
        shown = ", ".join(shared[:5]) + (", ..." if len(shared) > 5 else "")
        print_warnings(
            [
                f"the judge {path} was trained on {len(shared)} of these {len(problems)} problems ({shown}); "
                "what it does on them says nothing about others"
            ]
        )
