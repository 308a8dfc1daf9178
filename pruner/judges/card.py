"""judge.json: a trained judge's kind, its training problems, and the prefix and base model that it belongs to.

Written last into a judge's folder, so a folder that has it is whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from pruner.errors import InputError
from pruner.judges.weight_files import check_adapter_fits, local_folder, weights_fingerprint
from pruner.rules.prefix import AnyPrefix, PrefixConfig
from pruner.settings.section import Section, describe_fault
from pruner.system.files import write_text

CARD = "judge.json"
# Its name has no suffix, so that it is no part of the folder's fingerprint: the threshold is looked up, and stands in the run's config.
CALIBRATION = "calibration"


class GenerativeCard(Section):
    """base: path or hub id of the model that was trained. is_adapter: the folder holds a LoRA adapter for it, else a
    whole model. base_fingerprint: of its weights (weight_files.py)."""

    kind: Literal["generative"]
    base: str
    base_fingerprint: str | None
    is_adapter: bool
    lora_rank: int | None
    system: str | None
    prompt: str
    labels: tuple[str, ...]
    template_kwargs: dict[str, str | bool | int]
    both_orders: bool


class LexicalCard(Section):
    """features: what the weights belong to, in order."""

    kind: Literal["lexical"]
    features: tuple[str, ...]


class JudgeCard(Section):
    """prefix: the truncation it was trained with. problems, questions: ids and hashes of the training problems.
    made_with: everything that it is a function of."""

    judge: Annotated[GenerativeCard | LexicalCard, Field(discriminator="kind")]
    prefix: AnyPrefix
    problems: tuple[str, ...]
    questions: tuple[str, ...]
    num_pairs: int
    same_share: float
    made_with: dict[str, Any]


class Calibration(Section):
    """tau: above it lie few pairs that differ; see learning.metrics. measured: on which pairs, in words."""

    tau: Annotated[float, Field(ge=0.0, le=1.0)]
    measured: str


def read_tau(folder: Path) -> float | None:
    """Return a judge's own threshold; None if it was not calibrated. Raises InputError: it cannot be read."""
    path = folder / CALIBRATION
    try:
        return Calibration.model_validate_json(path.read_text()).tau
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        reason = describe_fault(error.errors()[0]) if isinstance(error, ValidationError) else str(error)
        raise InputError(f"judge: {path}: {reason}") from None


def write_tau(folder: Path, calibration: Calibration) -> None:
    """Write a judge's own threshold beside its card."""
    write_text(folder / CALIBRATION, calibration.model_dump_json(indent=1) + "\n")


def question_hash(question: str) -> str:
    """Return a hash of a question, whatever its spaces."""
    return blake2b(" ".join(question.split()).encode(), digest_size=8).hexdigest()


def read_card(folder: Path) -> JudgeCard:
    """Return a judge's card.

    Raises:
        InputError: the folder holds none, or it cannot be read.
    """
    try:
        return JudgeCard.model_validate_json((folder / CARD).read_text())
    except OSError:
        raise InputError(
            f"judge: {folder} holds no {CARD}. Name a folder that `python -m jobs.train_judge` has finished."
        ) from None
    except ValidationError as error:
        raise InputError(f"judge: {folder / CARD}: {describe_fault(error.errors()[0])}") from None


def write_card(folder: Path, card: JudgeCard) -> None:
    write_text(folder / CARD, json.dumps(card.model_dump(mode="json"), indent=1) + "\n")


def overlap(card: JudgeCard, problems: Iterable[tuple[str, str]]) -> list[str]:
    """Return the ids of problems that a judge was trained on.

    Args:
        problems: (problem_id, question). The same question counts under any id; an id alone only without a question.
    """
    ids, questions = set(card.problems), set(card.questions)
    return sorted(
        {
            problem_id
            for problem_id, question in problems
            if (question_hash(question) in questions if question.strip() else problem_id in ids)
        }
    )


def check_prefix(card: JudgeCard, prefix: PrefixConfig, folder: Path) -> None:
    """Refuse another truncation than the judge was trained with.

    Raises:
        InputError: with both.
    """
    if card.prefix != prefix:
        want, have = (_describe(each) for each in (card.prefix, prefix))
        raise InputError(f"prefix: got {have}, but {folder} was trained with {want}. Set prefix={want}.")


def check_base(card: GenerativeCard | None, adapter: Path, path: str, revision: str | None) -> None:
    """Refuse a LoRA adapter that was not trained on the model at `path`, as far as the files show it.

    Raises:
        InputError: shapes or, where a card has them, weights differ.
    """
    base = local_folder(path, revision)
    if base is None:
        return  # a hub id that has not been downloaded
    check_adapter_fits(adapter, base)
    if card is not None and card.base_fingerprint is not None and card.base_fingerprint != weights_fingerprint(base):
        raise InputError(
            f"judge: the adapter {adapter} was trained on other weights than those in {path}; its base was {card.base}. "
            "Train a judge for this model, or name its base."
        )


def _describe(prefix: PrefixConfig) -> str:
    values = prefix.model_dump(mode="json", exclude={"name"})
    return " ".join([prefix.name, *(f"prefix.{key}={value}" for key, value in values.items())]).replace("'", "")
