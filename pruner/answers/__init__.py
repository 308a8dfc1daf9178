"""Final answers: extracted from text, keyed so that equal answers have equal keys, and graded against a gold answer.

A set's kind of answers (kinds/) decides both. Grouping and grading are two relations. A key is a pure function of one answer: votes, clusters and judges' labels compare keys and nothing
else. Grading, of mathematics math-verify's, is lenient and one-directional, and decides only whether an answer is right. reader.py and worker.py run both
beside the event loop; README.md says which answers are equal. Nothing here knows a problem, a method or the disk.
"""

from pruner.answers.extraction import balanced, extract_answer, last_boxed, option_letter
from pruner.answers.keys import plain_key
from pruner.answers.registry import answer_key, cached_key

__all__ = ["answer_key", "balanced", "cached_key", "extract_answer", "last_boxed", "option_letter", "plain_key"]
