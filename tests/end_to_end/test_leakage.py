"""A cohort in which two patients share an image: the run stops before training, or says so."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bonemet_jax import artifacts, schema
from bonemet_jax.cli import main
from bonemet_jax.config import PhantomConfig
from data_pipelines.canonical import load_slice, save_slice
from data_pipelines.phantom import make_cohort

SMOKE = str(Path(__file__).parents[2] / "configs" / "smoke.py")


@pytest.fixture
def argv(tmp_path: Path) -> list[str]:
    """A run on 24 patients, of whom the second has the first one's image, mirrored and in other noise."""
    cohort = tmp_path / "cohort"
    make_cohort(PhantomConfig(n=24, spacing_mm=3.0, height=112, width=144), cohort)
    table = artifacts.load_table(cohort / "cohort.parquet").sort_values(schema.PATIENT_ID)
    first, second = (cohort / "slices" / f"{name}.npz" for name in table[schema.SLICE_ID][:2])
    image = load_slice(first)
    hu, tissue, body = (np.ascontiguousarray(part[:, ::-1]) for part in (image.hu, image.tissue, image.body))
    noise = np.random.default_rng(0).normal(0, 5, hu.shape)
    save_slice(second, replace(image, hu=np.rint(hu + noise).astype(np.int16), tissue=tissue, body=body))
    artifacts.write_manifest(cohort, artifacts.load_json(cohort / artifacts.MANIFEST)["facts"])
    return [SMOKE, "-o", str(tmp_path / "run"), "--cohort-dir", str(cohort), "--records.height", "112",
            "--records.width", "144", "--records.spacing-mm", "3.0", "--train.epochs", "1", "--train.batch-size", "8"]


@pytest.mark.every_change
def test_folds_that_part_two_patients_of_one_image_stop_the_run(
    argv: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["run", *argv]) == 7
    told = capfd.readouterr().err.strip().splitlines()[-1]
    assert "one image under two patients" in told and "patients 1 and 2 of 24" in told
    assert str(run / "near_duplicates.json") in told and "--folds.file" in told
    (pair,) = artifacts.load_json(run / "near_duplicates.json")["pairs"]
    assert pair["flip"] == [False, True] and not pair["is_exact"]
    folds = artifacts.load_json(run / "folds.json")
    assert [pair["first"], pair["second"]] == list(folds["patients"])[:2]
    assert pair["first"] not in told, "ids stay in the run's own files"
    assert not list(run.glob("fold_*")), "nothing was trained"

    # The remedy: folds that keep the two together, edited as the message says.
    assert "(1 of 1 such pairs)" in told and 'without its "sha256" line' in told and "false alarm" in told
    del folds["sha256"]
    folds["patients"][pair["second"]] = folds["patients"][pair["first"]]
    artifacts.write_json(tmp_path / "mine.json", folds)
    assert main(["cv", *argv, "--folds.file", str(tmp_path / "mine.json")]) == 0
    told = capfd.readouterr().err
    assert f"warning: pairs of patients who share an image, together in every fold: 1; {run}" in told
    assert (run / "fold_2" / "done.json").is_file()
