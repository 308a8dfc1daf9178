"""Train a causal language model to answer with one of two words. Owns transformers' Trainer and peft.

It knows token ids and labels only: what a prompt says is the caller's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments
from transformers.utils import logging

from pruner.errors import InputError, first_line
from pruner.learning.config import GenerativeTrainerConfig
from pruner.learning.rare_labels import Example, focal_loss
from pruner.learning.saves import CHECKPOINTS, last_whole_save


def train(
    config: GenerativeTrainerConfig,
    examples: Sequence[Example],
    words: Sequence[int],
    tokenizer: Any,
    folder: Path,
    seed: int,
    should_stop: Callable[[], bool],
) -> list[Mapping[str, Any]] | None:
    """Train and save the adapter (or the whole model) into `folder`.

    It goes on from the last whole save in folder/checkpoints, with the same order of examples.

    Args:
        words: token ids of the two labels, same before different.
        should_stop: asked after each step; a save is made before the training stops.

    Returns:
        The logged steps with `step`, `epoch`, `loss` and `learning_rate`; None if it was stopped before the end.

    Raises:
        InputError: the base model cannot be loaded, or has none of the LoRA targets.
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(seed)  # the adapter's first values
    trainer = _JudgeTrainer(
        model=_load(config),
        args=_arguments(config, folder, seed),
        train_dataset=list(examples),
        data_collator=lambda rows: _batch(rows, tokenizer),
        callbacks=[_StopWhenAsked(should_stop)],
    )
    trainer.words, trainer.config = list(words), config
    last = last_whole_save(folder / CHECKPOINTS)
    if last is not None:
        print(f"going on from {last.name}", file=sys.stderr, flush=True)
    trainer.train(resume_from_checkpoint=str(last) if last is not None else None)
    if trainer.state.global_step < trainer.state.max_steps:
        return None
    if trainer.is_world_process_zero():
        model = trainer.accelerator.unwrap_model(trainer.model)
        model.to(torch.bfloat16).save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)  # a form that peft leaves to be filled in
    return [entry for entry in trainer.state.log_history if "loss" in entry]


class _JudgeTrainer(Trainer):  # type: ignore[misc]
    """transformers' Trainer with the focal loss over the two labels' logits."""

    words: list[int]
    config: GenerativeTrainerConfig

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        wanted = inputs.pop("label")
        output = model(**inputs, logits_to_keep=1)
        loss = focal_loss(output.logits[:, -1, self.words], wanted, self.config.loss.alpha, self.config.loss.gamma)
        return (loss, output) if return_outputs else loss


class _StopWhenAsked(TrainerCallback):  # type: ignore[misc]
    """Saves and stops when any of the processes that train together is asked to: they must stop at the same step."""

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        asked = reduce(torch.tensor(int(self._should_stop()), device=args.device), "sum")
        if asked.item():
            control.should_save = control.should_training_stop = True


def _arguments(config: GenerativeTrainerConfig, folder: Path, seed: int) -> TrainingArguments:
    """Return transformers' arguments; with several processes each takes its part of a batch."""
    has_gpu = torch.cuda.is_available()
    is_joint = int(os.environ.get("WORLD_SIZE", "1")) > 1  # set by accelerate launch
    return TrainingArguments(
        output_dir=str(folder / CHECKPOINTS),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=config.warmup_share,
        weight_decay=config.weight_decay,
        bf16=has_gpu and config.base.dtype == "bfloat16",
        use_cpu=not has_gpu,
        ddp_backend="gloo" if is_joint and not has_gpu else None,
        ddp_find_unused_parameters=False,
        save_strategy="steps",
        save_steps=config.save_steps,
        save_total_limit=2,
        logging_steps=config.log_steps,
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        seed=seed,
        data_seed=seed,
        remove_unused_columns=False,
        dataloader_pin_memory=has_gpu,
    )


def _load(config: GenerativeTrainerConfig) -> Any:
    base = config.base
    # On a CPU bfloat16 trains at a third of float32's speed.
    dtype = torch.bfloat16 if base.dtype == "bfloat16" and torch.cuda.is_available() else torch.float32
    try:
        model = AutoModelForCausalLM.from_pretrained(
            base.path, revision=base.revision, dtype=dtype, trust_remote_code=base.trust_remote_code
        )
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise InputError(f"trainer.base.path: got {base.path!r}, which cannot be loaded ({reason}).") from None
    model.config.use_cache = False
    if config.lora is None:
        return model
    lora = LoraConfig(
        r=config.lora.rank,
        lora_alpha=config.lora.alpha,
        lora_dropout=config.lora.dropout,
        target_modules=list(config.lora.targets),
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, lora)
    except ValueError as error:
        raise InputError(f"trainer.lora.targets: {first_line(error)}") from None


def _batch(rows: Sequence[Example], tokenizer: Any) -> dict[str, torch.Tensor]:
    """Pad on the left, so that every prompt ends in the last column."""
    prompts = {"input_ids": [list(row.input_ids) for row in rows]}
    batch = tokenizer.pad(prompts, padding_side="left", return_tensors="pt")
    return {**batch, "label": torch.tensor([row.label for row in rows])}


def is_main_process() -> bool:
    """Return whether this is, of the processes that train together, the one that writes."""
    return bool(PartialState().is_main_process)
