"""Embeddings, models and folds: killed while they are made, or damaged afterwards."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from bonemet_jax import artifacts
from bonemet_jax.cli import main
from bonemet_jax.config import Config, from_dict
from bonemet_jax.errors import BonemetError
from bonemet_jax.fusion.run import load_embeddings, score_new
from bonemet_jax.study import stage_cache
from bonemet_jax.study.run import Run
from bonemet_jax.study.stages import BY_NAME
from tests.end_to_end.small_run import SMALL, SMOKE, start

_OUTPUTS = {"embed": ["embeddings.npz"], "fuse": ["scores.parquet", "shap.json", "models"]}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run up to `fuse`."""
    run = tmp_path_factory.mktemp("damage") / "run"
    assert main(["run", SMOKE, "-o", str(run), *SMALL]) == 0
    return run


def _digests(run: Path, stage: str) -> dict[str, str]:
    files = [f for name in _OUTPUTS[stage]
             for f in (artifacts.list_files(run / name) if (run / name).is_dir() else [run / name])]
    return {str(f.relative_to(run)): artifacts.sha256_file(f) for f in files}


def _forget(run: Path, stage: str) -> None:
    """As before the stage."""
    (run / "stages" / f"{stage}.json").unlink(missing_ok=True)
    for name in _OUTPUTS[stage]:
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


# With build (3), training (6), embed and fuse (1 each, in .ci/run) more than the 6 kills that every change owes.
@pytest.mark.slow
@pytest.mark.parametrize("n", [1, pytest.param(20, marks=pytest.mark.timeout(1800))])
@pytest.mark.parametrize("stage", ["embed", "fuse"])
def test_killed_at_random_points(stage: str, n: int, run_dir: Path, tmp_path: Path) -> None:
    """The same command again leaves the bytes of one that was not killed."""
    random, wanted, run = np.random.default_rng(n), _digests(run_dir, stage), tmp_path / "run"
    shutil.copytree(run_dir, run)
    _forget(run, stage)
    began = time.monotonic()
    assert start(stage, run, stream=subprocess.DEVNULL).wait() == 0
    seconds, killed = time.monotonic() - began, 0
    assert _digests(run, stage) == wanted
    for _ in range(5 * n):
        if killed == n:
            break
        _forget(run, stage)
        process = start(stage, run, stream=subprocess.DEVNULL)
        time.sleep(random.uniform(0.3, 1) * seconds)
        process.send_signal(signal.SIGKILL)  # nothing happens where it has ended by itself
        if process.wait() != -signal.SIGKILL:
            continue
        killed += 1
        if killed % 3 == 0:  # else the next one meets what this one left
            assert start(stage, run, stream=subprocess.DEVNULL).wait() == 0
            assert _digests(run, stage) == wanted
    assert start(stage, run, stream=subprocess.DEVNULL).wait() == 0
    assert killed == n and _digests(run, stage) == wanted
    assert not [path for path in run.rglob("*.partial*") if path.is_file()]
    print(f"{stage}: {killed}/{n} killed, the same bytes after the same command")


@pytest.mark.parametrize(("flips", "truncations"), [(20, 20), pytest.param(200, 100, marks=pytest.mark.slow)])
@pytest.mark.every_change
def test_damage_is_named(flips: int, truncations: int, run_dir: Path, tmp_path: Path) -> None:
    """A bit the other way round, or the end missing, in embeddings, models, scores or folds: found, by file."""
    random, run = np.random.default_rng(flips), tmp_path / "run"
    shutil.copytree(run_dir, run)
    config = from_dict(Config, artifacts.load_json(run / "config.json")["config"])
    targets = [(stage, file) for stage in ("folds", "embed", "fuse")
               for path in BY_NAME[stage].outputs(Run(run, config))
               for file in (artifacts.list_files(path) if path.is_dir() else [path])]
    named = 0
    for trial in range(flips + truncations):
        stage, file = targets[random.integers(len(targets))]
        whole = file.read_bytes()
        damaged = bytearray(whole)
        if trial < flips:
            damaged[random.integers(len(damaged))] ^= 1 << int(random.integers(8))
        else:
            del damaged[int(random.integers(len(damaged))):]
        file.write_bytes(damaged)
        named += stage_cache.find_damage(run, stage) == file
        if file.parent.name == "models":
            with pytest.raises(BonemetError, match=file.name):
                score_new(run, 0, "imaging", np.zeros((1, 16)), None)
        file.write_bytes(whole)
    print(f"{named}/{flips + truncations} damages named by file, {len(targets)} files of folds, embed and fuse")
    assert named == flips + truncations


@pytest.mark.every_change
def test_damaged_embeddings_stop_the_fusion(run_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(run_dir, run)
    data = bytearray((run / "embeddings.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (run / "embeddings.npz").write_bytes(data)
    capfd.readouterr()
    assert main(["fuse", SMOKE, "-o", str(run), *SMALL]) == 4
    told = capfd.readouterr().err.strip().splitlines()[-1]
    assert str(run / "embeddings.npz") in told and "sha256" in told
    with pytest.raises(BonemetError, match=r"embeddings\.npz"):
        load_embeddings(run / "embeddings.npz", 3)
