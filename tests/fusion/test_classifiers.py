"""The three classifiers behind one interface."""

import numpy as np
import pytest
from scipy.special import logit
from sklearn.metrics import roc_auc_score

from bonemet_jax import schema
from bonemet_jax.errors import CorruptFileError, InputDataError
from bonemet_jax.fusion.classifiers import GradientBoosting, SupportVector, make_classifier


def _draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """One informative feature of three; about one patient in eight is positive."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    label = (x[:, 0] + 0.5 * rng.normal(size=n) > 1.3).astype(int)
    return x, label


@pytest.mark.parametrize("name", schema.CLASSIFIERS)
def test_scores_rank_new_patients_and_repeat(name: str) -> None:
    x, label = _draw(230, 0)
    new, truth = _draw(400, 1)
    score = make_classifier(name).fit(x, label, seed=0).score(new)
    assert score.shape == (400,) and score.dtype == np.float64
    assert score.min() >= 0 and score.max() <= 1
    assert roc_auc_score(truth, score) > 0.9
    assert np.array_equal(score, make_classifier(name).fit(x, label, seed=0).score(new))


@pytest.mark.parametrize("name", schema.CLASSIFIERS)
def test_classes_count_the_same(name: str) -> None:
    """Classes weigh half each: an uninformative feature scores towards one half, not the 12 % of positives."""
    rng = np.random.default_rng(2)
    label = np.repeat([0, 1], [350, 50])
    score = make_classifier(name).fit(rng.normal(size=(400, 1)), label, seed=0).score(rng.normal(size=(400, 1)))
    assert 0.25 < np.mean(score) < 0.65


@pytest.mark.parametrize("name", schema.CLASSIFIERS)
def test_one_class_is_refused(name: str) -> None:
    with pytest.raises(InputDataError, match="both 0 and 1"):
        make_classifier(name).fit(np.zeros((5, 1)), np.zeros(5, int), seed=0)


def test_tiny_training_part_can_still_be_split() -> None:
    x, label = _draw(24, 5)
    label[np.argmax(x[:, 0])] = 1
    assert np.ptp(GradientBoosting().fit(x, label, seed=0).score(x)) > 0.05


def test_support_vector_score_is_the_logistic_of_its_decision() -> None:
    x, label = _draw(100, 3)
    machine = SupportVector().fit(x, label, seed=0)
    assert np.allclose(logit(machine.score(x)), machine._model.decision_function(x))


def test_support_vector_does_not_depend_on_units() -> None:
    x, label = _draw(100, 3)
    scale = np.array([1.0, 1000.0, 0.001])
    a = SupportVector().fit(x, label, seed=0).score(x)
    b = SupportVector().fit(x * scale, label, seed=0).score(x * scale)
    assert np.allclose(a, b, atol=1e-6)


def test_boosting_survives_its_file() -> None:
    x, label = _draw(120, 4)
    model = GradientBoosting().fit(x, label, seed=0)
    assert np.array_equal(GradientBoosting.from_bytes(model.to_bytes(), "m.ubj").score(x), model.score(x))


def test_damaged_boosting_is_named() -> None:
    x, label = _draw(120, 4)
    data = GradientBoosting().fit(x, label, seed=0).to_bytes()
    with pytest.raises(CorruptFileError, match=r"m\.ubj"):
        GradientBoosting.from_bytes(data[: len(data) // 2], "m.ubj")
