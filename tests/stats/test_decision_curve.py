"""Net benefit by hand and by a loop over resampled patients."""

import numpy as np
import pytest

from bonemet_jax.stats.bootstrap import draw_patients
from bonemet_jax.stats.decision_curve import (
    THRESHOLDS,
    compute_decision_curve,
    compute_net_benefit,
    compute_treat_all,
)
from bonemet_jax.stats.estimable import NotEstimableError

LABEL = np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 0])
P = np.array([0.9, 0.3, 0.6, 0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05])


def test_net_benefit_by_hand() -> None:
    """At 0.3 four are treated, two of them events; at 0.5 two, one an event."""
    found = compute_net_benefit(LABEL, P, np.array([0.3, 0.5, 0.95]))
    assert found == pytest.approx([2 / 10 - 2 / 10 * 3 / 7, 1 / 10 - 1 / 10, 0])
    assert compute_treat_all(LABEL, np.array([0.2, 0.5])) == pytest.approx([0.2 - 0.8 / 4, 0.2 - 0.8])


def test_known_identities() -> None:
    """Treating all is worth 0 where the threshold is the prevalence; a perfect model is worth the prevalence."""
    assert (THRESHOLDS[0], THRESHOLDS[-1], THRESHOLDS.size) == (0.01, 0.6, 60)
    everyone = compute_treat_all(LABEL)
    assert everyone[19] == pytest.approx(0) and (np.diff(everyone) < 0).all()
    assert compute_net_benefit(LABEL, LABEL) == pytest.approx(np.full(60, 0.2))
    assert compute_net_benefit(LABEL, P)[:5] == pytest.approx(everyone[:5]), "below the least prediction"
    assert (compute_net_benefit(LABEL, P) <= 0.2 + 1e-12).all()


def test_band_is_that_of_resampled_patients() -> None:
    rng = np.random.default_rng(0)
    label = np.arange(60) < 15
    p = rng.random(60) * 0.6 + 0.2 * label
    draws = draw_patients(label, 300, seed=1)
    by_loop = []
    for weight in draws.weight:
        rows = np.repeat(np.arange(60), weight)
        by_loop.append(compute_net_benefit(label[rows], p[rows]))
    found = compute_decision_curve(draws, p)
    assert found.net_benefit == pytest.approx(compute_net_benefit(label, p), abs=1e-12)
    lower, upper = np.percentile(by_loop, (2.5, 97.5), axis=0)
    assert found.lower == pytest.approx(lower, abs=1e-12) and found.upper == pytest.approx(upper, abs=1e-12)


def test_no_answer_is_said() -> None:
    with pytest.raises(NotEstimableError, match="only one class"):
        compute_net_benefit(np.zeros(4), np.linspace(0, 1, 4))
    with pytest.raises(NotEstimableError, match="missing"):
        compute_net_benefit([0, 1], [0.1, np.nan])
