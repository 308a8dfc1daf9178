"""Train a causal language model to answer with one of two words. Owns transformers' Trainer and peft.

It knows token ids and labels only: what a prompt says is the caller's.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch.utils.data import Dataset

from pruner.errors import InputError
from pruner.learning.config import GenerativeTrainerConfig
from pruner.learning.focal import focal_loss

CHECKPOINTS = "checkpoints"
_STATE = "trainer_state.json"


@dataclass(frozen=True)
class Example:
    """A prompt and its label: 1 for same."""

    input_ids: tuple[int, ...]
    label: int


@dataclass(frozen=True)
class LossPoint:
    """The mean loss of the optimizer steps up to `step`, since the point before."""

    step: int
    epoch: float
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class Labels:
    """Token ids of the two labels, different before same, and of what fills shorter prompts."""

    token_ids: tuple[int, ...]
    pad_token_id: int


@dataclass(frozen=True)
class Hooks:
    """should_stop: asked after each step. report: called with a line about each logged or saved step."""

    should_stop: Callable[[], bool]
    report: Callable[[str], None]


def train(
    config: GenerativeTrainerConfig, examples: Sequence[Example], labels: Labels, folder: Path, seed: int, hooks: Hooks
) -> list[LossPoint] | None:
    """Train and save the adapter (or the whole model) into `folder`; None if it was asked to stop before the end.

    It goes on from the last whole save in folder/checkpoints, with the same order of examples.

    Raises:
        InputError: the base model cannot be loaded, or has none of the LoRA targets.
    """
    trainer = _trainer(config, examples, labels, folder, seed, hooks)
    last = _last_whole_save(folder / CHECKPOINTS)
    if last is not None:
        hooks.report(f"going on from {last.name}")
    trainer.train(resume_from_checkpoint=str(last) if last is not None else None)
    if trainer.state.global_step < trainer.state.max_steps:
        return None
    if trainer.is_world_process_zero():
        model = trainer.accelerator.unwrap_model(trainer.model)
        model.to(torch.bfloat16).save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)  # a form that peft leaves to be filled in
    return [
        LossPoint(int(entry["step"]), float(entry["epoch"]), float(entry["loss"]), float(entry["learning_rate"]))
        for entry in trainer.state.log_history
        if "loss" in entry
    ]


def _trainer(
    config: GenerativeTrainerConfig, examples: Sequence[Example], labels: Labels, folder: Path, seed: int, hooks: Hooks
) -> Any:
    """Return transformers' Trainer with our loss, ready to train."""
    from transformers import PrinterCallback, Trainer
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()

    class JudgeTrainer(Trainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            wanted = inputs.pop("label")
            output = model(**inputs, logits_to_keep=1)
            logits = output.logits[:, -1, list(labels.token_ids)]
            loss = focal_loss(logits, wanted, config.loss.alpha, config.loss.gamma)
            return (loss, output) if return_outputs else loss

    torch.manual_seed(seed)  # the adapter's first values
    trainer = JudgeTrainer(
        model=_load(config),
        args=_arguments(config, len(examples), folder, seed),
        train_dataset=_Examples(examples),
        data_collator=lambda rows: _collate(rows, labels.pad_token_id),
        callbacks=[_watch(hooks)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _watch(hooks: Hooks) -> Any:
    """Return the callback that stops a training and reports its steps."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if _any_process(hooks.should_stop()):
                control.should_save = control.should_training_stop = True

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs and state.is_world_process_zero:
                hooks.report(f"step {state.global_step}/{state.max_steps}, loss {float(logs['loss']):.4f}")

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.is_world_process_zero:
                hooks.report(f"step {state.global_step}/{state.max_steps}, saved")

    return Watch()


def _arguments(config: GenerativeTrainerConfig, num_examples: int, folder: Path, seed: int) -> Any:
    """Return transformers' arguments; with several processes each takes its part of a batch."""
    from transformers import TrainingArguments

    has_gpu = torch.cuda.is_available()
    num_processes = int(os.environ.get("WORLD_SIZE", "1"))  # set by accelerate launch
    steps_per_epoch = -(-num_examples // (config.batch_size * config.gradient_accumulation * num_processes))
    return TrainingArguments(
        output_dir=str(folder / CHECKPOINTS),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=int(config.warmup_share * config.epochs * steps_per_epoch),
        weight_decay=config.weight_decay,
        bf16=has_gpu and config.base.dtype == "bfloat16",
        use_cpu=not has_gpu,
        ddp_backend="gloo" if num_processes > 1 and not has_gpu else None,
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


def is_main_process() -> bool:
    """Return whether this is, of the processes that train together, the one that writes."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def _any_process(is_so: bool) -> bool:
    """Return whether it is so in any of the processes that train together: they must stop at the same step."""
    if not torch.distributed.is_initialized():
        return is_so
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    found = torch.tensor(int(is_so), device=device)
    torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
    return bool(found.item())


def discard_checkpoints(folder: Path) -> None:
    """Delete the saves of a training that is done."""
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def oversampled(examples: Sequence[Example], factor: int) -> list[Example]:
    """Return the examples, those of the rarer label `factor` times."""
    same = sum(example.label for example in examples)
    rarer = 1 if same * 2 < len(examples) else 0
    return [example for example in examples for _ in range(factor if example.label == rarer else 1)]


def _load(config: GenerativeTrainerConfig) -> Any:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = config.base
    # On a CPU bfloat16 trains at a third of float32's speed.
    dtype = torch.bfloat16 if base.dtype == "bfloat16" and torch.cuda.is_available() else torch.float32
    try:
        model = AutoModelForCausalLM.from_pretrained(
            base.path, revision=base.revision, dtype=dtype, trust_remote_code=base.trust_remote_code
        )
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
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
        raise InputError(f"trainer.lora.targets: {str(error).strip().splitlines()[0]}") from None


class _Examples(Dataset):  # type: ignore[misc]
    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]


def _collate(rows: Sequence[Example], pad_token_id: int) -> dict[str, torch.Tensor]:
    """Pad on the left, so that every prompt ends in the last column."""
    width = max(len(row.input_ids) for row in rows)
    padding = [width - len(row.input_ids) for row in rows]
    ids = [[pad_token_id] * pad + list(row.input_ids) for row, pad in zip(rows, padding, strict=True)]
    mask = [[0] * pad + [1] * (width - pad) for pad in padding]
    return {
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(mask),
        "label": torch.tensor([row.label for row in rows]),
    }


def _last_whole_save(checkpoints: Path) -> Path | None:
    """Return the newest save whose state file, which is written last, can be read; delete newer ones, cut off by a kill."""
    saves = sorted(checkpoints.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)
    for save in saves:
        try:
            json.loads((save / _STATE).read_text())
        except (OSError, ValueError):
            shutil.rmtree(save, ignore_errors=True)
            continue
        return save
    return None
