"""Nothing that a fold learns depends on its test patients: other labels, clinical data and pixels, same bytes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bonemet_jax import artifacts, schema
from bonemet_jax.cli import main
from bonemet_jax.cohort.folds import list_pairs
from bonemet_jax.config import PhantomConfig
from data_pipelines.phantom import make_cohort

SMOKE = str(Path(__file__).parents[2] / "configs" / "smoke.py")
N = 48
#: Everything that could peep: early stopping, the best epoch, screening, inner validation, cross-fitting.
FLAGS = ["--records.height", "112", "--records.width", "144", "--records.spacing-mm", "3.0", "--train.epochs", "3",
         "--train.batch-size", "8", "--train.early-stop-epochs", "1", "--train.embed-epoch", "best", "--fusion.mode",
         "honest", "--fusion.classifiers", "gbdt", "svm", "--fusion.workers", "1"]
_TIMES = {"images_per_s", "step_time_s", "data_wait_s", "seconds"}


def _run(root: Path, *more: str) -> Path:
    assert main(["run", SMOKE, "-o", str(root / "run"), "--cohort-dir", str(root / "cohort"), *FLAGS, *more]) == 0
    return root / "run"


def _scramble(cohort: Path, test: list[str], rng: np.random.Generator) -> None:
    """Deal labels, times, clinical data and slices of these patients among them anew, and mirror what they see."""
    table = artifacts.load_table(cohort / "cohort.parquet").set_index(schema.PATIENT_ID, drop=False)
    moved = rng.permutation(test)
    kept = [schema.PATIENT_ID, schema.SLICE_ID]
    columns = [name for name in table.columns if name not in kept]
    table.loc[test, columns] = table.loc[moved, columns].to_numpy()
    table.loc[test, schema.LABEL] = 1 - table.loc[test, schema.LABEL]
    table.loc[test, schema.EVENT] = table.loc[test, schema.LABEL]
    artifacts.save_table(cohort / "cohort.parquet", table.reset_index(drop=True))
    slices = table.loc[test, schema.SLICE_ID]
    images = {name: artifacts.load_npz(cohort / "slices" / f"{name}.npz") for name in slices}
    for name, other in zip(slices, table.loc[moved, schema.SLICE_ID], strict=True):
        noisy = images[other]["hu"] + rng.normal(0, 30, images[other]["hu"].shape)
        artifacts.save_npz(cohort / "slices" / f"{name}.npz", images[other] | {"hu": noisy.round().astype(np.int16)})
    artifacts.write_manifest(cohort, artifacts.load_json(cohort / artifacts.MANIFEST)["facts"])


def _trained(folder: Path) -> dict[str, Any]:
    """What a network's training left, less times and the key, which holds the records' checksum."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    done = {name: value for name, value in artifacts.load_json(folder / "done.json").items()
            if name not in ("key", "sha256")}
    return {"done": done, "metrics": [{k: v for k, v in json.loads(s).items() if k not in _TIMES} for s in lines]}


def _artefacts(run: Path, fold: int, test: set[str]) -> dict[str, Any]:
    """Everything that fold learned: networks, embeddings of its other patients, models, thresholds, cut-off."""
    found: dict[str, Any] = {"network": _trained(run / f"fold_{fold}")}
    pairs = [k for k, pair in enumerate(list_pairs(3)) if fold in pair]
    found |= {f"pair {k}": _trained(run / "cross" / f"fold_{k}") for k in pairs}
    for name, place, which in (("own", run, [fold]), ("cross", run / "cross", pairs)):
        arrays = artifacts.load_npz(place / "embeddings.npz")
        kept = ~np.isin(arrays["patient_id"], sorted(test))
        found |= {f"{name} embedding {k}": arrays["embedding"][k][kept].tobytes() for k in which}
    found |= {path.name: path.read_bytes() for path in sorted((run / "models").glob(f"fold_{fold}*"))}
    for row in artifacts.load_json(run / "stats" / "roc.json")["rows"]:
        found[f"threshold {row['classifier']} {row['feature_set']} {row['split']}"] = row["thresholds"][fold]
    learned = next(c for c in artifacts.load_json(run / "stats" / "km.json")["cutoffs"] if c["source"] == "learned")
    found["cut-off"] = learned["held_out"]["cutoffs"][fold] if learned["held_out"] else None
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_test_patients_change_nothing_that_their_fold_learns(seed: int, tmp_path: Path) -> None:
    config = PhantomConfig(n=N, seed=seed, spacing_mm=3.0, height=112, width=144)
    for name in ("before", "after"):
        make_cohort(config, tmp_path / name / "cohort")
    before = _run(tmp_path / "before")
    splits = artifacts.load_json(before / "folds.json")["patients"]
    test = [patient for patient, entry in splits.items() if entry["test_fold"] == seed]
    _scramble(tmp_path / "after" / "cohort", test, np.random.default_rng(seed))
    after = _run(tmp_path / "after", "--folds.file", str(before / "folds.json"))
    wanted, found = (_artefacts(run, seed, set(test)) for run in (before, after))
    assert wanted.keys() == found.keys()
    assert [name for name in wanted if wanted[name] != found[name]] == []
    tables = [artifacts.load_table(run / "scores.parquet") for run in (before, after)]
    scores = [table[table["fold"] == seed] for table in tables]
    seen = [table[table["split"] != "test"].drop(columns="label") for table in scores]
    assert seen[0].equals(seen[1]) and not scores[0]["score"].equals(scores[1]["score"])
    other = (seed + 1) % 3
    assert _trained(before / f"fold_{other}") != _trained(after / f"fold_{other}"), "the test has teeth"
    print(f"fold {seed}: {len(wanted)} artefacts of {N} patients the same, {len(test)} test patients scrambled")
