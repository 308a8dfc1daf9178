"""Logistic regression against scikit-learn, and where there is nothing to tell apart."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from pruner.rules.logistic import fit, logit, sigmoid


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_it_finds_what_scikit_learn_finds(seed, width):
    rng = np.random.default_rng(seed)
    rows = rng.normal(3, 2, size=(60, width))
    labels = (rows @ rng.normal(size=width) + rng.normal(size=60) > 3).astype(int)
    if labels.min() == labels.max():
        labels[0] = 1 - labels[0]
    model = fit(rows.tolist(), labels.tolist(), 0.5)
    scaled = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    known = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(scaled, labels)
    expected = known.predict_proba(scaled)[:, 1]
    assert [model.predict(row) for row in rows.tolist()] == pytest.approx(expected.tolist(), abs=2e-3)


@pytest.mark.parametrize("label", [0, 1])
def test_labels_of_one_kind_are_believed(label):
    model = fit([[1.0], [2.0], [5.0]], [label] * 3, 0.01)
    assert abs(model.predict([3.0]) - label) < 0.01


def test_features_that_never_change_and_labels_that_can_be_told_apart_are_no_trouble():
    model = fit([[0.0, 7.0], [0.0, 7.0], [1.0, 7.0], [1.0, 7.0]], [0, 0, 1, 1], 0.01)
    assert model.predict([0.0, 7.0]) < 0.1 and model.predict([1.0, 7.0]) > 0.9
    assert math.isfinite(model.predict([0.5, 9.0]))


def test_odds_and_chances_are_each_others_inverse():
    assert sigmoid(logit(0.3)) == pytest.approx(0.3) and sigmoid(-800.0) == 0.0 and sigmoid(800.0) == 1.0
    assert math.isfinite(logit(0.0)) and math.isfinite(logit(1.0))
