"""Final answers: extracted from text, keyed so that equal answers have equal keys, and graded against a gold answer. README.md says which are equal."""

from pruner.answers.extraction import balanced, extract_answer, last_boxed, option_letter
from pruner.answers.keys import plain_key
from pruner.answers.registry import answer_key, cached_key

__all__ = ["answer_key", "balanced", "cached_key", "extract_answer", "last_boxed", "option_letter", "plain_key"]
