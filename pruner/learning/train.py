"""Training a judge on labelled pairs. A training that was interrupted goes on from its last save."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pruner.errors import InputError
from pruner.judges.card import CARD, GenerativeCard, JudgeCard, LexicalCard, question_hash, read_card, write_card
from pruner.judges.prefix_features import FEATURES, pair_features, read_prefix
from pruner.learning.config import TrainConfig
from pruner.learning.pair_files import PairSet, read_pair_sets
from pruner.learning.pairs import LabelledPair, drawn_pairs
from pruner.learning.saves import CHECKPOINTS
from pruner.prompts import check_model_folder
from pruner.settings.section import local_path
from pruner.system.files import write_text

_PROGRESS = "training.json"


def train_judge(config: TrainConfig, should_stop: Callable[[], bool]) -> bool:
    """Train one judge, from the last save if there is one; return False if it was interrupted.

    Raises:
        InputError: the pairs or the base model cannot be used, or the folder holds another judge.
    """
    folder = local_path(config.target)
    data = read_pair_sets(config.pairs)
    pairs = training_pairs(config, data.pairs)
    made_with = _made_with(config, data)
    if (folder / CARD).exists():
        check_same(folder, read_card(folder).made_with, made_with)
        print(f"nothing to do: {config.target} holds this judge")
        return True
    # What is being made is noted, so that nobody goes on with another config's saves.
    note = folder / _PROGRESS
    if note.exists():
        check_same(folder, json.loads(note.read_text()), made_with)
    write_text(note, json.dumps(made_with))
    card: GenerativeCard | LexicalCard | None
    if config.trainer.kind == "lexical":
        card = train_lexical(config.trainer.l2, pairs, folder)
    else:
        check_model_folder(config.trainer.base.path, "trainer.base.path")  # before imports that take seconds
        from pruner.learning.generative import train_generative
        from pruner.learning.trainer import is_main_process

        card = train_generative(config.trainer, pairs, folder, config.seed, should_stop)
        if not is_main_process():
            return card is not None
    if card is None:
        return False
    _finish(folder, card, data, pairs, made_with)
    print(f"{card.kind} judge in {config.target}, trained on {len(pairs):,} pairs")
    return True


def _finish(
    folder: Path,
    card: GenerativeCard | LexicalCard,
    data: PairSet,
    pairs: Sequence[LabelledPair],
    made_with: dict[str, Any],
) -> None:
    """Write the card, which makes the folder a judge, and remove what only the training needed."""
    write_card(
        folder,
        JudgeCard(
            judge=card,
            prefix=data.prefix,
            problems=tuple(sorted({pair.problem_id for pair in pairs})),
            questions=tuple(sorted({question_hash(pair.question) for pair in pairs if pair.question.strip()})),
            num_pairs=len(pairs),
            same_share=sum(pair.label for pair in pairs) / len(pairs),
            made_with=made_with,
        ),
    )
    (folder / _PROGRESS).unlink(missing_ok=True)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def training_pairs(config: TrainConfig, pairs: Sequence[LabelledPair]) -> list[LabelledPair]:
    """Return the pairs to train on.

    Raises:
        InputError: there are none, or all have one label.
    """
    kept = [pair for pair in pairs if pair.fold != config.hold_out_fold]
    kept = drawn_pairs(kept, config.pairs_per_problem, config.seed)
    same = sum(pair.label for pair in kept)
    if same in (0, len(kept)):
        what = "none" if not kept else "only pairs that agree" if same else "only pairs that differ"
        raise InputError(f"pairs {list(config.pairs)}: got {what} to train on, expected both kinds. Add traces.")
    return kept


def _made_with(config: TrainConfig, data: PairSet) -> dict[str, Any]:
    """Return everything that the judge is a function of."""
    values = config.model_dump(
        mode="json", exclude={"target": True, "pairs": True, "trainer": {"save_steps", "log_steps"}}
    )
    return {"config": values, "pairs": data.made_with}


def check_same(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Refuse to go on with, or overwrite, what another config made."""
    if old["config"] != new["config"]:
        raise InputError(f"target {folder}: holds a judge of another config. Name another target, or delete it.")
    if list(old["pairs"].values()) != list(new["pairs"].values()):
        raise InputError(f"target {folder}: holds a judge of other pairs. Name another target, or delete it.")


def train_lexical(l2: float, pairs: Sequence[LabelledPair], folder: Path) -> LexicalCard:
    from pruner.learning import lexical

    texts = {(pair.question, text) for pair in pairs for text in (pair.left, pair.right)}
    readings = {(question, text): read_prefix(text, question) for question, text in texts}
    weights = lexical.fit(
        l2,
        [pair_features(readings[pair.question, pair.left], readings[pair.question, pair.right]) for pair in pairs],
        [pair.label for pair in pairs],
        [pair.problem for pair in pairs],
    )
    weights.save(folder)
    return LexicalCard(kind="lexical", features=FEATURES)
