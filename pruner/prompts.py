"""Prompts: chat templates and token ids. Owns transformers' tokenizers; knows no engine and no checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

from pruner.errors import InputError, first_line
from pruner.records.traces import Problem
from pruner.settings.model import ModelConfig, PromptConfig
from pruner.settings.section import local_path
from pruner.system.files import files_fingerprint

_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".gguf", ".pt")
TOKENIZER_CONFIG = "tokenizer_config.json"
_TOKENIZER_FILES = (
    "tokenizer.json",
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
)
_SAMPLE_BYTES = 1 << 20
_SAMPLES = 256


class Prompts(Protocol):
    """Turns problems into token ids."""

    def encode_problem(self, problem: Problem) -> tuple[int, ...]:
        """Return the prompt of a problem, a question or a conversation, up to where the model begins to write."""

    def encode_text(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a text that continues a prompt: no special ones are added."""

    def rendered(self, problem: Problem) -> str | None:
        """Return the prompt of a problem as the model sees it, None if that is not known."""


class ChatPrompts:
    """The model's own chat template over system text, worked examples and the question."""

    def __init__(self, tokenizer: Any, config: PromptConfig) -> None:
        self._tokenizer = tokenizer
        self._config = config
        self._today = datetime.fromisoformat(config.date)

    def encode_problem(self, problem: Problem) -> tuple[int, ...]:
        return self.encode_messages(self._conversation(problem) if problem.messages else self._turns(problem.question))

    def _turns(self, question: str) -> list[dict[str, str]]:
        turns = [_turn("system", self._config.system)] if self._config.system else []
        for shot in self._config.few_shot:
            turns += [_turn("user", self._ask(shot.question)), _turn("assistant", shot.reply)]
        return [*turns, _turn("user", self._ask(question))]

    def _conversation(self, problem: Problem) -> list[dict[str, str]]:
        """Return a conversation with the configured system text, if it has none of its own, and the instruction below its last turn. Worked
        examples are left out: it is no question among questions."""
        turns = [_turn(role, content) for role, content in problem.messages]
        turns[-1]["content"] = self._ask(turns[-1]["content"])
        if self._config.system and turns[0]["role"] != "system":
            turns.insert(0, _turn("system", self._config.system))
        return turns

    def encode_messages(self, messages: list[dict[str, str]]) -> tuple[int, ...]:
        """Return the tokens of a conversation, ready for the model's next turn."""
        ids = self._tokenizer.apply_chat_template(
            messages,
            tokenize=True,
            add_generation_prompt=True,
            return_dict=False,
            **{"strftime_now": self._today.strftime} | self._config.template_kwargs,
        )
        return tuple(int(token) for token in ids)

    def encode_text(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def rendered(self, problem: Problem) -> str | None:
        return str(self._tokenizer.decode(self.encode_problem(problem)))

    def _ask(self, question: str) -> str:
        return f"{question}\n{self._config.instruction}" if self._config.instruction else question


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


class BytePrompts:
    """Prompts without a tokenizer, for the simulated sampler: a token a byte."""

    def encode_problem(self, problem: Problem) -> tuple[int, ...]:
        return self.encode_text(problem.question)

    def encode_text(self, text: str) -> tuple[int, ...]:
        return tuple(1 + byte for byte in text.encode())

    def rendered(self, problem: Problem) -> str | None:
        return None


class RecordedPrompts:
    """Prompts of known length and unknown tokens. num_tokens: of a problem's prompt, by problem id; 0 if it is not known."""

    def __init__(self, num_tokens: Callable[[str], int]) -> None:
        self._num_tokens = num_tokens

    def encode_problem(self, problem: Problem) -> tuple[int, ...]:
        return (0,) * self._num_tokens(problem.problem_id)

    def encode_text(self, text: str) -> tuple[int, ...]:
        raise AssertionError("a recording has no tokenizer")

    def rendered(self, problem: Problem) -> str | None:
        return None


def load_tokenizer(path: str, revision: str | None, trust_remote_code: bool) -> Any:
    """Load the tokenizer of a model folder (or hub id).

    Raises:
        InputError: there is none, or it has no chat template.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise InputError(f"model.path: got {path!r}, which cannot be loaded ({reason}). Name a model folder.") from None
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(f"model.path: the tokenizer of {path!r} has no chat template. Use an instruction-tuned model.")
    return tokenizer


def model_prompts(model: ModelConfig) -> tuple[ChatPrompts, Any]:
    """Return what makes a model's prompts, and its tokenizer. Raises InputError, as `load_tokenizer`."""
    tokenizer = load_tokenizer(model.path, model.revision, model.trust_remote_code)
    return ChatPrompts(tokenizer, model.prompt), tokenizer


def token_ends(tokenizer: Any, text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return a text's tokens, and for each the character of the text behind it."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return tuple(encoded["input_ids"]), tuple(end for _, end in encoded["offset_mapping"])


def check_model_folder(path: str, key: str, file: str = "config.json") -> None:
    """Refuse a local path that holds no model; anything that does not look like a path may be a hub id.

    Args:
        file: that has to be there: TOKENIZER_CONFIG if the weights may be elsewhere.

    Raises:
        InputError: the folder or the file is missing.
    """
    is_local = path.startswith((".", "/", "~")) or Path(path).exists()
    if is_local and not (local_path(path) / file).is_file():
        raise InputError(
            f"{key}: got {path!r}, expected a model folder with a {file}. "
            "Run `python -m jobs.fetch_model` for the default model, or name another folder."
        )


def tokenizer_fingerprint(model: ModelConfig) -> str:
    """Return a hash of a local model's tokenizer and chat template; for a hub id its name and revision."""
    folder = local_path(model.path)
    if not folder.is_dir():
        return f"{model.path}@{model.revision or 'main'}"
    return files_fingerprint(folder / name for name in _TOKENIZER_FILES if (folder / name).is_file())


def model_type(model: ModelConfig) -> str | None:
    """Return what kind of model a folder's config.json says it is; None for a hub id that is not on this machine."""
    from transformers import AutoConfig

    trust = model.trust_remote_code
    try:
        config = AutoConfig.from_pretrained(model.path, revision=model.revision, trust_remote_code=trust)
    except (OSError, ValueError):
        return None
    return str(config.model_type)


def path_fingerprint(path: str, revision: str | None = None) -> str:
    """Return a hash of a model or adapter folder's contents; for a hub id its name and revision.

    Of large weight files it reads the size, the first MiB and 64 KiB at 256 places, evenly spread.
    """
    folder = local_path(path)
    if not folder.is_dir():
        return f"{path}@{revision or 'main'}"
    digest = blake2b(digest_size=16)
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix in (*_WEIGHT_SUFFIXES, ".json", ".jinja", ".model", ".txt"):
            size = file.stat().st_size
            digest.update(f"{file.name}:{size}:".encode())
            with file.open("rb") as stream:
                digest.update(stream.read(_SAMPLE_BYTES))
                for number in range(_SAMPLES if size > _SAMPLE_BYTES else 0):
                    stream.seek(_SAMPLE_BYTES + (size - _SAMPLE_BYTES) * number // _SAMPLES)
                    digest.update(stream.read(min(_SAMPLE_BYTES // 16, (size - _SAMPLE_BYTES) // _SAMPLES + 1)))
    return digest.hexdigest()
