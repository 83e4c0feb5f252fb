"""A sound file of every kind, and the command that reads it."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from bonemet_jax import artifacts, schema
from tests.loaders.hostile import call_main


class Entry(NamedTuple):
    """A file, and a function that reads it and returns a digest of what it understood."""

    file: Path
    read: Callable[[], str]


def make_weights(suffix: str) -> Callable[[Path], Entry]:
    """`bonemet weights import`."""

    def make(folder: Path) -> Entry:
        from safetensors.numpy import save_file

        from tests.models import torch_files
        from tests.models.test_pretrained import make_tensors

        tensors, source = make_tensors(), folder / f"source{suffix}"
        if suffix == ".npz":
            np.savez(source, **tensors)
        elif suffix == ".safetensors":
            save_file(tensors, source)
        else:
            torch_files.save_tensors(source, tensors)
        out = folder / "weights.npz"

        def read() -> str:
            from bonemet_jax.models.pretrained import weights_sha256

            call_main(["weights", "import", str(source), "-o", str(out)], out)
            return weights_sha256(out)

        return Entry(source, read)

    return make


def make_tables(folder: Path) -> Entry:
    """`bonemet audit`."""
    from bonemet_jax.published import PATH

    file = folder / "tables.yaml"
    file.write_bytes(PATH.read_bytes())

    def read() -> str:
        from bonemet_jax.audit.read import load_tables

        return hashlib.sha256(repr(load_tables(file)).encode()).hexdigest()

    return Entry(file, read)


def make_booster(is_listed: bool) -> Callable[[Path], Entry]:
    """`score_new`, as `bonemet predict` calls it; is_listed: the manifest is written anew for every hostile file."""

    def make(folder: Path) -> Entry:
        from bonemet_jax.cohort.clinical import ClinicalEncoder
        from bonemet_jax.fusion.classifiers import GradientBoosting
        from bonemet_jax.fusion.features import FeatureSpace, Screening
        from bonemet_jax.fusion.run import score_new
        from tests.stats.conftest import make_cohort

        cohort, models = make_cohort(60), folder / "models"
        encoder = ClinicalEncoder.fit(cohort, None)
        space = FeatureSpace(encoder, Screening(tuple(schema.encoded_names()), "all"), 4)
        x = space.make_matrix("clinical", None, cohort)
        boosting = GradientBoosting().fit(x, cohort[schema.LABEL].to_numpy(int), 0)
        file = models / "fold_0_clinical_gbdt.ubj"
        artifacts.write_bytes(file, boosting.to_bytes())
        artifacts.write_json(models / "fold_0.json", space.to_json())
        artifacts.write_manifest(models)

        def read() -> str:
            if is_listed:
                artifacts.write_manifest(models)
            return hashlib.sha256(score_new(folder, 0, "clinical", None, cohort).tobytes()).hexdigest()

        return Entry(file, read)

    return make


def make_run(name: str) -> Callable[[Path], Entry]:
    """What `bonemet report --runs` reads of a run, without drawing the page."""

    def make(folder: Path) -> Entry:
        from bonemet_jax.cohort.folds import make_folds, save_folds
        from bonemet_jax.config import Config, FoldsConfig, to_dict
        from bonemet_jax.stats.joined_results import load_joined
        from tests.stats.conftest import make_cohort, make_scores

        cohort, random = make_cohort(24), np.random.default_rng(0)
        ids = cohort[schema.PATIENT_ID].tolist()
        folds = make_folds(ids, cohort[schema.LABEL].tolist(), FoldsConfig())
        label = dict(zip(ids, cohort[schema.LABEL].astype(int), strict=True))
        share = {"value": 0.5, "ci95": [0.4, 0.6]}
        row = {
            "feature_set": "imaging",
            "classifier": "network",
            "split": "test",
            "auc": 0.7,
            "auc_ci95_delong": [0.6, 0.8],
            "auc_ci95_bootstrap": None,
            "auc_fold_mean": 0.7,
            "auc_fold_sd": None,
            "acc": share,
            "sens": share,
            "spec": share,
        }
        for run in (folder / "a", folder / "b"):
            values = to_dict(Config(name="a"))
            artifacts.write_json(run / "config.json", {"fingerprint": Config(name="a").fingerprint, "config": values})
            save_folds(run / "folds.json", folds)
            artifacts.write_json(run / "stats" / "roc.json", {"rows": [row]})
            artifacts.save_table(run / "scores.parquet", make_scores(folds, label, random))
            artifacts.save_npz(
                run / "embeddings.npz",
                {
                    "patient_id": np.array(ids),
                    "embedding": random.normal(size=(3, 24, 4)).astype("float32"),
                    "score": random.random((3, 24)).astype("float32"),
                },
            )

        def read() -> str:
            run = load_joined([folder / "a", folder / "b"])[0]
            text = json.dumps([run.config, run.rows, sorted(run.folds.items())], sort_keys=True)
            scores = pd.util.hash_pandas_object(run.scores).to_numpy().tobytes()
            return hashlib.sha256(text.encode() + scores).hexdigest()

        return Entry(folder / "a" / name, read)

    return make


def make_pairs(folder: Path) -> Entry:
    """near_duplicates.json."""
    from bonemet_jax.cohort.near_duplicates import Pair, load_pairs, save_pairs

    file = folder / "near_duplicates.json"
    save_pairs(file, [Pair("p1", "p2", (True, False), 1.0, (0.5, 0.0), 0.6, 0.9, False)], 9)
    return Entry(file, lambda: repr(load_pairs(file)))


def make_slice(folder: Path) -> Entry:
    """A canonical slice."""
    from data_pipelines.canonical import CanonicalSlice, load_slice, save_slice

    file, tissue = folder / "slice.npz", np.zeros((20, 30), np.uint8)
    save_slice(file, CanonicalSlice(np.arange(600, dtype=np.int16).reshape(20, 30), (0.8, 0.8), tissue, tissue + 1))

    def read() -> str:
        image = load_slice(file)
        return repr((image.hu.tobytes(), image.spacing_mm, image.tissue.tobytes(), image.body.tobytes(), image.is_hu))

    return Entry(file, read)


def make_config(folder: Path) -> Entry:
    """config.json, as `bonemet predict` and `bonemet export` read it."""
    from bonemet_jax.config import Config, to_dict
    from bonemet_jax.study.run import load_run_config

    file, config = folder / "config.json", Config(name="a")
    artifacts.write_json(file, {"fingerprint": config.fingerprint, "config": to_dict(config)})
    return Entry(file, lambda: repr(load_run_config(file)))


ENTRIES: dict[str, Callable[[Path], Entry]] = {
    "json folds": make_run("folds.json"),
    "json roc": make_run("stats/roc.json"),
    "json config": make_config,
    "json pairs": make_pairs,
    "npz embeddings": make_run("embeddings.npz"),
    "npz slice": make_slice,
    "npz weights": make_weights(".npz"),
    "safetensors": make_weights(".safetensors"),
    "pth": make_weights(".pth"),
    "yaml": make_tables,
    "xgboost": make_booster(False),
    "xgboost listed": make_booster(True),
    "parquet": make_run("scores.parquet"),
}
