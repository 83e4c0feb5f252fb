"""Stamps of a run's stages: which key a stage finished with, and the sha256 of what it left behind."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from bonemet_jax import artifacts
from bonemet_jax.errors import CorruptFileError


class Stamp(TypedDict):
    """stages/STAGE.json."""

    key: str
    inputs: dict[str, str]
    seconds: float
    outputs: dict[str, str]
    """sha256 by name."""


def make_key(stage: str, settings: Any, inputs: Mapping[str, str]) -> str:
    """Key of a stage's output: its name, its part of the config and the keys of the stages before it."""
    return artifacts.sha256_json({"stage": stage, "settings": settings, "inputs": dict(inputs)})[:16]


def is_done(run_dir: Path, stage: str, key: str) -> bool:
    """True when the stage finished with this key and every output still has its recorded sha256."""
    return is_stamped(run_dir, stage, key) and find_damage(run_dir, stage, key) is None


def is_stamped(run_dir: Path, stage: str, key: str) -> bool:
    """True when the stage finished with this key, whatever became of its outputs."""
    stamp_path = _stamp_path(run_dir, stage)
    return stamp_path.is_file() and artifacts.load_json(stamp_path, Stamp)["key"] == key


def find_damage(run_dir: Path, stage: str, key: str) -> Path | None:
    """First output of the stage finished with this key that is missing or changed since; None when all are whole."""
    if not is_stamped(run_dir, stage, key):
        return None
    outputs = artifacts.load_json(_stamp_path(run_dir, stage), Stamp)["outputs"]
    files = ((run_dir / name, digest) for name, digest in outputs.items())
    return next((file for file, digest in files if not file.is_file() or artifacts.sha256_file(file) != digest), None)


def check_outputs(run_dir: Path, stages: Sequence[str]) -> None:
    """Compare what finished stages left with the sha256 in their stamps; a stage without a stamp is passed over.

    Raises: CorruptFileError naming the first file that is missing or changed.
    """
    for stage in stages:
        path = _stamp_path(run_dir, stage)
        if path.is_file() and (damaged := find_damage(run_dir, stage, artifacts.load_json(path, Stamp)["key"])):
            raise CorruptFileError(f"what stage '{stage}' left is missing or changed (sha256)", damaged,
                                   "restore it, or `bonemet run` the run again")


def unstamp(run_dir: Path, stage: str) -> None:
    """Forget that the stage finished: it begins again."""
    _stamp_path(run_dir, stage).unlink(missing_ok=True)


def _stamp_path(run_dir: Path, stage: str) -> Path:
    return run_dir / "stages" / f"{stage}.json"


def stamp(
    run_dir: Path, stage: str, key: str, inputs: Mapping[str, str], outputs: list[Path], seconds: float
) -> None:
    """Record that a stage finished: its key, its inputs' keys, its files with sha256, the wall seconds of this try."""
    files: list[Path] = []
    for output in outputs:
        files += artifacts.list_files(output) if output.is_dir() else [output]
    artifacts.write_json(
        _stamp_path(run_dir, stage),
        {
            "key": key,
            "inputs": dict(inputs),
            "seconds": round(seconds, 3),
            "outputs": {str(f.relative_to(run_dir)): artifacts.sha256_file(f) for f in files},
        },
    )
