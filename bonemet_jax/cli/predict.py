"""`bonemet predict`: what a finished run says of new patients' slices."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from bonemet_jax import artifacts, schema
from bonemet_jax.cli.ingest import SourceArgs, exit_code
from bonemet_jax.cli.measured import describe_areas
from bonemet_jax.cli.parse import parse
from bonemet_jax.cli.stages import Run, check_finished, load_run_config
from bonemet_jax.cli.verb_report import DeviceArgs, VerbReport, require_device
from bonemet_jax.config import Config
from bonemet_jax.errors import UsageError

_SOURCES = {area.replace("_cm2", "_source") for area in schema.AREA_CODES}


@dataclass(frozen=True)
class PredictArgs(SourceArgs, DeviceArgs):
    """Score slices with every fold's network and gradient boosting; the mean over folds is the score.

    With --clinical the score from imaging and clinical data together is added.
    """

    run: Path = tyro.MISSING
    """Run directory of a finished run."""


def main(verb: str, argv: list[str]) -> int:
    """Ingest the slices into OUTPUT/cohort, score them, write predictions.json and print a line a patient.

    Patients whose images cannot be read are listed and left out; the exit code is 8 then.
    """
    args = parse(PredictArgs, verb, argv)
    report = VerbReport(verb, argv, args.report)
    run = open_finished(args.run)
    require_device(args.device)
    from data_pipelines import ingest

    cohort_dir = args.output / "cohort"
    ingested = ingest.ingest(list(args.input), cohort_dir, **args.choice())
    table = artifacts.load_table(cohort_dir / "cohort.parquet").sort_values(schema.PATIENT_ID, ignore_index=True)
    records = _make_records(table, cohort_dir, run.config)
    results = {
        "run": run.config.name, "fingerprint": run.config.fingerprint, "warning": schema.WARNING,
        "patients": predict(run, cohort_dir, table, records, with_clinical=args.clinical is not None),
        "failed": ingested["failed"],
    }
    artifacts.write_json(args.output / "predictions.json", results)
    for patient, facts in results["patients"].items():
        print(describe(patient, facts))
    with artifacts.atomic_dir(args.output / "gradcam") as pictures:
        draw_maps(run, cohort_dir, records, results["patients"], pictures)
    print(f"overlays in {cohort_dir / 'overlays'}, Grad-CAM in {args.output / 'gradcam'}; {schema.WARNING}")
    code = exit_code(results)
    read = [args.run / "config.json", *args.sources(args.input)]
    report.write(results, read, [args.output], run.config, exit_code=code)
    return code


def open_finished(directory: Path) -> Run:
    """The run in this directory.

    Raises: UsageError when it is none, or when its networks and classifiers do not belong together.
    """
    if not (directory / "config.json").is_file():
        raise UsageError("not a run directory: it holds no config.json", directory, "run `bonemet run` first")
    run = Run(directory, load_run_config(directory / "config.json"))
    check_finished(run)
    return run


def predict(run: Run, cohort_dir: Path, table: Any, records: Any, with_clinical: bool) -> dict[str, dict[str, Any]]:
    """Per patient: areas in cm2, warnings, scores in [0, 1]: score_network, the networks' own, and of gradient boosting
    score_imaging and (with clinical data) score_both."""
    import numpy as np

    from bonemet_jax.fusion.run import score_new
    from bonemet_jax.readout.embeddings import embed

    feature_sets = ["imaging", *(["both"] if with_clinical else [])]
    scores: dict[str, list[Any]] = {name: [] for name in ("network", *feature_sets)}
    for fold in range(run.config.folds.n_folds):
        (embedding,), (own,) = embed(records, run.config, run.directory, [fold])
        scores["network"].append(own)
        for name in feature_sets:
            clinical = table if name == "both" else None
            scores[name].append(score_new(run.directory, fold, name, embedding, clinical))
    means = {f"score_{name}": np.mean(values, axis=0) for name, values in scores.items()}
    facts = artifacts.load_json(cohort_dir / "ingest.json")
    results = {}
    for i, row in table.iterrows():
        told = _facts(facts[row[schema.SLICE_ID]]) | {name: round(float(v[i]), 6) for name, v in means.items()}
        if with_clinical:
            told |= _judge_clinical(row, told)
        results[row[schema.PATIENT_ID]] = told
    return results


def draw_maps(run: Run, cohort_dir: Path, records: Any, told: dict[str, dict[str, Any]], directory: Path) -> None:
    """A picture a slice, named as its overlay: what raises and what lowers the networks' own score."""
    from bonemet_jax.progress import track
    from bonemet_jax.readout.gradcam import EVIDENCE, find_stages, read_mean_gradcam
    from bonemet_jax.readout.tissue_shares import make_regions
    from bonemet_jax.report.gradcam_figure import draw_patient_gradcam
    from data_pipelines.bonemet_ct.tissue import TissueReader

    reader, stages = TissueReader(cohort_dir, run.config.records), find_stages(run.config.model)
    maps = ((at, batch.cam[:, :, k]) for batch in read_mean_gradcam(records, run.config, run.directory)
            for k, at in enumerate(batch.position.tolist()))
    for at, cam in track(maps, "Grad-CAM", len(records)):
        patient = records.patient_id[at]
        name, regions = reader.slice_ids[patient], make_regions(*reader.read([patient]))[0]
        heading = (f"{name}: {told[patient]['score_network']:.3f}, mean of {run.config.folds.n_folds} networks\n"
                   "Research only, not a medical device")
        picture = draw_patient_gradcam(records.ct[at], regions, dict(zip(EVIDENCE, cam, strict=True)), stages, heading)
        artifacts.write_bytes(directory / f"{name}.png", picture)


def _judge_clinical(row: Any, told: dict[str, Any]) -> dict[str, Any]:
    """No score from clinical data that are not there; what was filled in is told."""
    of_image = {*schema.AREA_CODES, *schema.INDEX_OF_AREA}
    of_table = [name for name in schema.clinical_names() if name not in of_image]
    n_missing = int(row[of_table].isna().sum())
    if n_missing == len(of_table):
        return {"score_both": None, "warnings": [*told["warnings"], "no clinical data: no score from both"]}
    n_missing += int(row[sorted(of_image)].isna().sum())
    note = f"{n_missing} of {len(schema.CLINICAL)} clinical values are missing and filled as in training"
    return {"warnings": [*told["warnings"], *([note] if n_missing else [])]}


def _make_records(table: Any, cohort_dir: Path, config: Config) -> Any:
    """The cohort's slices as the arrays that the network was trained on; labels are unknown and never read."""
    import numpy as np

    from bonemet_jax.input_pipeline.records import RecordArrays
    from data_pipelines.bonemet_ct.record import make_record
    from data_pipelines.canonical import load_slice

    rows = [make_record(load_slice(cohort_dir / "slices" / f"{name}.npz"), config.records)
            for name in table[schema.SLICE_ID]]
    return RecordArrays(
        patient_id=tuple(table[schema.PATIENT_ID]), label=np.zeros(len(rows), np.int32),
        **{name: np.stack([row[name] for row in rows]) for name in schema.CHANNELS},
    )


def _facts(told: dict[str, Any]) -> dict[str, Any]:
    return {
        "areas": {name: value for name, value in told.items() if name.endswith(("_cm2", "_cm2_m2"))},
        "sources": {name: value for name, value in told.items() if name in _SOURCES},
        "z_mm": told["z_mm"], "level": told["level"], "warnings": told["warnings"],
    }


def describe(patient: str, facts: dict[str, Any]) -> str:
    """One line for the terminal."""
    scores = ", ".join(
        f"{name.replace('_', ' ')} {facts[name]:.3f}" if facts[name] is not None else "no clinical data, no score both"
        for name in facts if name.startswith("score_")
    )
    return f"{patient}: {describe_areas(facts['areas'] | facts['sources'])}; {scores}"
