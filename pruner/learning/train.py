"""Training a judge on labelled pairs, in steps that can be resumed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pruner.errors import InputError
from pruner.judges import lexical_weights
from pruner.judges.card import CARD, GenerativeCard, JudgeCard, LexicalCard, question_hash, read_card, write_card
from pruner.judges.pair_prompt import PairPrompt
from pruner.judges.prefix_features import FEATURES, pair_features, read_prefix
from pruner.judges.weight_files import local_folder, weights_fingerprint
from pruner.learning import generative, lexical
from pruner.learning.config import GenerativeTrainerConfig, LexicalTrainerConfig, TrainConfig
from pruner.learning.pair_files import PairSet, read_pair_sets
from pruner.learning.pairs import LabelledPair, drawn_pairs
from pruner.learning.plots import plot_losses
from pruner.prompts import ChatPrompts, check_model_folder, load_tokenizer
from pruner.settings.model import PromptConfig
from pruner.settings.section import local_path
from pruner.system.files import write_atomically

_PROGRESS = "training.json"


def train_judge(config: TrainConfig, should_stop: Callable[[], bool]) -> bool:
    """Train one judge, from the last save if there is one; return False if it was interrupted.

    Raises:
        InputError: the pairs or the base model cannot be used, or the folder holds another judge.
    """
    folder = local_path(config.target)
    data = read_pair_sets(config.pairs)
    pairs = training_pairs(config, data.pairs)
    made_with = what_it_is_made_with(config, data)
    if (folder / CARD).exists():
        check_same(folder, read_card(folder).made_with, made_with)
        print(f"nothing to do: {config.target} holds this judge")
        return True
    begin(folder, made_with)
    if config.trainer.kind == "lexical":
        card: GenerativeCard | LexicalCard | None = train_lexical(config.trainer, pairs, folder)
    else:
        card = train_generative(config.trainer, pairs, folder, config.seed, should_stop)
    if card is None:
        return False
    if not generative.is_main_process():
        return True
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
    generative.discard_checkpoints(folder)
    print(f"{card.kind} judge in {config.target}, trained on {len(pairs):,} pairs")
    return True


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


def what_it_is_made_with(config: TrainConfig, data: PairSet) -> dict[str, Any]:
    values = config.model_dump(mode="json", exclude={"target", "pairs"})
    if config.trainer.kind == "generative":
        for key in ("save_steps", "log_steps"):
            del values["trainer"][key]
    return {"config": values, "pairs": data.made_with}


def check_same(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Refuse to go on with, or overwrite, what another config made."""
    if old["config"] != new["config"]:
        raise InputError(f"target {folder}: holds a judge of another config. Name another target, or delete it.")
    if list(old["pairs"].values()) != list(new["pairs"].values()):
        raise InputError(f"target {folder}: holds a judge of other pairs. Name another target, or delete it.")


def begin(folder: Path, made_with: dict[str, Any]) -> None:
    """Note what is being made, so that nobody goes on with another config's saves."""
    note = folder / _PROGRESS
    if note.exists():
        check_same(folder, json.loads(note.read_text()), made_with)
    write_atomically(note, lambda path: path.write_text(json.dumps(made_with)))


def train_lexical(config: LexicalTrainerConfig, pairs: Sequence[LabelledPair], folder: Path) -> LexicalCard:
    lexical_weights.save(fit_lexical(config, pairs), folder)
    return LexicalCard(kind="lexical", features=FEATURES)


def fit_lexical(config: LexicalTrainerConfig, pairs: Sequence[LabelledPair]) -> lexical_weights.LexicalWeights:
    readings = {(pair.question, text): None for pair in pairs for text in (pair.left, pair.right)}
    read = {(question, text): read_prefix(text, question) for question, text in readings}
    return lexical.fit(
        config,
        [pair_features(read[pair.question, pair.left], read[pair.question, pair.right]) for pair in pairs],
        [pair.label for pair in pairs],
        [f"{pair.problem_set}/{pair.problem_id}" for pair in pairs],
    )


def train_generative(
    config: GenerativeTrainerConfig,
    pairs: Sequence[LabelledPair],
    folder: Path,
    seed: int,
    should_stop: Callable[[], bool],
) -> GenerativeCard | None:
    base = config.base
    check_model_folder(base.path, "trainer.base.path")
    tokenizer = load_tokenizer(base.path, base.revision, base.trust_remote_code)
    prompts = ChatPrompts(tokenizer, PromptConfig(template_kwargs=config.template_kwargs))
    prompt = PairPrompt(prompts, config.prompt, config.labels, config.system)
    examples = make_examples(config, pairs, prompt)
    losses = generative.train(
        config,
        generative.oversampled(examples, config.loss.oversampling),
        generative.Labels(
            prompt.label_token_ids,
            tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
        ),
        folder,
        seed,
        generative.Hooks(should_stop, lambda line: print(line, file=sys.stderr, flush=True)),
    )
    if losses is None:
        return None
    if generative.is_main_process():
        tokenizer.save_pretrained(folder) if config.lora is None else None
        write_losses(losses, folder)
    weights = local_folder(base.path, base.revision)
    return GenerativeCard(
        kind="generative",
        base=base.path,
        base_fingerprint=weights_fingerprint(weights) if weights is not None else None,
        is_adapter=config.lora is not None,
        lora_rank=config.lora.rank if config.lora is not None else None,
        system=config.system,
        prompt=config.prompt,
        labels=config.labels,
        template_kwargs=config.template_kwargs,
        both_orders=config.both_orders,
    )


def write_losses(losses: Sequence[generative.LossPoint], folder: Path) -> None:
    columns = {name: [getattr(point, name) for point in losses] for name in ("step", "epoch", "loss", "learning_rate")}
    write_atomically(folder / "losses.parquet", lambda path: pq.write_table(pa.table(columns), path))
    plot_losses(columns["step"], columns["loss"], folder / "losses.png")


def make_examples(
    config: GenerativeTrainerConfig, pairs: Sequence[LabelledPair], prompt: PairPrompt
) -> list[generative.Example]:
    """Return a training example for each order of each pair that is not too long."""
    examples = []
    for pair in pairs:
        orders = [(pair.left, pair.right), (pair.right, pair.left)]
        for left, right in orders if config.both_orders else orders[:1]:
            examples.append(generative.Example(prompt.encode(pair.question, left, right), pair.label))
    fitting = [example for example in examples if len(example.input_ids) <= config.max_tokens]
    if len(fitting) < len(examples):
        print(f"{len(examples) - len(fitting)} prompts are longer than max_tokens and left out", file=sys.stderr)
    if not fitting:
        raise InputError(f"trainer.max_tokens: got {config.max_tokens}, but every prompt is longer.")
    return fitting
