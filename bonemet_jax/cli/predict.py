"""`bonemet predict`: scores, classes and risks of new patients' slices by a finished run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from bonemet_jax import artifacts, output_paths, schema
from bonemet_jax.cli.ingest import SourceArgs, exit_code
from bonemet_jax.cli.measured import describe_areas
from bonemet_jax.cli.parse import parse
from bonemet_jax.cli.verb_report import DeviceArgs, VerbReport, require_device
from bonemet_jax.config import Config
from bonemet_jax.progress import say
from bonemet_jax.report.formats import format_share
from bonemet_jax.study.finished import (
    SCORING,
    SYNTHETIC_WARNING,
    check_training_patients,
    find_unfinished,
    open_finished,
)
from bonemet_jax.study.lock import lock_output
from bonemet_jax.study.run import Run

_KIND = "predictions"
_SOURCES = {area.replace("_cm2", "_source") for area in schema.AREA_CODES}


@dataclass(frozen=True)
class PredictArgs(SourceArgs, DeviceArgs):
    """Score slices with every fold's network and gradient boosting; the mean over folds is the score.

    With --clinical the score from imaging and clinical data together is added, and the class comes from it.
    """

    run: Path = tyro.MISSING
    """Run directory of a finished run."""
    allow_synthetic: bool = False
    """Accept a run that was trained on synthetic patients; every output then carries a warning."""


def main(verb: str, argv: list[str]) -> int:
    """Write predictions.json, index.csv, index.html, cohort/ and gradcam/ as a whole, and print one line per patient.

    Patients whose images cannot be read are listed and left out; the exit code is 8 then.
    """
    args = parse(PredictArgs, verb, argv)
    report = VerbReport(verb, argv, args.report)
    run = open_finished(args.run)
    warning = "; ".join(filter(None, [check_training_patients(run, args.allow_synthetic), schema.WARNING]))
    sources = args.sources(args.input)
    if output_paths.check_output_folder(args.output, _KIND, [args.run, *sources], beside=_list_unlisted()):
        say(f"the earlier output in {args.output} will be replaced")
    require_device(args.device)
    with lock_output(args.output, args.wait), artifacts.atomic_dir(args.output) as out, run.unchanged():
        results = _write(args, run, out, warning)
    code = exit_code(results)
    report.write(results, [args.run / "config.json", *sources], [args.output], run.config, exit_code=code)
    for patient, facts in results["patients"].items():
        print(describe(patient, facts))
    print("class 1 (above threshold) is the model's class for bone metastasis; index.html explains every figure")
    print(f"{args.output / 'index.html'}: {warning}")
    return code


def _list_unlisted() -> tuple[str, ...]:
    """Files of the output that its manifest leaves out."""
    from data_pipelines.ingest.cohort import SALT

    return (f"cohort/{SALT}",)


def _write(args: PredictArgs, run: Run, out: Path, warning: str) -> dict[str, Any]:
    """Write every file of the output below `out`; returns predictions.json's content."""
    from bonemet_jax.report.predictions import make_rows, render_predictions
    from data_pipelines import ingest
    from data_pipelines.ingest.cohort import make_csv
    from data_pipelines.ingest.patients import name_inputs

    cohort_dir = out / "cohort"
    ingested = ingest.ingest(list(args.input), cohort_dir, earlier=args.output / "cohort", **args.choice())
    table = artifacts.load_table(cohort_dir / "cohort.parquet").sort_values(schema.PATIENT_ID, ignore_index=True)
    records = _make_records(table, cohort_dir, run.config)
    patients, rules = predict(run, cohort_dir, table, records, with_clinical=args.clinical is not None)
    names = {one.number: one.patient_id for one in name_inputs(args.input)}
    results = {
        "run": run.config.name, "fingerprint": run.config.fingerprint, "warning": warning,
        "models": rules, "patients": patients,
        "failed": [{schema.PATIENT_ID: names[one["input"]], **one} for one in ingested["failed"]],
    }
    with artifacts.atomic_dir(out / "gradcam") as pictures:
        draw_maps(run, cohort_dir, records, patients, pictures, warning)
    artifacts.write_json(out / "predictions.json", results)
    artifacts.write_text(out / "index.csv", make_csv(make_rows(results)))
    render_predictions(results, out)
    artifacts.write_manifest(out, {"kind": _KIND, "n": len(patients)}, unlisted=_list_unlisted())
    return results


def predict(
    run: Run, cohort_dir: Path, table: Any, records: Any, with_clinical: bool
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Per patient: areas in cm2, warnings, scores in [0, 1], class, risk and files; and the rules of the classes.

    Scores: score_network, the networks' own; by gradient boosting score_imaging and (with clinical data) score_both.
    """
    import numpy as np

    from bonemet_jax.fusion.run import score_new
    from bonemet_jax.readout.embeddings import embed
    from bonemet_jax.stats.decision_rule import load_decision_rule

    feature_sets = ["imaging", *(["both"] if with_clinical else [])]
    has_stats = find_unfinished(run, (*SCORING, "stats")) is None
    rules = {name: load_decision_rule(run.directory, name, run.config.fusion.mode, has_stats) for name in feature_sets}
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
        found = _facts(facts[row[schema.SLICE_ID]]) | {name: round(float(v[i]), 6) for name, v in means.items()}
        if with_clinical:
            found |= _judge_clinical(row, found)
        name = "both" if found.get("score_both") is not None else "imaging"
        results[row[schema.PATIENT_ID]] = {
            **found, **rules[name].decide([float(values[i]) for values in scores[name]]),
            "files": {"overlay": f"cohort/overlays/{row[schema.SLICE_ID]}.png",
                      "gradcam": f"gradcam/{row[schema.SLICE_ID]}.png"},
        }  # fmt: skip
    return results, {name: rule.describe() for name, rule in rules.items()}


def draw_maps(
    run: Run, cohort_dir: Path, records: Any, patients: dict[str, dict[str, Any]], directory: Path, warning: str
) -> None:
    """One picture per slice, named as its overlay: what raises and what lowers the networks' own score."""
    from bonemet_jax.progress import track
    from bonemet_jax.readout.gradcam import EVIDENCE, find_stages, read_mean_gradcam
    from bonemet_jax.readout.tissue_shares import make_regions
    from bonemet_jax.report.gradcam_figure import draw_patient_gradcam, make_title
    from data_pipelines.bonemet_ct.tissue import TissueReader

    note = "; trained on SYNTHETIC patients" if warning.startswith(SYNTHETIC_WARNING) else ""
    reader, stages = TissueReader(cohort_dir, run.config.records), find_stages(run.config.model)
    maps = ((at, batch.cam[:, :, k]) for batch in read_mean_gradcam(records, run.config, run.directory)
            for k, at in enumerate(batch.position.tolist()))
    for at, cam in track(maps, "Grad-CAM", len(records)):
        patient = records.patient_id[at]
        name, regions = reader.slice_ids[patient], make_regions(*reader.read([patient]))[0]
        score = f"network score {patients[patient]['score_network']:.3f}, mean of {run.config.folds.n_folds} folds"
        heading = (f"{make_title(patient)}\nSlice {name}; {score}\nResearch only, not a medical device{note}")
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
    risk = facts["risk"]
    decision = f"class {facts['class']} ({facts['class_label']} {facts['threshold']:.3f})"
    if risk["value"] is not None:
        decision += f"; risk {risk['value']:.3f}"
    decision += f"; observed share among similar held-out patients: {format_share(risk)}"
    return f"{patient}: {describe_areas(facts['areas'] | facts['sources'])}; {scores}; {decision}"
