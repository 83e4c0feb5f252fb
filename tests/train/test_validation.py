"""AUC against scikit-learn, class weights against its formula."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.utils.class_weight import compute_class_weight as sklearn_weight

from bonemet_jax.train.validation import compute_auc, compute_class_weight


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40))
def test_auc_is_sklearns(rows: list[tuple[bool, int]]) -> None:
    label = np.array([int(positive) for positive, _ in rows])
    score = np.array([value / 5 for _, value in rows])
    if len(set(label.tolist())) < 2:
        assert compute_auc(label, score) is None
    else:
        assert abs((compute_auc(label, score) or 0.0) - roc_auc_score(label, score)) < 1e-12


def test_balanced_weight_is_sklearns() -> None:
    label = np.array([0] * 9 + [1] * 3)
    want = sklearn_weight("balanced", classes=np.array([0, 1]), y=label)
    np.testing.assert_allclose(compute_class_weight(label, 2, balanced=True), want, rtol=1e-6)
    np.testing.assert_array_equal(compute_class_weight(label, 2, balanced=False), [1, 1])
