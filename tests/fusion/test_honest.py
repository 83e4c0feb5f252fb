"""Mode `honest`: who learned from whom, and that nothing leaks from the test patients or from a patient to itself."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bonemet_jax import artifacts, schema
from bonemet_jax.cohort.folds import Folds, list_pairs, load_folds, make_pair_splits
from bonemet_jax.config import Config, FoldsConfig, FusionConfig
from bonemet_jax.errors import InputDataError, LeakageError, UsageError
from bonemet_jax.fusion.cross_fitting import cross_fit, map_features
from bonemet_jax.fusion.fold import deal_parts
from bonemet_jax.fusion.run import fuse
from bonemet_jax.stats.leakage_results import compute_leakage
from bonemet_jax.stats.roc import compute_auc

from .conftest import N_FEATURES, N_FOLDS, N, SmallRun, make_small_run

pytestmark = pytest.mark.every_change

HONEST = FusionConfig(mode="honest", classifiers=("gbdt", "svm"), screen=False, workers=1)


def make_honest_run(root: Path, memory: float = 3.0) -> SmallRun:
    """A run whose networks know their own training patients' labels by heart, `memory` SDs of it."""
    small = make_small_run(root)
    folds = load_folds(root / "folds.json")
    ids = small.table[schema.PATIENT_ID].tolist()
    label = small.table[schema.LABEL].to_numpy(float)
    splits = make_pair_splits(folds, dict(zip(ids, label.astype(int), strict=True)), 0.2)
    random = np.random.default_rng(5)

    def learn(source: Folds | object, fold: int, embedding: np.ndarray) -> np.ndarray:
        learned = np.array([source.split_of(p, fold) == "train" for p in ids])  # type: ignore[attr-defined]
        return embedding + (learned * memory * (label - 0.5))[:, None] * np.ones(N_FEATURES)

    own = np.stack([learn(folds, fold, small.embedding[fold]) for fold in range(N_FOLDS)])
    small.write(small.table, own.astype(np.float32))
    cross = []
    for pair in range(len(list_pairs(N_FOLDS))):
        mixed = small.embedding[0] + random.normal(size=small.embedding[0].shape) * 0.3
        cross.append(learn(splits, pair, mixed) @ random.normal(size=(N_FEATURES, N_FEATURES)) + 7)
    (root / "cross").mkdir()
    artifacts.save_npz(root / "cross" / "embeddings.npz", {
        "patient_id": np.array(ids), "embedding": np.stack(cross).astype(np.float32)})
    return replace(small, embedding=own.astype(np.float32))


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    small = make_honest_run(tmp_path_factory.mktemp("honest") / "run")
    fuse(small.run, small.cohort, HONEST)
    return small


def _digests(run: Path) -> dict[str, str]:
    files = [*(run / "models").iterdir(), run / "scores.parquet", run / "paper_scores.parquet"]
    return {p.name: artifacts.sha256_file(p) for p in files}


@pytest.mark.parametrize("n_folds", [3, 4, 5])
def test_a_pair_network_sees_neither_fold(n_folds: int) -> None:
    ids = [f"P{i:03d}" for i in range(97)]
    label = {p: int(i % 7 == 0) for i, p in enumerate(ids)}
    from bonemet_jax.cohort.folds import make_folds

    folds = make_folds(ids, list(label.values()), FoldsConfig(n_folds=n_folds))
    splits = make_pair_splits(folds, label, 0.2)
    pairs = list_pairs(n_folds)
    assert splits.n_folds == len(pairs) == n_folds * (n_folds - 1) // 2
    for k, pair in enumerate(pairs):
        parts = {split: set(splits.patient_ids(k, split)) for split in schema.SPLITS}
        assert parts["test"] == {p for p in ids if folds.test_fold(p) in pair}
        assert sum(map(len, parts.values())) == len(ids)
        for split in schema.SPLITS:
            assert {label[p] for p in parts[split]} == {0, 1}
    assert make_pair_splits(folds, label, 0.2) == splits


def test_two_folds_leave_nobody_to_learn_from() -> None:
    folds = Folds(0, {"a": ("test", "train"), "b": ("train", "test")})
    with pytest.raises(LeakageError, match="at least 3 folds"):
        make_pair_splits(folds, {"a": 0, "b": 1}, 0.2)
    with pytest.raises(UsageError, match="at least 3 folds"):
        Config(name="x", fusion=FusionConfig(mode="honest"), folds=FoldsConfig(n_folds=2))


def test_map_is_ridge_regression() -> None:
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    random = np.random.default_rng(0)
    source, target, new = random.normal(3, 2, (50, 4)), random.normal(size=(50, 6)), random.normal(3, 2, (7, 4))
    scaler = StandardScaler().fit(source)
    wanted = Ridge(alpha=0.1 * 50).fit(scaler.transform(source), target).predict(scaler.transform(new))
    assert np.allclose(map_features(source, target, new), wanted, atol=1e-12)
    source[:, 1] = 5.0
    new[:, 1] = 9.0
    assert np.allclose(map_features(source, target, new), map_features(source[:, [0, 2, 3]], target, new[:, [0, 2, 3]]))


def test_no_patient_is_described_by_a_network_that_saw_it() -> None:
    """Change what every network says of those it saw, pair by pair: only maps may move, never the patient's own row."""
    random, ids = np.random.default_rng(1), [f"P{i}" for i in range(30)]
    test_fold = {p: i % 3 for i, p in enumerate(ids)}
    names = ["X1", "X2"]
    own = pd.DataFrame(random.normal(size=(30, 2)), index=ids, columns=names)
    pairs = {k: pd.DataFrame(random.normal(size=(30, 2)), index=ids, columns=names) for k in (1, 2)}
    val = [p for p in ids[-9:] if test_fold[p] != 0]
    found = cross_fit(own, pairs, test_fold, 0, val)
    assert sorted(found.index) == sorted(p for p in ids if test_fold[p] != 0)
    for patient in found.index:
        other = {k: table.copy() for k, table in pairs.items()}
        for k in (1, 2):  # whatever they say of test patients, and of this patient by the other pair's network
            other[k].loc[[p for p in ids if test_fold[p] == 0]] = 1e6
        moved = own.copy()
        moved.loc[[p for p in ids if test_fold[p] == 0]] = 1e6
        if patient not in val:  # else the fold's network has not learned from it
            moved.loc[patient] = 1e6  # what the fold's own network, which saw the patient, says of it
        again = cross_fit(moved, other, test_fold, 0, val)
        assert np.allclose(again.loc[patient], found.loc[patient]), "its own over-fitted description must not count"
    for fold in (1, 2):
        part = found.loc[[p for p in found.index if test_fold[p] == fold]]
        assert np.allclose([part.mean(), part.std(ddof=0)], [own.loc[val].mean(), own.loc[val].std(ddof=0)])


def test_inner_parts_are_stratified_and_deal_everyone_once() -> None:
    label = np.array([1] * 7 + [0] * 53)
    among = np.ones(60, bool)
    among[[0, 10, 20]] = False
    part = deal_parts(label, among, (0, 1, 2))
    assert (part[~among] == -1).all() and set(part[among]) == {0, 1, 2, 3, 4}
    counts = np.array([np.bincount(part[among & (label == value)], minlength=5) for value in (0, 1)])
    assert (np.ptp(counts, axis=1) <= 1).all() and (counts > 0).all()
    with pytest.raises(InputDataError, match="1 patients of one class"):
        deal_parts(np.array([1, 0, 0, 0]), np.ones(4, bool), (0,))


def test_scores_of_the_seen_are_honest_and_the_published_ones_are_not(honest: SmallRun) -> None:
    scores = artifacts.load_table(honest.run / "scores.parquet")
    paper = artifacts.load_table(honest.run / "paper_scores.parquet")
    assert len(scores) == len(paper) == N * N_FOLDS * 6 and scores["score"].notna().all()
    aucs = {}
    for mode, table in (("honest", scores), ("paper", paper)):
        imaging = table[(table["feature_set"] == "imaging") & (table["classifier"] == "gbdt")]
        aucs[mode] = {split: compute_auc(part["label"], part["score"]) for split, part in imaging.groupby("split")}
    assert aucs["paper"]["train"] > 0.95 > aucs["honest"]["train"] + 0.1
    leakage = compute_leakage(paper, scores, n_draws=500)
    row = next(r for r in leakage["rows"] if (r["feature_set"], r["classifier"]) == ("imaging", "gbdt"))
    assert row["gap"]["ci95"][0] > 0 and row["paper"]["ci95"][0] > 0
    assert row["paper"]["optimism"] == pytest.approx(row["paper"]["seen_auc"] - row["paper"]["test_auc"])


def test_test_patients_change_nothing_that_is_learned(honest: SmallRun, tmp_path: Path) -> None:
    """Other labels, clinical data and embeddings of fold 0's test patients: models, choices and thresholds stay."""
    small = make_honest_run(tmp_path / "run")
    fold, rng = load_folds(small.run / "folds.json"), np.random.default_rng(1)
    rows = np.flatnonzero(small.table[schema.PATIENT_ID].isin(fold.patient_ids(0, "test")).to_numpy())
    table, embedding = small.table.copy(), small.embedding.copy()
    moved = rng.permutation(rows)
    for name in [name for name in table.columns if name != schema.PATIENT_ID]:
        table.loc[rows, name] = table.loc[moved, name].to_numpy()
    embedding[0, rows] = rng.normal(size=(len(rows), N_FEATURES))
    small.write(table, embedding)
    cross = artifacts.load_npz(small.run / "cross" / "embeddings.npz")
    for k, pair in enumerate(list_pairs(N_FOLDS)):
        if 0 in pair:
            cross["embedding"][k, rows] = rng.normal(size=(len(rows), N_FEATURES))
    artifacts.save_npz(small.run / "cross" / "embeddings.npz", cross)
    fuse(small.run, small.cohort, HONEST)
    before, after = _digests(honest.run), _digests(small.run)
    of_fold = {name for name in before if name.startswith("fold_0")}
    assert len(of_fold) == 4 and all(before[name] == after[name] for name in of_fold)
    assert before["fold_1.json"] != after["fold_1.json"], "fold 1 learns from these patients: the test has teeth"


@pytest.mark.slow
def test_numbers_do_not_depend_on_workers(honest: SmallRun, tmp_path: Path) -> None:
    small = make_honest_run(tmp_path / "run")
    fuse(small.run, small.cohort, replace(HONEST, workers=2))
    assert _digests(small.run) == _digests(honest.run)


@pytest.mark.slow
def test_repeats_differ_and_the_first_stays(honest: SmallRun, tmp_path: Path) -> None:
    small = make_honest_run(tmp_path / "run")
    fuse(small.run, small.cohort, replace(HONEST, repeats=2))
    scores = artifacts.load_table(small.run / "scores.parquet")
    first = scores[scores["repeat"] == 0].reset_index(drop=True)
    pd.testing.assert_frame_equal(first, artifacts.load_table(honest.run / "scores.parquet"))
    again = scores[scores["repeat"] == 1].reset_index(drop=True)
    assert len(again) == len(first) and (again["score"] != first["score"]).any()


@pytest.mark.every_change
def test_mode_paper_leaves_no_second_table(honest: SmallRun, tmp_path: Path) -> None:
    small = make_honest_run(tmp_path / "run")
    fuse(small.run, small.cohort, HONEST)
    fuse(small.run, small.cohort, replace(HONEST, mode="paper"))
    assert not (small.run / "paper_scores.parquet").exists()
    paper = artifacts.load_table(honest.run / "paper_scores.parquet")
    pd.testing.assert_frame_equal(artifacts.load_table(small.run / "scores.parquet"), paper)
