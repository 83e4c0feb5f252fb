"""A cohort directory, file by file and patient by patient, as findings. Shell: reads, writes nothing."""

import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bonemet_jax import artifacts, schema
from bonemet_jax.errors import CorruptFileError
from bonemet_jax.progress import track
from data_pipelines.bodycomp.areas import compute_areas_cm2
from data_pipelines.canonical import CanonicalSlice, hash_pixels, load_slice
from data_pipelines.check_codes import VERDICTS
from data_pipelines.checks.cohort_table import check_table, patients_of
from data_pipelines.checks.earlier_rules import judge_slice, list_unknown
from data_pipelines.findings import Finding, find
from data_pipelines.ingest.cohort import INTAKE_RULES

TABLE, FACTS, SALT = "cohort.parquet", "ingest.json", "salt"


@dataclass
class CohortCheck:
    """What was found in a cohort directory, and what was read on the way."""

    findings: list[Finding] = field(default_factory=list)
    table: pd.DataFrame | None = None
    """The cohort table, rows in the file's order."""
    slices: list[dict[str, Any]] = field(default_factory=list)
    """Of every readable slice: slice_id, patient_id, and what the datacard tells of it."""
    kind: str = ""
    """synthetic or real, as the manifest says; empty when it cannot be read."""
    rules: int = INTAKE_RULES
    """Intake rules under which a real cohort was made."""
    intact: set[str] = field(default_factory=set)
    """Files that are what the manifest says."""


def is_cohort(directory: Path) -> bool:
    """True for a folder that ingest or phantom wrote, whole or not."""
    return (directory / TABLE).is_file() or ((directory / artifacts.MANIFEST).is_file()
                                             and (directory / "slices").is_dir())


def check_cohort_directory(directory: Path) -> CohortCheck:
    """Check manifest, table, slices, areas, duplicates and salt; the quality flags stored at ingest are listed again.

    A cohort made under earlier intake rules is judged by the current ones as well.

    Raises: nothing for damaged content; every fault is a finding.
    """
    check = CohortCheck()
    check.findings += _check_files(directory, check)
    check.findings += _check_salt(directory / SALT)
    try:
        check.table = artifacts.load_table(directory / TABLE)
    except CorruptFileError as error:
        check.findings.append(find("cohort-unreadable", error.what, where=TABLE))
        return check
    check.findings += (replace(finding, where=finding.where or TABLE) for finding in check_table(check.table))
    # A synthetic cohort has no such file; one that was changed is not believed.
    facts = artifacts.load_json(directory / FACTS) if FACTS in check.intact else {}
    if schema.SLICE_ID in check.table.columns:
        check.findings += _check_slices(directory, check, facts)
    if check.rules < INTAKE_RULES:
        check.findings += list_unknown(check.slices, check.rules)
    return check


def _check_files(directory: Path, check: CohortCheck) -> Iterator[Finding]:
    """Every file of the manifest: there, and what was written."""
    try:
        manifest = artifacts.load_json(directory / artifacts.MANIFEST)
        listed = {name: (facts["sha256"], facts["bytes"]) for name, facts in manifest["files"].items()}
        check.kind = str(manifest["facts"]["kind"])
        if check.kind == "real":
            check.rules = int(manifest["facts"].get("intake_rules", 1))
    except CorruptFileError as error:
        yield find("cohort-unreadable", error.what, where=artifacts.MANIFEST)
        return
    except (KeyError, TypeError, AttributeError, ValueError):
        yield find("cohort-unreadable", "not a manifest of ours", where=artifacts.MANIFEST)
        return
    for name, (sha256, n_bytes) in listed.items():
        file = directory / name
        if not file.is_file():
            yield find("cohort-file-missing", where=name)
        elif file.stat().st_size != n_bytes or artifacts.sha256_file(file) != sha256:
            yield find("cohort-file-changed", fact=f"{file.stat().st_size} bytes, {n_bytes} when written", where=name)
        else:
            check.intact.add(name)
    extra = [str(f.relative_to(directory)) for f in artifacts.list_files(directory)]
    extra = [name for name in extra if name not in listed and name != SALT]
    if extra:
        yield find("cohort-file-unlisted", fact=f"{len(extra)} of them", where=extra[0])


def _check_salt(salt: Path) -> Iterator[Finding]:
    if salt.is_file() and stat.S_IMODE(salt.stat().st_mode) & 0o077:
        yield find("cohort-salt-open", fact=f"mode {stat.S_IMODE(salt.stat().st_mode):o}, wanted 600", where=SALT)


def _check_slices(directory: Path, check: CohortCheck, facts: dict[str, dict[str, Any]]) -> Iterator[Finding]:
    """Every patient's slice: there, readable, its areas those of the table, no two alike; its flags once more."""
    table = check.table
    assert table is not None
    seen: dict[str, list[int]] = {}
    rows = list(zip(patients_of(table), table[schema.SLICE_ID].astype(str), strict=True))
    for i, (patient, slice_id) in track(enumerate(rows), "check slices", len(rows)):
        name = f"slices/{slice_id}.npz"
        image = _load(directory, slice_id)
        if isinstance(image, Finding):
            yield replace(image, where=name, patient=patient, row=i + 1)
            continue
        of_slice = facts.get(slice_id, {})
        check.slices.append({"row": i + 1, schema.SLICE_ID: slice_id, schema.PATIENT_ID: patient,
                             **describe_image(image), **of_slice})
        seen.setdefault(hash_pixels(image), []).append(i + 1)
        found = [*_check_areas(image, table.iloc[i], of_slice), *_stored_flags(of_slice)]
        if check.rules < INTAKE_RULES:
            found += judge_slice(image, of_slice)
        yield from (replace(finding, where=name, patient=patient, row=i + 1) for finding in found)
    for row, twin in find_twins(seen, "row"):
        patient, slice_id = rows[row - 1]
        yield replace(twin, where=f"slices/{slice_id}.npz", patient=patient, row=row)


def _load(directory: Path, slice_id: str) -> CanonicalSlice | Finding:
    file = directory / "slices" / f"{slice_id}.npz"
    if Path(slice_id).name != slice_id or not file.is_file():
        return find("cohort-no-slice")
    try:
        image = load_slice(file)
    except CorruptFileError as error:
        return find("cohort-slice-damaged", error.what)
    except (TypeError, ValueError):
        return find("cohort-slice-damaged", "arrays of another form than a slice's")
    return image if image.hu.ndim == 2 else find("cohort-slice-damaged", f"{image.hu.ndim} axes, wanted 2")


def describe_image(image: CanonicalSlice) -> dict[str, Any]:
    """Pixels, spacing, field of view and trunk: what the datacard tells of a slice."""
    height, width = image.hu.shape
    row_mm, column_mm = image.spacing_mm
    return {"row_mm": row_mm, "column_mm": column_mm, "field_mm": max(height * row_mm, width * column_mm),
            "height": height, "width": width, "trunk_cm2": float(image.body.sum() * image.pixel_cm2)}  # fmt: skip


def _check_areas(image: CanonicalSlice, row: pd.Series, of_slice: dict[str, Any]) -> Iterator[Finding]:
    """The table's areas against the slice's, to one pixel: a phantom's are planted and then drawn in whole pixels.

    Where readers drew, the table holds their mean and the slice is that of the first by name.
    """
    convention = get_convention(of_slice)
    if convention not in schema.HU_CONVENTIONS:
        yield find("cohort-unreadable", "Hounsfield ranges of a name that is not known", where=FACTS)
        return
    for name, area_cm2 in compute_areas_cm2(image, convention).items():
        readers = [of_slice[key] for key in sorted(of_slice) if key.startswith(f"{name}_")]
        known = [value for value in readers if value is not None]
        wanted_cm2 = sum(known) / len(known) if known else area_cm2
        for given, wanted in ((row.get(name, np.nan), wanted_cm2), (readers[0] if readers else None, area_cm2)):
            if isinstance(given, float) and abs(given - wanted) > image.pixel_cm2:
                yield Finding("cohort-area", f"{given:.2f} in the table, {wanted:.2f} cm2 on the slice",
                              f"one pixel is {image.pixel_cm2:.4f} cm2", column=name)


def get_convention(facts: Mapping[str, Any]) -> str:
    """Name of the Hounsfield ranges by which a slice was measured; a phantom's are the paper's."""
    return str(facts.get("hu_convention", "paper"))


def _stored_flags(of_slice: dict[str, Any]) -> Iterator[Finding]:
    """What intake found in reading this slice."""
    return (find(code) for code in of_slice.get("flags", ()) if code in VERDICTS)


def find_twins(seen: Mapping[str, Sequence[int]], noun: str) -> Iterator[tuple[int, Finding]]:
    """Number and finding of everyone whose very pixels stand under another number too.

    Args:
        seen: hash of the pixels -> numbers of those who have them.
        noun: what the numbers count: row, input.
    """
    for numbers in seen.values():
        for number in numbers if len(numbers) > 1 else ():
            others = [str(other) for other in numbers if other != number]
            names = f"{noun}{'s' * (len(others) > 1)} {', '.join(others)}"
            yield number, find("cohort-same-image", fact=f"equal to {names} on every pixel")
