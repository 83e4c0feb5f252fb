"""Cross-validation folds (row F1): decided once, written to a file, obeyed by every room."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from bonemet_jax import artifacts, schema
from bonemet_jax.config import FoldsConfig
from bonemet_jax.errors import CorruptFileError, InputDataError, LeakageError
from bonemet_jax.patient_ids import describe_pairs, find_alike
from bonemet_jax.strict_json import find_mismatch

_KEYS = {"seed", "n_folds", "patients"}


class _Entry(TypedDict):
    splits: list[str]
    test_fold: NotRequired[int | None]


class _FoldsFile(TypedDict):
    """folds.json without its checksum."""

    seed: int
    n_folds: int
    patients: dict[str, _Entry]


@dataclass(frozen=True)
class Splits:
    """Which split each patient has in each training: `splits[patient_id][k]` is train, val or test."""

    seed: int
    splits: Mapping[str, tuple[str, ...]]

    @property
    def n_folds(self) -> int:
        """Number of trainings: of folds."""
        return len(next(iter(self.splits.values())))

    def split_of(self, patient_id: str, fold: int) -> str:
        """The patient's split (train, val, test) in `fold`. Raises: LeakageError for an unknown patient."""
        if patient_id not in self.splits:
            alike = describe_pairs(find_alike([patient_id], self.splits))
            raise LeakageError("; ".join(filter(None, ["a patient has no fold", alike])), "folds.json",
                               "make the folds again for this cohort")
        return self.splits[patient_id][fold]

    def patient_ids(self, fold: int, split: str) -> list[str]:
        """Sorted ids of the patients that are `split` in `fold`."""
        return sorted(p for p, splits in self.splits.items() if splits[fold] == split)


@dataclass(frozen=True)
class Folds(Splits):
    """Cross-validation: every patient is tested exactly once.

    Raises: LeakageError when one is not.
    """

    def __post_init__(self) -> None:
        for row, splits in enumerate(self.splits.values(), start=1):
            tested = splits.count("test")
            if tested != 1:
                raise LeakageError(f"a patient is in {tested} test folds", f"patient {row} of the folds",
                                   "every patient is tested exactly once; make the folds again")

    def test_fold(self, patient_id: str) -> int:
        """The fold that holds the patient out."""
        return self.splits[patient_id].index("test")


def make_folds(patient_ids: Sequence[str], labels: Sequence[float], config: FoldsConfig) -> Folds:
    """Deal patients to test folds and validation parts, stratified by label.

    Depends on the set of (id, label) and the seed alone, not on row order. Fold sizes differ by at most one, in each
    class too: 144, 144, 143 for 431. The validation part is `val_fraction` of each training part.

    Args:
        patient_ids: unique ids.
        labels: 0 or 1, one a patient.
        config: number of folds, seed, validation share.

    Raises: InputDataError when an id repeats or either class has fewer than two patients.
    """
    label_of = {p: int(label) for p, label in zip(patient_ids, labels, strict=True)}
    if len(label_of) != len(patient_ids):
        raise InputDataError("a patient id is given twice", "the cohort", "one row a patient")
    by_class = [sorted(p for p in label_of if label_of[p] == wanted) for wanted in (1, 0)]
    if min(map(len, by_class)) < 2 or len(label_of) < config.n_folds:
        raise InputDataError(f"{len(by_class[0])} patients with and {len(by_class[1])} without {schema.LABEL}",
                             "the cohort", f"at least 2 of each, and {config.n_folds} in all, to make folds")
    rng = np.random.default_rng(config.seed)
    dealt = [p for ids in by_class for p in rng.permutation(ids).tolist()]
    test_fold = {p: i % config.n_folds for i, p in enumerate(dealt)}
    columns = [
        _split(by_class, {p for p in dealt if test_fold[p] == fold}, config.val_fraction, (config.seed, fold))
        for fold in range(config.n_folds)
    ]
    return Folds(config.seed, {p: tuple(column[p] for column in columns) for p in sorted(dealt)})


def list_pairs(n_folds: int) -> list[tuple[int, int]]:
    """Every two folds, in the order of the cross-fitting networks."""
    return list(combinations(range(n_folds), 2))


def make_pair_splits(folds: Folds, label: Mapping[str, int], val_fraction: float) -> Splits:
    """One training for every two folds, which sees neither of them (mode `honest`).

    Its network describes a patient of either fold without having seen that patient or the other fold's test patients:
    what a classifier that is tested on the other fold may learn from.

    Args:
        folds: the cross-validation; at least three folds.
        label: 0/1 by patient.
        val_fraction: share of each training part that becomes its validation part.

    Raises: LeakageError with two folds: nobody would be left to train on.
    """
    if folds.n_folds < 3:
        raise LeakageError("cross-fitting needs at least 3 folds", f"{folds.n_folds} folds",
                           "add --folds.n-folds 3, or use --fusion.mode paper")
    by_class = [sorted(p for p in folds.splits if label[p] == wanted) for wanted in (1, 0)]
    columns = [
        _split(by_class, {p for p in folds.splits if folds.test_fold(p) in pair}, val_fraction, (folds.seed, *pair))
        for pair in list_pairs(folds.n_folds)
    ]
    return Splits(folds.seed, {p: tuple(column[p] for column in columns) for p in sorted(folds.splits)})


def _split(by_class: list[list[str]], test: set[str], val_fraction: float, seed: tuple[int, ...]) -> dict[str, str]:
    """The split of every patient in one training: `val_fraction` of those outside `test` validate."""
    rest = [[p for p in ids if p not in test] for ids in by_class]
    val = _choose_validation(rest, val_fraction, np.random.default_rng(seed))
    return {p: "test" if p in test else "val" if p in val else "train" for ids in by_class for p in ids}


def _choose_validation(by_class: list[list[str]], fraction: float, rng: np.random.Generator) -> set[str]:
    """Choose the validation part: `fraction` of all, each class in proportion and on both sides where it can be."""
    positive, negative = by_class
    total = round(fraction * (len(positive) + len(negative)))
    n_positive = _keep_both_sides(round(fraction * len(positive)), len(positive))
    n_negative = _keep_both_sides(total - n_positive, len(negative))
    return {
        p
        for ids, n in ((positive, n_positive), (negative, n_negative))
        for p in rng.permutation(ids).tolist()[:n]
    }


def _keep_both_sides(wanted: int, n: int) -> int:
    return min(max(wanted, 1), n - 1) if n >= 2 else 0


def save_folds(path: str | Path, folds: Folds) -> None:
    """Write folds.json (docs/contracts.md)."""
    patients = {p: {"test_fold": folds.test_fold(p), "splits": list(s)} for p, s in folds.splits.items()}
    value: dict[str, Any] = {"seed": folds.seed, "n_folds": folds.n_folds, "patients": patients}
    artifacts.write_json(path, artifacts.add_checksum(value))


def load_folds(path: str | Path, patient_ids: Sequence[str] | None = None) -> Folds:
    """Read folds.json; with `patient_ids`, also check that it deals exactly these patients.

    Raises: CorruptFileError for a damaged file; LeakageError when a patient is tested twice, never, or is not dealt.
    """
    n_repeated: list[int] = []

    def make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Of a name that comes twice, as by hand it may, JSON keeps the last alone, silently."""
        n_repeated.append(len(pairs) - len(dict(pairs)))
        return dict(pairs)

    folds = _read_folds(artifacts.load_json(path, make_object=make_object), path)
    if any(n_repeated):
        raise LeakageError(f"{sum(n_repeated)} patients or names come twice", path, "deal every patient once")
    if patient_ids is not None and set(patient_ids) != set(folds.splits):
        what = (f"folds deal {len(folds.splits)} patients, the cohort has {len(set(patient_ids))}, and the two sets "
                "differ")  # fmt: skip
        alike = describe_pairs(find_alike(folds.splits, patient_ids))
        if alike:
            raise LeakageError(f"{what}: ids of the folds and of the cohort {alike}", path,
                               "write the ids in the folds as the cohort has them, or make the folds again")
        raise LeakageError(what, path, "make the folds again for this cohort")
    return folds


def _read_folds(value: Any, path: str | Path) -> Folds:
    remedy = "delete it and make the folds again"
    if not isinstance(value, dict) or set(value) - {artifacts.CHECKSUM} != _KEYS:
        raise CorruptFileError(f"folds must hold exactly {', '.join(sorted(_KEYS))}", path, remedy)
    # Written always; a file made by hand may leave it out.
    if artifacts.CHECKSUM in value and not artifacts.has_own_checksum(value):
        raise CorruptFileError("folds differ from their checksum", path,
                               f'if edited by hand, take out its "{artifacts.CHECKSUM}" line; else {remedy}')
    if mismatch := find_mismatch(value, _FoldsFile):
        raise CorruptFileError(f"folds cannot be read ({mismatch})", path, remedy)
    splits = {p: tuple(entry["splits"]) for p, entry in value["patients"].items()}
    test_folds = {p: entry.get("test_fold") for p, entry in value["patients"].items()}
    n_folds, seed = value["n_folds"], value["seed"]
    if not splits or n_folds < 1 or any(
        len(s) != n_folds or not set(s) <= set(schema.SPLITS) for s in splits.values()
    ):
        raise CorruptFileError(f"every patient needs {n_folds} splits out of {', '.join(schema.SPLITS)}", path, remedy)
    try:
        folds = Folds(seed, dict(sorted(splits.items())))
    except LeakageError as error:
        raise LeakageError(error.what, path, error.mend) from error
    for row, patient in enumerate(folds.splits, start=1):
        if test_folds[patient] not in (None, folds.test_fold(patient)):
            raise LeakageError(f"test_fold and splits of patient {row} differ", path, "mend either, or make new folds")
    return folds
