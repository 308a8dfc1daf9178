"""Train the generative judge: from labelled pairs to prompts, and from a trained model to a judge's card."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pruner.errors import InputError
from pruner.judges.card import GenerativeCard
from pruner.judges.pair_prompt import PairPrompt
from pruner.judges.weight_files import local_folder, weights_fingerprint
from pruner.learning import trainer
from pruner.learning.config import GenerativeTrainerConfig
from pruner.learning.pairs import LabelledPair
from pruner.learning.rare_labels import Example, oversampled
from pruner.prompts import ChatPrompts, load_tokenizer
from pruner.settings.model import PromptConfig
from pruner.system.files import write_atomically


def train_generative(
    config: GenerativeTrainerConfig,
    pairs: Sequence[LabelledPair],
    folder: Path,
    seed: int,
    should_stop: Callable[[], bool],
) -> GenerativeCard | None:
    """Train the judge into a folder; None if it was stopped before the end.

    Raises:
        InputError: the base model cannot be used, or every prompt is too long.
    """
    base = config.base
    tokenizer = load_tokenizer(base.path, base.revision, base.trust_remote_code)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    prompts = ChatPrompts(tokenizer, PromptConfig(template_kwargs=config.template_kwargs))
    prompt = PairPrompt(prompts, config.prompt, config.labels, config.system)
    examples = oversampled(make_examples(config, pairs, prompt), config.loss.oversampling)
    losses = trainer.train(config, examples, prompt.label_token_ids, tokenizer, folder, seed, should_stop)
    if losses is None:
        return None
    if trainer.is_main_process():
        if config.lora is None:
            tokenizer.save_pretrained(folder)
        columns = {name: [entry[name] for entry in losses] for name in ("step", "epoch", "loss", "learning_rate")}
        write_atomically(folder / "losses.parquet", lambda path: pq.write_table(pa.table(columns), path))
    weights = local_folder(base.path, base.revision)
    return GenerativeCard(
        kind="generative",
        base=base.path,
        base_fingerprint=weights_fingerprint(weights) if weights is not None else None,
        is_adapter=config.lora is not None,
        lora_rank=config.lora.rank if config.lora is not None else None,
        **config.model_dump(include={"system", "prompt", "labels", "template_kwargs", "both_orders"}),
    )


def make_examples(config: GenerativeTrainerConfig, pairs: Sequence[LabelledPair], prompt: PairPrompt) -> list[Example]:
    """Return a training example for each order of each pair that is not too long.

    Raises:
        InputError: all are too long.
    """
    examples = []
    for pair in pairs:
        orders = [(pair.left, pair.right), (pair.right, pair.left)]
        for left, right in orders if config.both_orders else orders[:1]:
            examples.append(Example(prompt.encode(pair.question, left, right), pair.label))
    fitting = [example for example in examples if len(example.input_ids) <= config.max_tokens]
    if len(fitting) < len(examples):
        print(f"{len(examples) - len(fitting)} prompts are longer than max_tokens and left out", file=sys.stderr)
    if not fitting:
        raise InputError(f"trainer.max_tokens: got {config.max_tokens}, but every prompt is longer.")
    return fitting
