"""Fusion from files to files: determinism, joins, leakage, damaged and missing parts."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bonemet_jax import artifacts, schema
from bonemet_jax.cohort.folds import load_folds
from bonemet_jax.config import FusionConfig
from bonemet_jax.errors import CorruptFileError, InputDataError, NumericsError
from bonemet_jax.fusion.run import fuse, score_new
from bonemet_jax.stats.threshold import choose_balanced_threshold

from .conftest import N_FEATURES, N_FOLDS, N, SmallRun, make_small_run

pytestmark = pytest.mark.every_change

FAST = FusionConfig(classifiers=("gbdt", "svm"), screen=False)


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    small = make_small_run(tmp_path_factory.mktemp("fused") / "run")
    fuse(small.run, small.cohort, FusionConfig())
    return small


def _digests(run: Path) -> dict[str, str]:
    return {p.name: artifacts.sha256_file(p) for p in [*(run / "models").iterdir(), run / "scores.parquet"]}


def test_one_score_for_each_patient_fold_and_model(fused: SmallRun) -> None:
    scores = artifacts.load_table(fused.run / "scores.parquet")
    keys = [schema.PATIENT_ID, "fold", "feature_set", "classifier"]
    assert list(scores.columns) == [schema.PATIENT_ID, "fold", "repeat", "split", "feature_set", "classifier", "label",
                                    "score", "threshold"]
    assert len(scores) == N * N_FOLDS * 9 and not scores.duplicated(keys).any()
    assert scores["score"].between(0, 1).all()
    folds = load_folds(fused.run / "folds.json")
    assert all(folds.split_of(r.patient_id, r.fold) == r.split for r in scores.itertuples())
    label = fused.table.set_index(schema.PATIENT_ID)[schema.LABEL]
    assert (scores[schema.PATIENT_ID].map(label) == scores["label"]).all()


def test_threshold_is_the_balanced_one_of_train_and_validation(fused: SmallRun) -> None:
    scores = artifacts.load_table(fused.run / "scores.parquet")
    for _, rows in scores.groupby(["fold", "feature_set", "classifier"]):
        seen = rows[rows["split"] != "test"]
        assert rows["threshold"].nunique() == 1
        assert rows["threshold"].iloc[0] == choose_balanced_threshold(seen["label"], seen["score"])


@pytest.mark.every_change
def test_same_input_same_bytes(fused: SmallRun, small_run: SmallRun) -> None:
    fuse(small_run.run, small_run.cohort, FusionConfig())
    assert _digests(small_run.run) == _digests(fused.run)


def test_order_of_the_embeddings_does_not_matter(small_run: SmallRun) -> None:
    config = replace(FAST, feature_sets=("imaging",))
    fuse(small_run.run, small_run.cohort, config)
    before = _digests(small_run.run)
    order = np.random.default_rng(0).permutation(N)
    ids = small_run.table[schema.PATIENT_ID].to_numpy(str)[order]
    artifacts.save_npz(small_run.run / "embeddings.npz",
                       {"patient_id": ids, "embedding": small_run.embedding[:, order]})
    fuse(small_run.run, small_run.cohort, config)
    assert _digests(small_run.run) == before


def test_test_patients_change_no_training_artefact(small_run: SmallRun) -> None:
    """Scramble everything about fold 0's test patients: screening, models and thresholds of fold 0 stay."""
    config = replace(FAST, screen=True)
    fuse(small_run.run, small_run.cohort, config)
    before = _digests(small_run.run)
    rng = np.random.default_rng(1)
    test = small_run.table[schema.PATIENT_ID].isin(load_folds(small_run.run / "folds.json").patient_ids(0, "test"))
    rows = np.flatnonzero(test.to_numpy())
    moved = rng.permutation(rows)
    table, embedding = small_run.table.copy(), small_run.embedding.copy()
    columns = [name for name in table.columns if name != schema.PATIENT_ID]
    for name in columns:
        table.loc[rows, name] = table.loc[moved, name].to_numpy()
    embedding[0, rows] = 100 * rng.normal(size=(len(rows), N_FEATURES))
    small_run.write(table, embedding)
    fuse(small_run.run, small_run.cohort, config)
    after = _digests(small_run.run)
    of_fold = {name for name in before if name.startswith("fold_0")}
    assert len(of_fold) == 4 and all(before[name] == after[name] for name in of_fold)
    assert before["scores.parquet"] != after["scores.parquet"]
    assert before["fold_1.json"] != after["fold_1.json"], "fold 1 trains on these patients: the test has teeth"


@pytest.mark.parametrize("feature_set", schema.FEATURE_SETS)
def test_files_alone_give_the_same_scores(fused: SmallRun, feature_set: str) -> None:
    scores = artifacts.load_table(fused.run / "scores.parquet")
    known = scores[(scores["fold"] == 1) & (scores["feature_set"] == feature_set) & (scores["classifier"] == "gbdt")]
    wanted = known.set_index(schema.PATIENT_ID)["score"].loc[fused.table[schema.PATIENT_ID]].to_numpy()
    embedding = None if feature_set == "clinical" else fused.embedding[1]
    clinical = None if feature_set == "imaging" else fused.table
    assert np.array_equal(score_new(fused.run, 1, feature_set, embedding, clinical), wanted)


def test_new_patient_with_missing_values_is_scored(fused: SmallRun) -> None:
    row = fused.table.iloc[[0]].copy()
    row["cea_ng_ml"] = np.nan
    row["menopause"] = None
    score = score_new(fused.run, 0, "both", fused.embedding[0][:1], row)
    assert score.shape == (1,) and 0 <= score[0] <= 1


@pytest.mark.parametrize(
    ("feature_set", "width", "with_clinical", "message"),
    [("both", N_FEATURES, False, "needs clinical"), ("imaging", None, True, "needs embeddings"),
     ("imaging", N_FEATURES + 1, True, r"\(patient, 4\), got \(2, 5\)")],
)
def test_missing_part_is_named(
    fused: SmallRun, feature_set: str, width: int | None, with_clinical: bool, message: str
) -> None:
    embedding = None if width is None else np.zeros((2, width), np.float32)
    clinical = fused.table.head(2) if with_clinical else None
    with pytest.raises(InputDataError, match=message):
        score_new(fused.run, 0, feature_set, embedding, clinical)


def test_damaged_model_is_named(small_run: SmallRun) -> None:
    fuse(small_run.run, small_run.cohort, replace(FAST, classifiers=("gbdt",), feature_sets=("imaging",)))
    path = small_run.run / "models" / "fold_2_imaging_gbdt.ubj"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CorruptFileError, match="fold_2_imaging_gbdt"):
        score_new(small_run.run, 0, "imaging", small_run.embedding[0], None)


def test_model_that_was_not_fitted_is_named(small_run: SmallRun) -> None:
    fuse(small_run.run, small_run.cohort, replace(FAST, classifiers=("gbdt",), feature_sets=("imaging",)))
    with pytest.raises(InputDataError, match="no gradient boosting on clinical"):
        score_new(small_run.run, 0, "clinical", None, small_run.table)


def test_patients_without_embedding_are_counted_not_named(small_run: SmallRun) -> None:
    ids = small_run.table[schema.PATIENT_ID].to_numpy(str)
    artifacts.save_npz(small_run.run / "embeddings.npz",
                       {"patient_id": ids[:-1], "embedding": small_run.embedding[:, :-1]})
    with pytest.raises(InputDataError, match=f"1 of {N} patients have no embedding") as refusal:
        fuse(small_run.run, small_run.cohort, FAST)
    assert ids[-1] not in refusal.value.what
    assert not (small_run.run / "models").exists() and not (small_run.run / "scores.parquet").exists()


def test_nan_embedding_is_named(small_run: SmallRun) -> None:
    embedding = small_run.embedding.copy()
    embedding[0, 3, 1] = np.nan
    small_run.write(small_run.table, embedding)
    with pytest.raises(NumericsError, match="X2"):
        fuse(small_run.run, small_run.cohort, FAST)


def test_embeddings_of_other_folds_are_refused(small_run: SmallRun) -> None:
    small_run.write(small_run.table, small_run.embedding[:2])
    with pytest.raises(CorruptFileError, match="3 folds"):
        fuse(small_run.run, small_run.cohort, FAST)


@pytest.mark.parametrize(("screen", "with_events", "reason"), [
    (False, True, "screening is off"), (True, False, "Lasso-Cox cannot be fitted"),
])
def test_without_screening_all_columns_stay_and_the_reason_is_written(
    small_run: SmallRun, screen: bool, with_events: bool, reason: str
) -> None:
    table: pd.DataFrame = small_run.table.copy()
    if not with_events:
        table[schema.EVENT] = 0.0
    small_run.write(table, small_run.embedding)
    fuse(small_run.run, small_run.cohort,
         replace(FAST, screen=screen, classifiers=("svm",), feature_sets=("clinical",)))
    fold = artifacts.load_json(small_run.run / "models" / "fold_0.json")
    assert fold["screened_columns"] == list(schema.encoded_names())
    assert reason in fold["screening_reason"]


def test_screening_that_selects_nothing_keeps_all_columns(small_run: SmallRun) -> None:
    """Times that depend on nothing: where Lasso-Cox keeps no column, every column stays and the file says why."""
    table = small_run.table.copy()
    rng = np.random.default_rng(0)
    table[schema.TIME] = rng.uniform(1, 60, N).round(1)
    table[schema.EVENT] = (rng.uniform(size=N) < 0.3).astype(float)
    small_run.write(table, small_run.embedding)
    fuse(small_run.run, small_run.cohort,
         replace(FAST, screen=True, classifiers=("svm",), feature_sets=("clinical",)))
    models = [artifacts.load_json(small_run.run / "models" / f"fold_{k}.json") for k in range(N_FOLDS)]
    empty = [m for m in models if "selected none" in m["screening_reason"]]
    assert empty and all(m["screened_columns"] == list(schema.encoded_names()) for m in empty)


def test_screening_counts_the_patients_without_a_follow_up_time(small_run: SmallRun) -> None:
    table = small_run.table.copy()
    table.loc[table.index[::4], [schema.TIME, schema.EVENT]] = np.nan
    small_run.write(table, small_run.embedding)
    fuse(small_run.run, small_run.cohort,
         replace(FAST, screen=True, classifiers=("svm",), feature_sets=("clinical",)))
    for k in range(N_FOLDS):
        reason = artifacts.load_json(small_run.run / "models" / f"fold_{k}.json")["screening_reason"]
        counts = re.search(r"; on (\d+) of (\d+) training patients, the others have no follow-up time$", reason)
        assert counts and 0 < int(counts[1]) < int(counts[2])
