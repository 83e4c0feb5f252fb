"""A finished run: opened, its files checked against each other, and whether its patients were synthetic."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bonemet_jax import artifacts
from bonemet_jax.errors import CorruptFileError, TryAgainError, UsageError
from bonemet_jax.study import stage_cache
from bonemet_jax.study.run import Run, load_run_config
from bonemet_jax.study.stages import BY_NAME, key_of_cohort, list_with_needed

#: Part of every output of a network that was trained on synthetic patients.
SYNTHETIC_WARNING = "trained on SYNTHETIC patients: the scores mean nothing for real ones"
#: Stages whose files score new patients.
SCORING = ("cv", "embed", "fuse")


@dataclass(frozen=True)
class FinishedRun(Run):
    """A run whose files belonged together when it was opened."""

    used: tuple[str, ...] = ()
    """Stages whose files are read."""
    state: tuple[str, ...] = ()
    """Digests of the config and of the stamps of these stages, and of all that they depend on."""

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """Around the reading of the run and all that is made of it.

        Raises: TryAgainError at its end when a stage was run again since the run was opened.
        """
        yield
        if _describe_state(self.directory, self.used) != self.state:
            raise TryAgainError("another process changed the run while it was read", self.directory,
                                "run the same command again")


def _describe_state(directory: Path, used: Iterable[str]) -> tuple[str, ...]:
    stamps = stage_cache.digest_stamps(directory, list_with_needed(used))
    return (artifacts.sha256_file(directory / "config.json"), *stamps.values())


def open_finished(directory: Path, used: Iterable[str] = SCORING) -> FinishedRun:
    """The run in this directory, for commands that read what these stages wrote. The cohort is not needed.

    Raises: UsageError when the directory is not a run, or a stage is missing, has another config, or used other inputs;
        CorruptFileError when a file of these stages is missing or changed.
    """
    if not (directory / "config.json").is_file():
        raise UsageError("not a run directory: it holds no config.json", directory, "run `bonemet run` first")
    used = tuple(used)
    state = _describe_state(directory, used)
    run = FinishedRun(directory, load_run_config(directory / "config.json"), used=used, state=state)
    name = find_unfinished(run, used)
    if name is not None:
        raise UsageError(f"stage '{name}' is not done with the config in config.json and the files of the run",
                         directory, "run the same `bonemet run` again")
    return run


def find_unfinished(run: Run, used: Iterable[str]) -> str | None:
    """The first of these stages, and of all that they depend on, that does not belong to the others; None: all belong.

    Settings from outside the run, as a cohort that may be gone, are those of the stamp.

    Raises: CorruptFileError when a file of a used stage is missing or changed.
    """
    used, keys = set(used), dict[str, str]()
    for stage in (BY_NAME[name] for name in list_with_needed(used)):
        stamp = stage_cache.load_stamp(run.directory, stage.name)
        if stamp is None:
            return stage.name
        keys[stage.name] = stamp["key"] if stage.reads_outside(run) else stage_cache.make_key(
            stage.name, stage.settings(run), {need: keys[need] for need in stage.needs})
        if not stage_cache.is_current(run.directory, stage.name, keys[stage.name], stage.needs):
            return stage.name
        damaged = stage_cache.find_damage(run.directory, stage.name) if stage.name in used else None
        if damaged is not None:
            what = "changed since it was written (sha256)" if damaged.is_file() else "missing"
            raise CorruptFileError(f"output of stage '{stage.name}': {what}", damaged,
                                   "restore it, or run the same `bonemet run` again")
    return None


def load_cohort_facts(run: Run) -> dict[str, Any] | None:
    """Facts of the manifest of the run's cohort; None where it is gone, or another cohort has taken its place."""
    manifest, stamp = run.cohort_dir / artifacts.MANIFEST, stage_cache.load_stamp(run.directory, "cohort")
    if stamp is None or not manifest.is_file():
        return None
    if run.config.cohort_dir is None:
        is_own = stamp["outputs"].get(f"cohort/{artifacts.MANIFEST}") == artifacts.sha256_file(manifest)
    else:
        is_own = stamp["key"] == key_of_cohort(run.cohort_dir)
    return artifacts.load_json(manifest, artifacts.Manifest)["facts"] if is_own else None


def is_trained_on_synthetic(run: Run) -> bool | None:
    """Whether the run's patients were synthetic; None when neither cohort nor statistics can tell.

    Only files that belong to the run count: its cohort's manifest as it was then, and its own statistics.

    Raises: CorruptFileError when the statistics, in place of a cohort that is gone, are missing or changed.
    """
    if run.config.cohort_dir is None:
        return True
    if (facts := load_cohort_facts(run)) is not None:
        return {"synthetic": True, "real": False}.get(facts.get("kind", ""))
    if find_unfinished(run, ("stats",)) is None:
        return bool(artifacts.load_json(run.directory / "stats" / "planted.json", dict[str, Any])["synthetic"])
    return None


def check_training_patients(run: Run, allow_synthetic: bool) -> str:
    """The warning that every output must carry; empty for a run trained on real patients.

    Raises: UsageError for a run trained on synthetic patients, unless allowed.
    """
    is_synthetic = is_trained_on_synthetic(run)
    if is_synthetic is None:
        return "it is not known whether the training patients were real: the run's cohort is not there"
    if is_synthetic and not allow_synthetic:
        raise UsageError("the run was trained on synthetic patients: its scores mean nothing for real ones",
                         run.directory, "give a run trained on real patients, or --allow-synthetic to try the program")
    return SYNTHETIC_WARNING if is_synthetic else ""
