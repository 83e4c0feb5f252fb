"""Embeddings: contract of the file, same numbers however the patients are batched, damage named."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bonemet_jax import artifacts
from bonemet_jax.errors import CorruptFileError
from bonemet_jax.input_pipeline.records import RecordArrays
from bonemet_jax.readout.embeddings import embed
from tests.train.small import CONFIG, make_small_folds


def test_file_follows_the_contract(run_dir: Path, records: RecordArrays) -> None:
    found = artifacts.load_npz(run_dir / "embeddings.npz")
    assert tuple(found["patient_id"].tolist()) == records.patient_id
    assert found["embedding"].shape == (2, 24, 16) and found["embedding"].dtype == np.float32
    assert found["score"].shape == (2, 24) and ((found["score"] >= 0) & (found["score"] <= 1)).all()
    assert not np.allclose(found["score"][0], found["score"][1])


def test_score_is_the_validation_score(run_dir: Path, records: RecordArrays) -> None:
    """The last epoch's val_auc in metrics.jsonl follows from the embedded scores."""
    import json

    from sklearn.metrics import roc_auc_score

    folds = make_small_folds(records)
    score = artifacts.load_npz(run_dir / "embeddings.npz")["score"]
    for fold in range(2):
        rows = [records.patient_id.index(p) for p in folds.patient_ids(fold, "val")]
        last = json.loads((run_dir / f"fold_{fold}" / "metrics.jsonl").read_text().splitlines()[-1])
        assert roc_auc_score(records.label[rows], score[fold][rows]) == pytest.approx(last["val_auc"])


def test_new_patients_and_their_padding(run_dir: Path, records: RecordArrays) -> None:
    """One slice alone, in a batch of 4 with padding, reads as it did among 24."""
    one = RecordArrays(("R00005",), *(getattr(records, n)[5:6] for n in ("ct", "lbp", "hog", "mask", "label")))
    embedding, score = embed(one, CONFIG, run_dir, [0])
    found = artifacts.load_npz(run_dir / "embeddings.npz")
    np.testing.assert_allclose(embedding[0, 0], found["embedding"][0, 5], atol=1e-5)
    np.testing.assert_allclose(score[0, 0], found["score"][0, 5], atol=1e-5)


def test_best_epoch_speaks_when_asked(run_dir: Path, records: RecordArrays) -> None:
    manifest = artifacts.load_json(run_dir / "fold_0" / "checkpoints" / "manifest.json")["epochs"]
    aucs = {int(epoch): entry["val_auc"] for epoch, entry in manifest.items()}
    best = min(e for e in aucs if aucs[e] == max(aucs.values()))
    config = replace(CONFIG, train=replace(CONFIG.train, embed_epoch="best"))
    _, score = embed(records, config, run_dir, [0])
    same = np.allclose(score[0], artifacts.load_npz(run_dir / "embeddings.npz")["score"][0])
    assert same == (best == 4)


def test_damage_is_named(run_dir: Path, records: RecordArrays, tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match=r"done\.json"):
        embed(records, CONFIG, tmp_path, [0])
    shutil.copytree(run_dir / "fold_0", tmp_path / "fold_0")
    file = next(f for f in (tmp_path / "fold_0" / "checkpoints" / "4").rglob("*") if f.is_file())
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(CorruptFileError, match="differs from its sha256"):
        embed(records, CONFIG, tmp_path, [0])
