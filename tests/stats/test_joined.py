"""`bonemet report --runs`: several runs on one folds.json, and refusal of others."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bonemet_jax import artifacts
from bonemet_jax.cli import main
from bonemet_jax.config import Config, ModelConfig, fingerprint, to_dict
from bonemet_jax.stats.roc import compute_paired_delong
from bonemet_jax.stats.run import compute_run_stats
from bonemet_jax.study.run import Run
from tests.study.stamped import stamp_stages

pytestmark = pytest.mark.every_change

MakeRun = Callable[..., Path]


def _finish(run: Path, config: Config) -> Path:
    artifacts.write_json(run / "config.json", {"fingerprint": fingerprint(config), "config": to_dict(config)})
    compute_run_stats(run, run / "cohort")
    files = {"folds": ["folds.json"], "embed": ["embeddings.npz"], "fuse": ["scores.parquet"], "stats": ["stats"]}
    stamp_stages(Run(run, config), ["stats"], {name: [run / f for f in of] for name, of in files.items()})
    return run


@pytest.fixture
def runs(make_run: MakeRun, tmp_path: Path) -> list[Path]:
    """Three networks on the same patients and folds, each with scores of its own."""
    made = make_run(80)
    found = []
    for i, network in enumerate(("resnet34", "resnet50", "resnet101")):
        run = tmp_path / network
        shutil.copytree(made, run)
        arrays = artifacts.load_npz(run / "embeddings.npz")
        noise = np.random.default_rng(i).normal(0, 0.2, arrays["score"].shape)
        artifacts.save_npz(run / "embeddings.npz", arrays | {"score": (arrays["score"] + noise).astype(np.float32)})
        found.append(_finish(run, Config(name=network, model=ModelConfig(network=network))))
    return found


def test_rows_and_paired_tests(runs: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "joined"
    out.mkdir()
    assert main(["report", "--runs", *map(str, runs), "-o", str(out), "--report", str(tmp_path / "r.json")]) == 0
    assert capfd.readouterr().out.strip() == str(out / "joined.html")
    joined = artifacts.load_json(out / "joined.json")
    assert [run["network"] for run in joined["runs"]] == ["resnet34", "resnet50", "resnet101"]
    for run, directory in zip(joined["runs"], runs, strict=True):
        own = artifacts.load_json(directory / "stats" / "roc.json")["rows"]
        assert run["rows"] and all(row in own for row in run["rows"])
    assert len(joined["paired"]) == 3 * 3
    equal = [row for row in joined["paired"] if row["classifier"] == "gbdt"]
    assert equal and all((row["difference"], row["ci95"], row["z"], row["p"]) == (0, [0, 0], 0, 1) for row in equal)
    found = next(r for r in joined["paired"] if r["classifier"] == "network" and r["b"] == "resnet101")
    folds = artifacts.load_json(runs[0] / "folds.json")["patients"]
    cohort = artifacts.load_table(runs[0] / "cohort" / "cohort.parquet").set_index("patient_id")["bone_metastasis"]
    scores = []
    for run in (runs[0], runs[2]):
        arrays = artifacts.load_npz(run / "embeddings.npz")
        ids = arrays["patient_id"].astype(str)
        scores.append([arrays["score"][folds[p]["test_fold"], i] for i, p in enumerate(ids)])
    wanted = compute_paired_delong(cohort.loc[ids], *scores)
    assert (found["difference"], found["p"]) == pytest.approx((wanted.difference, wanted.p), abs=1e-12)
    page = (out / "joined.html").read_text()
    assert "Table 3 across runs" in page and "resnet50 against resnet101" in page


def test_other_folds_are_refused(runs: list[Path], make_run: MakeRun, tmp_path: Path,
                                 capfd: pytest.CaptureFixture[str]) -> None:
    other = _finish(make_run(72), Config(name="other"))
    out = ["-o", str(tmp_path)]
    assert main(["report", "--runs", str(runs[0]), str(other), *out]) == 7
    assert "its folds are not those of" in capfd.readouterr().err
    assert main(["report", "--runs", str(runs[0]), *out]) == 2
    (runs[1] / "stats" / "roc.json").write_bytes((runs[2] / "stats" / "roc.json").read_bytes())
    assert main(["report", "--runs", *map(str, runs), *out]) == 4
    assert f"'stats': changed since it was written (sha256); {runs[1] / 'stats' / 'roc.json'}" in capfd.readouterr().err
    (runs[1] / "stages" / "stats.json").unlink()
    assert main(["report", "--runs", *map(str, runs), *out]) == 2
    assert "stage 'stats' is not done" in capfd.readouterr().err
    assert not (tmp_path / "joined.html").exists()


def test_runs_that_label_a_patient_differently_are_refused(
    runs: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Equal ids and folds, another cohort: nothing paired can be said."""
    table = artifacts.load_table(runs[1] / "cohort" / "cohort.parquet")
    scores = artifacts.load_table(runs[1] / "scores.parquet")
    one, two = (table.index[table["bone_metastasis"] == label][0] for label in (0, 1))
    table.loc[[one, two], "bone_metastasis"] = [1, 0]
    for label, at in ((1, one), (0, two)):
        scores.loc[scores["patient_id"] == table["patient_id"][at], "label"] = label
    artifacts.save_table(runs[1] / "cohort" / "cohort.parquet", table)
    artifacts.save_table(runs[1] / "scores.parquet", scores)
    _finish(runs[1], Config(name="other", model=ModelConfig(network="resnet50")))
    assert main(["report", "--runs", *map(str, runs), "-o", str(tmp_path)]) == 7
    told = capfd.readouterr().err
    first = sorted([table["patient_id"][one], table["patient_id"][two]])[0]
    assert f"2 patients have another label than in {runs[0]}, the first {first}" in told and str(runs[1]) in told
