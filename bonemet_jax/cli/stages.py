"""The stages of a run, in order: what each needs, which part of the config it obeys, what it leaves behind.

A stage is done when its stamp bears the key made of its settings and of the keys of the stages before it, and every
output still has its recorded sha256. So a changed classifier setting re-runs `fuse` and what follows, never training.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bonemet_jax import artifacts
from bonemet_jax.config import Config, to_dict
from bonemet_jax.errors import InputDataError, UsageError
from bonemet_jax.progress import say


@dataclass(frozen=True)
class Run:
    """A run directory and its config."""

    directory: Path
    config: Config

    @property
    def cohort_dir(self) -> Path:
        """The given cohort, or the synthetic one inside the run."""
        given = self.config.cohort_dir
        return Path(given) if given is not None else self.directory / "cohort"

    @property
    def records_dir(self) -> Path:
        """Where the one version of the records lies."""
        found = sorted((self.directory / "tfds" / "bonemet_ct").glob("*/*/" + artifacts.MANIFEST))
        if not found:
            raise UsageError("the run has no records yet", self.directory, "run `bonemet run` first")
        return found[-1].parent

    def fold_dirs(self) -> list[Path]:
        """fold_0, fold_1, ..."""
        return [self.directory / f"fold_{k}" for k in range(self.config.folds.n_folds)]


@dataclass(frozen=True)
class Stage:
    """One stage: a pure description and the call that does it."""

    name: str
    needs: tuple[str, ...]
    settings: Callable[[Run], Any]
    outputs: Callable[[Run], list[Path]]
    work: Callable[[Run], None]
    resumable: bool = False
    """True when a broken attempt with the same key goes on instead of starting anew."""


def _cohort_settings(run: Run) -> Any:
    if run.config.cohort_dir is None:
        return to_dict(run.config.phantom)
    manifest = run.cohort_dir / artifacts.MANIFEST
    if not manifest.is_file():
        raise InputDataError("no cohort in this folder", run.cohort_dir, "run `bonemet ingest` or `bonemet phantom`")
    return {"manifest": artifacts.sha256_file(manifest)}


def _make_cohort(run: Run) -> None:
    if run.config.cohort_dir is not None:
        artifacts.check_manifest(run.cohort_dir)
        return
    from data_pipelines.phantom import make_cohort

    make_cohort(run.config.phantom, run.cohort_dir)


def _build(run: Run) -> None:
    from data_pipelines.bonemet_ct.build import build_records

    shutil.rmtree(run.directory / "tfds", ignore_errors=True)
    build_records(run.cohort_dir, run.directory / "tfds", run.config.records, run.config.name)


def _folds(run: Run) -> None:
    from bonemet_jax import schema
    from bonemet_jax.cohort.folds import make_folds, save_folds
    from bonemet_jax.cohort.table import load_cohort

    cohort = load_cohort(run.cohort_dir / "cohort.parquet")
    folds = make_folds(cohort[schema.PATIENT_ID].tolist(), cohort[schema.LABEL].tolist(), run.config.folds)
    save_folds(run.directory / "folds.json", folds)


def _cv(run: Run) -> None:
    from bonemet_jax.cohort.folds import load_folds
    from bonemet_jax.input_pipeline.records import load_records
    from bonemet_jax.train.loop import train_fold

    records = load_records(run.records_dir)
    folds = load_folds(run.directory / "folds.json")
    for fold in range(folds.n_folds):
        train_fold(records, folds, fold, run.config, run.directory)


def _embed(run: Run) -> None:
    from bonemet_jax.input_pipeline.records import load_records
    from bonemet_jax.readout.embeddings import compute_embeddings

    compute_embeddings(load_records(run.records_dir), run.config, run.directory)


def _fuse(run: Run) -> None:
    from bonemet_jax.fusion.run import fuse

    fuse(run.directory, run.cohort_dir, run.config.fusion)


def _stats(run: Run) -> None:
    from bonemet_jax.stats.run import compute_run_stats

    compute_run_stats(run.directory, run.cohort_dir)


def _report(run: Run) -> None:
    from bonemet_jax.report.render import render_report

    render_report(run.directory, run.cohort_dir)


STAGES: tuple[Stage, ...] = (
    Stage("cohort", (), _cohort_settings,
          lambda run: [] if run.config.cohort_dir else [run.cohort_dir], _make_cohort),
    Stage("build", ("cohort",), lambda run: to_dict(run.config.records),
          lambda run: [run.directory / "tfds"], _build),
    Stage("folds", ("cohort",), lambda run: to_dict(run.config.folds),
          lambda run: [run.directory / "folds.json"], _folds),
    Stage("cv", ("build", "folds"),
          lambda run: [to_dict(part) for part in (run.config.model, run.config.optim, run.config.train)],
          Run.fold_dirs, _cv, resumable=True),
    Stage("embed", ("cv",), lambda run: None, lambda run: [run.directory / "embeddings.npz"], _embed),
    Stage("fuse", ("embed",), lambda run: to_dict(run.config.fusion),
          lambda run: [run.directory / "scores.parquet", run.directory / "models"], _fuse),
    Stage("stats", ("fuse",), lambda run: None, lambda run: [run.directory / "stats"], _stats),
    Stage("report", ("stats",), lambda run: run.config.name,
          lambda run: [run.directory / "report.html", run.directory / "report.json"], _report),
)
BY_NAME: dict[str, Stage] = {stage.name: stage for stage in STAGES}


def stage_keys(run: Run) -> dict[str, str]:
    """Key of every stage under this config."""
    keys: dict[str, str] = {}
    for stage in STAGES:
        keys[stage.name] = artifacts.stage_key(stage.name, stage.settings(run), {n: keys[n] for n in stage.needs})
    return keys


def run_stages(run: Run, names: tuple[str, ...]) -> dict[str, float]:
    """Do the named stages that are not done yet; returns seconds per stage done.

    Raises: UsageError when a stage outside `names` that they need is not done.
    """
    keys = stage_keys(run)
    for need in {need for name in names for need in BY_NAME[name].needs} - set(names):
        if not artifacts.is_stage_done(run.directory, need, keys[need]):
            raise UsageError(f"stage '{need}' is not done with this config", run.directory, "run `bonemet run` first")
    _write_config(run)
    seconds: dict[str, float] = {}
    for name in names:
        stage = BY_NAME[name]
        start = _resume if stage.resumable else _start
        with artifacts.disk_errors(run.directory):
            ran = artifacts.run_stage(
                run.directory, name, keys[name], stage.outputs(run), lambda s=stage, go=start: go(run, s, keys[s.name])
            )
        seconds[name] = artifacts.load_json(run.directory / "stages" / f"{name}.json")["seconds"]
        say(f"{name:<7} {'done' if ran else 'already done'}, {seconds[name]:.1f} s")
    return seconds


def _write_config(run: Run) -> None:
    path = run.directory / "config.json"
    value = {"fingerprint": run.config.fingerprint, "config": to_dict(run.config)}
    if not path.is_file() or artifacts.load_json(path) != value:
        artifacts.write_json(path, value)


def _start(run: Run, stage: Stage, key: str) -> None:
    stage.work(run)


def _resume(run: Run, stage: Stage, key: str) -> None:
    """Go on with a broken attempt of the same key; sweep away one of another key."""
    mark = run.directory / "stages" / f"{stage.name}.started.json"
    if not mark.is_file() or artifacts.load_json(mark)["key"] != key:
        for output in stage.outputs(run):
            shutil.rmtree(output, ignore_errors=True)
        artifacts.write_json(mark, {"key": key})
    stage.work(run)
