"""The three classifiers of row G1 behind one interface: `fit(x, label, seed)`, then `score(x)` in [0, 1].

Class imbalance (52 of 431 patients): every classifier weighs the classes so that both count the same in its loss, and
none resamples. Scores therefore rank patients and are not calibrated probabilities; the threshold of row G2 is chosen
on them as they are.

Hyper-parameters: the paper names none. # PAPER: our choice, a few modest candidates each for about 230 training
patients with about 28 positives; `CANDIDATES` lists them, the first wins ties, and inner validation chooses (fold.py).
"""

from collections.abc import Callable
from typing import ClassVar, Protocol, Self

import numpy as np
import xgboost
from jaxtyping import Float, Int
from scipy.special import expit
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from bonemet_jax.errors import CorruptFileError, InputDataError
from bonemet_jax.fusion.booster_file import check_booster

Matrix = Float[np.ndarray, "patient feature"]
Labels = Int[np.ndarray, " patient"]
Scores = Float[np.ndarray, " patient"]
#: Hyper-parameters by name.
Settings = dict[str, float]


class Classifier(Protocol):
    """What fusion asks of a classifier."""

    def fit(self, x: Matrix, label: Labels, seed: int) -> Self:
        """Learn from training patients. Raises: InputDataError when the labels hold one class only."""
        ...

    def score(self, x: Matrix) -> Scores:
        """Score in [0, 1] of each patient: higher is nearer to bone metastasis."""
        ...


def check_two_classes(label: Labels) -> None:
    """Raises: InputDataError unless both 0 and 1 occur."""
    if set(np.unique(label)) != {0, 1}:
        raise InputDataError(
            f"training labels hold {sorted(set(np.unique(label).tolist()))}, both 0 and 1 are needed", "",
            "use fewer folds or a cohort with more events",
        )


class GradientBoosting:
    """XGBoost, shallow trees, logistic loss; positives weigh (negatives / positives).

    Args:
        max_depth: levels of a tree: how many features act together.
        device: cpu or cuda.
        booster: a fitted booster to score with; none before `fit`.
    """

    N_TREES = 100
    CANDIDATES: ClassVar[tuple[Settings, ...]] = ({"max_depth": 2}, {"max_depth": 1}, {"max_depth": 3})
    PARAMETERS: ClassVar[dict[str, object]] = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "eta": 0.05,
        "subsample": 0.7,
        "colsample_bytree": 0.5,
        "lambda": 5.0,
        "nthread": 1,  # no slower than two threads at a few hundred rows, and sums in one order on every machine
    }

    def __init__(
        self, max_depth: float = 2, device: str = "cpu", booster: xgboost.Booster | None = None
    ) -> None:
        self._max_depth, self.device, self._booster = int(max_depth), device, booster

    @property
    def booster(self) -> xgboost.Booster:
        """The fitted booster."""
        if self._booster is None:
            raise RuntimeError("fit the gradient boosting before using it")
        return self._booster

    def fit(self, x: Matrix, label: Labels, seed: int) -> Self:
        """Grow the trees; equal input and seed give equal bytes."""
        check_two_classes(label)
        weight = float(np.sum(label == 0) / np.sum(label == 1))
        # The least weight of a leaf shrinks with the cohort, or a small one could not be split at all.
        leaf_weight = min(20.0, 0.08 * len(label))
        parameters = {
            **self.PARAMETERS, "max_depth": self._max_depth, "device": self.device,
            "min_child_weight": leaf_weight, "scale_pos_weight": weight, "seed": seed,
        }
        self._booster = xgboost.train(parameters, xgboost.DMatrix(x, label=label), num_boost_round=self.N_TREES)
        return self

    def score(self, x: Matrix) -> Scores:
        """Logistic of the summed leaves."""
        return self.booster.predict(xgboost.DMatrix(x)).astype(np.float64)

    def to_bytes(self) -> bytes:
        """The model in XGBoost's own binary form (.ubj), which executes nothing on load."""
        return bytes(self.booster.save_raw(raw_format="ubj"))

    @classmethod
    def from_bytes(cls, data: bytes, where: object) -> "GradientBoosting":
        """The model of `to_bytes`.

        Raises: CorruptFileError when the bytes of the file `where` are no gradient boosting of ours: their structure is
            checked before XGBoost reads them.
        """
        booster = xgboost.Booster()
        try:
            check_booster(data)
            booster.load_model(bytearray(data))
        except ValueError as error:  # XGBoost's own is one, too
            what = f"not a readable XGBoost model ({' '.join(str(error).split())[:120]})"
            raise CorruptFileError(what, where, "run `fuse` again") from error
        return cls(booster=booster)


class SupportVector:
    """Support vector machine, Gaussian kernel, over features standardised on the training patients.

    Its score is 1 / (1 + exp(-decision)): one fixed increasing map, so ranks and AUC are the decision's own and 0.5 is
    the machine's own boundary. Not Platt scaling, which would need data of its own.

    Args:
        c: cost of a patient on the wrong side.
    """

    CANDIDATES: ClassVar[tuple[Settings, ...]] = ({"c": 0.1}, {"c": 0.01}, {"c": 1.0})

    def __init__(self, c: float = 0.1) -> None:
        self._c = c

    def fit(self, x: Matrix, label: Labels, seed: int) -> Self:
        """Solve; classes weigh inversely to their counts. The solution is unique, `seed` is not used."""
        check_two_classes(label)
        self._model = make_pipeline(
            StandardScaler(), SVC(C=self._c, kernel="rbf", gamma="scale", class_weight="balanced")
        )
        self._model.fit(x, label)
        return self

    def score(self, x: Matrix) -> Scores:
        """Logistic of the signed distance to the boundary."""
        return expit(self._model.decision_function(x))


class RandomForest:
    """Random forest; classes weigh inversely to their counts in the training part.

    Args:
        min_samples_leaf: fewest patients in a leaf.
    """

    CANDIDATES: ClassVar[tuple[Settings, ...]] = (
        {"min_samples_leaf": 8}, {"min_samples_leaf": 4}, {"min_samples_leaf": 16},
    )

    def __init__(self, min_samples_leaf: float = 8) -> None:
        self._min_samples_leaf = int(min_samples_leaf)

    def fit(self, x: Matrix, label: Labels, seed: int) -> Self:
        """Grow 200 trees. One thread: several would add the trees' votes in a changing order."""
        check_two_classes(label)
        self._model = RandomForestClassifier(
            n_estimators=200, min_samples_leaf=self._min_samples_leaf, max_features="sqrt", class_weight="balanced",
            random_state=seed, n_jobs=1,
        ).fit(x, label)
        return self

    def score(self, x: Matrix) -> Scores:
        """Mean of the trees' leaf shares of positives (weighted)."""
        return self._model.predict_proba(x)[:, 1]


_MAKERS: dict[str, Callable[..., Classifier]] = {"gbdt": GradientBoosting, "svm": SupportVector, "rf": RandomForest}
_CANDIDATES: dict[str, tuple[Settings, ...]] = {
    "gbdt": GradientBoosting.CANDIDATES, "svm": SupportVector.CANDIDATES, "rf": RandomForest.CANDIDATES,
}


def list_candidates(name: str) -> tuple[Settings, ...]:
    """Hyper-parameters that inner validation chooses from; the first wins ties."""
    return _CANDIDATES[name]


def make_classifier(name: str, settings: Settings | None = None, device: str = "cpu") -> Classifier:
    """An unfitted classifier by the schema's name: gbdt, svm or rf.

    Args:
        settings: one of its candidates, the first when None.
        device: where gradient boosting runs.
    """
    chosen = _CANDIDATES[name][0] if settings is None else settings
    return _MAKERS[name](**chosen, **({"device": device} if name == "gbdt" else {}))
