"""The stages of a run, in order: what each needs, which part of the config it obeys, what it leaves behind.

Settings are what decides a stage's outputs, so a changed classifier setting runs `fuse` and what follows again, never
the training.
"""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bonemet_jax import artifacts, hosts
from bonemet_jax.config import to_dict
from bonemet_jax.errors import InputDataError, UsageError
from bonemet_jax.progress import say
from bonemet_jax.study.run import Run
from bonemet_jax.study.stage_cache import make_key


@dataclass(frozen=True)
class Stage:
    """One stage: its name, what it depends on, its settings, its outputs and the function that does it.

    `settings` may read files that the config names. Raises: UsageError, InputDataError, CorruptFileError.
    """

    name: str
    needs: tuple[str, ...]
    settings: Callable[[Run], Any]
    outputs: Callable[[Run], list[Path]]
    work: Callable[[Run], None]
    resumed: str = ""
    """Folders, as a pattern, in which a broken or shorter attempt goes on; empty: it starts anew."""
    resume_settings: Callable[[Run], Any] | None = None
    """Settings that such an attempt must share; none: `settings`."""
    together: bool = False
    """True when all processes of a run do it; else process 0 does, and the others wait."""
    remade: bool = True
    """False when damage to what it left stops the run; else the stage is done again, and the damaged file named."""
    reads_outside: Callable[[Run], bool] = lambda run: False
    """Whether its settings hold more than the run's config.json does: files elsewhere, or constants of the program.
    A finished run is then judged by the key in the stage's stamp."""


def _cohort_settings(run: Run) -> Any:
    if run.config.cohort_dir is None:
        return to_dict(run.config.phantom)
    if not (run.cohort_dir / artifacts.MANIFEST).is_file():
        raise InputDataError("no cohort in this folder", run.cohort_dir, "run `bonemet ingest` or `bonemet phantom`")
    artifacts.check_manifest(run.cohort_dir, "make the cohort again with `bonemet ingest`: it is never edited in place")
    return _identify_cohort(run.cohort_dir)


def _identify_cohort(cohort_dir: Path) -> dict[str, str]:
    return {"manifest": artifacts.sha256_file(cohort_dir / artifacts.MANIFEST)}


def key_of_cohort(cohort_dir: Path) -> str | None:
    """Key of the stage `cohort` for a given cohort, whose files are not looked at; None where it is gone."""
    if not (cohort_dir / artifacts.MANIFEST).is_file():
        return None
    return make_key("cohort", _identify_cohort(cohort_dir), {})


def _make_cohort(run: Run) -> None:
    if run.config.cohort_dir is None:
        from data_pipelines.phantom import make_cohort

        make_cohort(run.config.phantom, run.cohort_dir)


def _folds_settings(run: Run) -> Any:
    settings = to_dict(run.config.folds)
    given = run.config.folds.file
    if given is None:
        return settings
    return {"n_folds": settings["n_folds"], "sha256": _digest_given("folds.file", given, "an existing folds.json")}


def _digest_given(name: str, file: str, wanted: str) -> str:
    """sha256 of a file that the config names. Raises: UsageError where there is none."""
    if not Path(file).is_file():
        raise UsageError(f"no such file: {name} = {file}", "", f"use {wanted}")
    return artifacts.sha256_file(file)


def _cv_settings(run: Run) -> dict[str, Any]:
    """What decides the weights: not which epoch speaks, how often one is saved or how batches reach the devices."""
    train = {name: value for name, value in to_dict(run.config.train).items()
             if name not in ("embed_epoch", "checkpoint_epochs", "keep_epochs")}
    model = to_dict(run.config.model)
    if run.config.model.weights is not None:  # what they are, wherever they lie
        model["weights"] = _digest_given("model.weights", run.config.model.weights,
                                         "an existing file of `bonemet weights import`")
    return {"model": model, "optim": to_dict(run.config.optim), "train": train,
            "input": {"channels": run.config.input.channels}}


def _cv_resume_settings(run: Run) -> dict[str, Any]:
    """What a training that goes on must share: not its number of epochs, unless the learning rate depends on it."""
    settings = _cv_settings(run)
    if not run.config.optim.rate_depends_on_epochs:
        del settings["train"]["epochs"]
    return settings


def _fuse_settings(run: Run) -> Any:
    """What decides the scores: not how many processes fit them, nor where they run."""
    settings = to_dict(run.config.fusion)
    return {name: value for name, value in settings.items() if name not in ("workers", "backend")}


def _build(run: Run) -> None:
    from data_pipelines.bonemet_ct.build import build_records

    # What a killed build left under this name goes on; records under another would be taken for this config's.
    for folder in (run.directory / "tfds" / "bonemet_ct").glob("*"):
        if folder.name != run.config.name and any(folder.glob(f"*/{artifacts.MANIFEST}")):
            shutil.rmtree(folder)
    build_records(run.cohort_dir, run.directory / "tfds", run.config.records, run.config.name)


def _near_duplicates_settings(_run: Run) -> Any:
    from bonemet_jax.cohort.near_duplicates import method_settings

    return method_settings()


def _near_duplicates(run: Run) -> None:
    from bonemet_jax.cohort.near_duplicates import find_near_duplicates, save_pairs
    from bonemet_jax.input_pipeline.records import open_records

    records = open_records(run.records_dir)
    pairs = find_near_duplicates(records.patient_id, lambda positions: records.read(positions, ("ct",))["ct"])
    save_pairs(run.near_duplicates, pairs, len(records))


def _folds(run: Run) -> None:
    from bonemet_jax import schema
    from bonemet_jax.cohort.folds import load_folds, make_folds, save_folds
    from bonemet_jax.cohort.table import load_cohort

    config = run.config.folds
    cohort = load_cohort(run.cohort_dir / "cohort.parquet")
    patient_ids = cohort[schema.PATIENT_ID].tolist()
    if config.file is None:
        folds = make_folds(patient_ids, cohort[schema.LABEL].tolist(), config)
    else:
        folds = load_folds(config.file, patient_ids)
        if folds.n_folds != config.n_folds:
            raise UsageError(f"the file deals {folds.n_folds} folds, folds.n_folds is {config.n_folds}", config.file,
                             f"add --folds.n-folds {folds.n_folds}")
    save_folds(run.directory / "folds.json", folds)


def _cv(run: Run) -> None:
    from bonemet_jax.cohort.folds import load_folds
    from bonemet_jax.cohort.near_duplicates import check_leakage, load_pairs
    from bonemet_jax.input_pipeline.records import open_records
    from bonemet_jax.telemetry.table import print_timings
    from bonemet_jax.train.loop import train_folds

    folds = load_folds(run.directory / "folds.json")
    pairs = load_pairs(run.near_duplicates)
    check_leakage(pairs, folds, run.near_duplicates)
    if pairs:
        say("warning: pairs of patients who share an image, together in every fold: "
            f"{len(pairs)}; {run.near_duplicates}")
    records = open_records(run.records_dir)
    train_folds(records, folds, run.config, run.directory, observe=run.observe)
    if hosts.is_writer():
        print_timings({fold.name: artifacts.load_json(fold / "timing.json") for fold in run.fold_dirs()})


def _embed(run: Run) -> None:
    from bonemet_jax.input_pipeline.records import open_records
    from bonemet_jax.readout.embeddings import compute_embeddings

    compute_embeddings(open_records(run.records_dir), run.config, run.directory, run.config.folds.n_folds)


def _cross(run: Run) -> None:
    """Mode `honest`: train and read out one network for every two folds, which saw neither."""
    from bonemet_jax.cohort.folds import load_folds, make_pair_splits
    from bonemet_jax.input_pipeline.records import open_records
    from bonemet_jax.readout.embeddings import compute_embeddings
    from bonemet_jax.train.loop import train_folds

    if not run.is_honest:
        return
    records = open_records(run.records_dir)
    label = dict(zip(records.patient_id, records.label.tolist(), strict=True))
    splits = make_pair_splits(load_folds(run.directory / "folds.json"), label, run.config.folds.val_fraction)
    train_folds(records, splits, run.config, run.cross_dir, observe=run.observe)
    compute_embeddings(records, run.config, run.cross_dir, splits.n_folds)


def _gradcam(run: Run) -> None:
    from bonemet_jax.cohort.folds import load_folds
    from bonemet_jax.input_pipeline.records import open_records
    from bonemet_jax.readout.gradcam_run import compute_run_gradcam
    from bonemet_jax.readout.tissue_shares import make_regions
    from bonemet_jax.stats.gradcam_results import compute_gradcam_results
    from data_pipelines.bonemet_ct.tissue import TissueReader

    records, folds = open_records(run.records_dir), load_folds(run.directory / "folds.json")
    reader, maps = TissueReader(run.cohort_dir, run.config.records), run.directory / "gradcam.npz"
    compute_run_gradcam(records, folds, run.config, run.directory, lambda ids: make_regions(*reader.read(ids)))
    hosts.once(lambda: artifacts.write_json(
        run.directory / "gradcam.json", compute_gradcam_results(artifacts.load_npz(maps))
    ))


def _fuse_outputs(run: Run) -> list[Path]:
    names = ["scores.parquet", "models", "shap.json", *(["paper_scores.parquet"] if run.is_honest else [])]
    return [run.directory / name for name in names]


def _fuse(run: Run) -> None:
    from bonemet_jax.fusion.run import fuse

    fuse(run.directory, run.cohort_dir, run.config.fusion)


def _stats(run: Run) -> None:
    from bonemet_jax.stats.run import compute_run_stats

    compute_run_stats(run.directory, run.cohort_dir, run.is_honest)


def _report(run: Run) -> None:
    from bonemet_jax.report.render import render_report

    render_report(run.directory, run.cohort_dir)


STAGES: tuple[Stage, ...] = (
    Stage("cohort", (), _cohort_settings,
          lambda run: [] if run.config.cohort_dir else [run.cohort_dir], _make_cohort,
          reads_outside=lambda run: run.config.cohort_dir is not None),
    Stage("build", ("cohort",), lambda run: to_dict(run.config.records),
          lambda run: [run.directory / "tfds"], _build, remade=False),
    Stage("near_duplicates", ("build",), _near_duplicates_settings,
          lambda run: [run.near_duplicates], _near_duplicates, reads_outside=lambda run: True),
    Stage("folds", ("cohort",), _folds_settings,
          lambda run: [run.directory / "folds.json"], _folds,
          reads_outside=lambda run: run.config.folds.file is not None),
    Stage("cv", ("build", "near_duplicates", "folds"), _cv_settings, Run.fold_dirs, _cv, resumed="fold_*",
          resume_settings=_cv_resume_settings, together=True,
          reads_outside=lambda run: run.config.model.weights is not None),
    Stage("embed", ("cv",), lambda run: run.config.train.embed_epoch,
          lambda run: [run.directory / "embeddings.npz"], _embed, together=True),
    Stage("gradcam", ("embed",), lambda run: None,
          lambda run: [run.directory / "gradcam.npz", run.directory / "gradcam.json"], _gradcam, together=True),
    Stage("cross", ("cv",), lambda run: run.config.train.embed_epoch if run.is_honest else None,
          lambda run: [run.cross_dir] if run.is_honest else [], _cross, resumed="cross",
          resume_settings=lambda run: run.is_honest, together=True),
    Stage("fuse", ("embed", "cross"), _fuse_settings, _fuse_outputs, _fuse),
    Stage("stats", ("fuse",), lambda run: None, lambda run: [run.directory / "stats"], _stats),
    Stage("report", ("stats", "gradcam"), lambda run: run.config.name,
          lambda run: [run.directory / "report.html", run.directory / "report.json"], _report),
)
BY_NAME: dict[str, Stage] = {stage.name: stage for stage in STAGES}


def list_with_needed(names: Iterable[str]) -> list[str]:
    """These stages and all that they depend on, direct and indirect, in the order of a run.

    Indirect ones count: `fuse` reads folds.json and the cohort table as well as the embeddings made from them.
    """
    found = set(names)
    for name in reversed(BY_NAME):  # a stage comes after all that it needs
        if name in found:
            found |= set(BY_NAME[name].needs)
    return [name for name in BY_NAME if name in found]
