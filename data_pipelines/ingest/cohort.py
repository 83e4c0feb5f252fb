"""Many patients -> a cohort directory (`ingest`) or a table of areas (`measure`). Shell: joins and writes."""

import csv
import hashlib
import io
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bonemet_jax import artifacts, schema
from bonemet_jax.errors import InputDataError, UsageError
from bonemet_jax.progress import say, track
from data_pipelines.bodycomp.areas import FAT_UNSEGMENTED, compute_areas_cm2, compute_indices
from data_pipelines.bodycomp.overlay import save_overlay
from data_pipelines.canonical import save_slice
from data_pipelines.ingest.clinical import COLUMNS, ClinicalTable, Value, load_clinical
from data_pipelines.ingest.nifti import SUFFIXES
from data_pipelines.ingest.source import Choice, IngestedSlice, make_patient_id, read_source

SALT = "salt"
_KIND_COHORT, _KIND_AREAS = "real", "areas"


@dataclass(frozen=True)
class Patient:
    """A slice with its numbers: `row` holds every clinical column, label and height; unknown is NaN or None."""

    source: IngestedSlice
    areas: dict[str, float]
    row: dict[str, Value]
    warnings: tuple[str, ...]


def ingest(
    inputs: list[Path],
    out: Path,
    masks: Path | None = None,
    clinical: Path | None = None,
    choice: Choice | None = None,
) -> None:
    """Write the cohort directory of docs/contracts.md; one input path is one patient.

    Args:
        inputs: a DICOM folder or NIfTI folder a patient; its name is the patient_id.
        out: directory to write; an earlier cohort there is replaced, its salt kept.
        masks: of the one patient, or a folder holding <patient_id>/ or <patient_id>.nii.gz.
        clinical: CSV joined by patient_id.
        choice: see read_source.

    Raises: InputDataError, UsageError; nothing is written then.
    """
    _check_out(out, inputs, _KIND_COHORT)
    patients = _read_patients(inputs, masks, clinical, choice)
    salt = (out / SALT).read_bytes() if (out / SALT).is_file() else os.urandom(16)
    with artifacts.atomic_dir(out) as partial:
        rows, facts = [], {}
        for patient in patients:
            slice_id = make_slice_id(salt, patient.source.patient_id)
            save_slice(partial / "slices" / f"{slice_id}.npz", patient.source.image)
            save_overlay(partial / "overlays" / f"{slice_id}.png", patient.source.image, _title(slice_id, patient))
            rows.append({schema.PATIENT_ID: patient.source.patient_id, schema.SLICE_ID: slice_id, **patient.row})
            facts[slice_id] = _facts(patient)
        artifacts.save_table(partial / "cohort.parquet", _make_frame(rows))
        artifacts.write_json(partial / "ingest.json", facts)
        artifacts.write_manifest(partial, {"kind": _KIND_COHORT, "n": len(rows)})
        _write_salt(partial / SALT, salt)


def measure(
    inputs: list[Path],
    out: Path,
    masks: Path | None = None,
    clinical: Path | None = None,
    choice: Choice | None = None,
) -> dict[str, Any]:
    """Write areas.csv, areas.json and overlays/*.png; arguments as of ingest.

    Returns: {"patients": [{patient_id, z_mm, areas in cm2, indices in cm2/m2, overlay, warnings}]}; unknown is None.
    """
    _check_out(out, inputs, _KIND_AREAS)
    patients = _read_patients(inputs, masks, clinical, choice)
    with artifacts.atomic_dir(out) as partial:
        rows = []
        for number, patient in enumerate(patients, start=1):
            # A number, not the id: file names must not tell who it is.
            overlay = f"overlays/{number:04d}.png"
            save_overlay(partial / overlay, patient.source.image, _title(f"patient {number}", patient))
            rows.append({schema.PATIENT_ID: patient.source.patient_id, "overlay": overlay, **_facts(patient)})
        artifacts.write_text(partial / "areas.csv", _make_csv(rows))
        artifacts.write_json(partial / "areas.json", {"patients": rows})
        artifacts.write_manifest(partial, {"kind": _KIND_AREAS, "n": len(rows)})
    return {"patients": rows}


def make_slice_id(salt: bytes, patient_id: str) -> str:
    """Name of a patient's slice: 16 hex digits of a salted hash, so that file names tell no id."""
    return hashlib.sha256(salt + patient_id.encode()).hexdigest()[:16]


def _read_patients(
    inputs: list[Path], masks: Path | None, clinical: Path | None, choice: Choice | None
) -> list[Patient]:
    """Every patient, sorted by id. The table comes first: its faults show before the long work."""
    table = load_clinical(clinical) if clinical is not None else ClinicalTable({}, ())
    by_id = _name_inputs(inputs)
    if clinical is not None and not set(by_id) & set(table.rows):
        raise InputDataError(
            "no patient_id of the table is the name of an input folder", clinical, "make ids and folder names equal"
        )
    for line in (*table.warnings, *_unmatched(by_id, table, clinical)):
        say(f"warning: {line}")
    patients = []
    # A number in the order given, not the path: logs must not tell who it is.
    names = {patient_id: f"input {n} of {len(by_id)}" for n, patient_id in enumerate(by_id, start=1)}
    for patient_id, path in track(sorted(by_id.items()), "read images", len(by_id)):
        source = read_source(path, _masks_of(patient_id, names[patient_id], masks, len(by_id)), choice)
        patients.append(_join(source, table.rows.get(patient_id, {})))
        for line in patients[-1].warnings:
            say(f"warning: {names[patient_id]}: {line}")
    return patients


def _name_inputs(inputs: list[Path]) -> dict[str, Path]:
    if not inputs:
        raise UsageError("no input", "-i", "give one folder a patient")
    by_id: dict[str, Path] = {}
    for number, path in enumerate(map(Path, inputs), start=1):
        patient_id = make_patient_id(path)
        if patient_id in by_id:
            twin = list(by_id).index(patient_id) + 1
            raise InputDataError(
                f"inputs {twin} and {number} have the same name", path, "give every patient another folder name"
            )
        by_id[patient_id] = path
    return by_id


def _unmatched(by_id: dict[str, Path], table: ClinicalTable, clinical: Path | None) -> Iterator[str]:
    """Lines about patients that are in only one of images and table; counts, no ids."""
    if clinical is None:
        return
    no_row, no_image = len(set(by_id) - set(table.rows)), len(set(table.rows) - set(by_id))
    if no_row:
        yield f"{no_row} of {len(by_id)} inputs have no row in the clinical table: their columns stay empty"
    if no_image:
        yield f"{no_image} rows of the clinical table have no input and are left out"


def _masks_of(patient_id: str, name: str, masks: Path | None, n: int) -> Path | None:
    if masks is None:
        return None
    own = [masks / patient_id, *(masks / f"{patient_id}{suffix}" for suffix in SUFFIXES)]
    found = next((path for path in own if path.exists()), None)
    if found is None and n > 1:
        raise InputDataError(
            f"no masks for {name}", masks, "name them <patient_id>/ or <patient_id>.nii.gz in that folder"
        )
    return found or masks


def _join(source: IngestedSlice, given: dict[str, Value]) -> Patient:
    """Slice and table row. An area measured here wins over the table's, and so does its index, unknown or not."""
    areas = compute_areas_cm2(source.image)
    missing = {name: None if column.kind == "category" else math.nan for name, column in COLUMNS.items()}
    row: dict[str, Value] = {**missing, **given}
    height_m = row[schema.HEIGHT]
    measured = {name: areas[name] for name in schema.AREA_CODES}
    measured |= compute_indices(areas, float(height_m if isinstance(height_m, int | float) else math.nan))
    kept = {name: value for name, value in measured.items() if not math.isnan(value)}
    lost = [i for i, area in schema.INDEX_OF_AREA.items() if area in kept and i not in kept and _is_known(row[i])]
    replaced = [name for name in kept if name in given]
    row |= kept | dict.fromkeys(lost, math.nan)
    notes = [f"measured here, not taken from the table: {', '.join(replaced)}"] if replaced else []
    if lost:
        notes.append(f"area measured here but no height: the table's {', '.join(lost)} left out")
    return Patient(source, areas, row, (*map(str, source.findings), *notes))


def _facts(patient: Patient) -> dict[str, Any]:
    """What is told about a slice, NaN as None."""
    source = patient.source
    row_mm, column_mm = source.image.spacing_mm
    numbers: dict[str, Value] = {FAT_UNSEGMENTED: math.nan, **patient.areas}
    numbers |= {index: patient.row[index] for index in schema.INDEX_OF_AREA}
    return {
        "kind": source.kind, "level": source.level, "z_mm": source.z_mm, "slice_index": source.index,
        "n_slices": source.n_slices, "row_mm": row_mm, "column_mm": column_mm,
        "trunk_cm2": float(source.image.body.sum() * source.image.pixel_cm2),
        **{name: value if _is_known(value) else None for name, value in sorted(numbers.items())},
        "warnings": list(patient.warnings),
    }  # fmt: skip


def _is_known(value: Value) -> bool:
    return isinstance(value, float) and not math.isnan(value)


def _title(name: str, patient: Patient) -> str:
    return f"{name}   {patient.source.level}   z {patient.source.z_mm:.1f} mm"


def _make_frame(rows: list[dict[str, Any]]) -> Any:
    """Cohort table in the schema's order: categories text, every other column float64."""
    import pandas as pd

    order = [schema.PATIENT_ID, schema.SLICE_ID, *schema.clinical_names(),
             schema.HEIGHT, schema.LABEL, schema.TIME, schema.EVENT]  # fmt: skip
    frame = pd.DataFrame(rows, columns=order)
    text = [name for name, column in COLUMNS.items() if column.kind == "category"]
    numbers = [name for name in COLUMNS if name not in text]
    return frame.astype(dict.fromkeys(numbers, "float64") | dict.fromkeys(text, "object"))


def _make_csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "warnings": "; ".join(row["warnings"])} for row in rows)
    return text.getvalue()


def _write_salt(path: Path, salt: bytes) -> None:
    """Not in the manifest: a cohort handed on without its salt is whole, and its ids stay secret."""
    artifacts.write_bytes(path, salt)
    path.chmod(0o600)


def _check_out(out: Path, inputs: list[Path], kind: str) -> None:
    """Refuse to replace a directory that is not this verb's own earlier output, or that holds an input."""
    for path in inputs:
        if Path(path).resolve().is_relative_to(out.resolve()):
            raise UsageError("output directory holds an input and would be replaced", out, "give another -o")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    manifest = out / artifacts.MANIFEST
    if not manifest.is_file() or artifacts.load_json(manifest).get("facts", {}).get("kind") != kind:
        raise UsageError("output directory exists and is not an earlier output of this verb", out, "give another -o")
