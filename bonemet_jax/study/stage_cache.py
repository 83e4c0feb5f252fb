"""Stamps: with which settings a stage of a run finished, which results it read, and the sha256 of what it wrote.

The stamps of a run form a chain: each holds a digest of the stamps of the stages before it. So a stage is done only
while the very files that it read are still there, and a file of another run breaks the chain.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from bonemet_jax import artifacts

_DIGITS = 16


class Stamp(TypedDict):
    """stages/STAGE.json."""

    key: str
    inputs: dict[str, str]
    """Digest of the stamp of each stage before it."""
    seconds: float
    outputs: dict[str, str]
    """sha256 by name."""


def make_key(stage: str, settings: Any, inputs: Mapping[str, str]) -> str:
    """Key of a stage: its name, its part of the config and the keys of the stages before it."""
    return artifacts.sha256_json({"stage": stage, "settings": settings, "inputs": dict(inputs)})[:_DIGITS]


def load_stamp(run_dir: Path, stage: str) -> Stamp | None:
    """The stamp of a finished stage; None: it has not finished. Raises: CorruptFileError."""
    path = _stamp_path(run_dir, stage)
    return artifacts.load_json(path, Stamp) if path.is_file() else None


def is_current(run_dir: Path, stage: str, key: str, needs: Iterable[str]) -> bool:
    """Whether the stage finished with this key, from what the stages that it needs hold now.

    What became of its own files since is for `find_damage` to say.
    """
    stamp = load_stamp(run_dir, stage)
    return stamp is not None and stamp["key"] == key and stamp["inputs"] == digest_stamps(run_dir, needs)


def find_damage(run_dir: Path, stage: str) -> Path | None:
    """First file of the finished stage that is missing or changed since; None when all are whole."""
    stamp = load_stamp(run_dir, stage)
    files = ((run_dir / name, digest) for name, digest in (stamp["outputs"] if stamp else {}).items())
    return next((file for file, digest in files if not file.is_file() or artifacts.sha256_file(file) != digest), None)


def write_stamp(
    run_dir: Path, stage: str, key: str, needs: Iterable[str], outputs: Iterable[Path], seconds: float
) -> None:
    """Record that a stage finished.

    Args:
        run_dir: run directory.
        stage: its name.
        key: of `make_key`.
        needs: stages before it, whose stamps are there.
        outputs: files and folders that it wrote.
        seconds: wall time of this attempt.
    """
    files: list[Path] = []
    for output in outputs:
        files += artifacts.list_files(output, with_manifests=True) if output.is_dir() else [output]
    artifacts.write_json(_stamp_path(run_dir, stage), {
        "key": key, "inputs": digest_stamps(run_dir, needs), "seconds": round(seconds, 3),
        "outputs": {str(f.relative_to(run_dir)): artifacts.sha256_file(f) for f in files},
    })


def remove_stamp(run_dir: Path, stage: str) -> None:
    """Forget that the stage finished: it begins again."""
    _stamp_path(run_dir, stage).unlink(missing_ok=True)


def digest_stamps(run_dir: Path, stages: Iterable[str]) -> dict[str, str]:
    """Digest of each stage's stamp less the wall time; of a stage without one, empty."""
    stamps = {stage: load_stamp(run_dir, stage) for stage in stages}
    return {stage: _digest(stamp) if stamp else "" for stage, stamp in stamps.items()}


def _digest(stamp: Stamp) -> str:
    return artifacts.sha256_json({name: value for name, value in stamp.items() if name != "seconds"})[:_DIGITS]


def _stamp_path(run_dir: Path, stage: str) -> Path:
    return run_dir / "stages" / f"{stage}.json"
