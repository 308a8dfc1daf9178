"""Scores that any judge must beat: length difference, TF-IDF, and the problem's own rate of agreement.

Owns scikit-learn's text features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

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
    labels: dict[str, list[int]] = {}
    for pair in pairs:
        labels.setdefault(pair.problem, []).append(pair.label)
    return [float(np.mean(labels[pair.problem])) for pair in pairs]


def tfidf_scores(pairs: Sequence[LabelledPair]) -> list[float]:
    """Return the cosine of the prefixes' TF-IDF vectors."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = sorted({text for pair in pairs for text in (pair.left, pair.right)})
    places = {text: place for place, text in enumerate(texts)}
    vectors = TfidfVectorizer(token_pattern=_TOKENS, sublinear_tf=True).fit_transform(texts)
    left, right = ([places[getattr(pair, side)] for pair in pairs] for side in ("left", "right"))
    return np.asarray(vectors[left].multiply(vectors[right]).sum(axis=1)).ravel().tolist()


# The baselines that need nothing but the pairs, by name.
BASELINES: dict[str, Callable[[Sequence[LabelledPair]], list[float]]] = {
    "length": length_scores,
    "tfidf": tfidf_scores,
    "prior": prior_scores,
}
