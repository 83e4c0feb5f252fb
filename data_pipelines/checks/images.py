"""Patients' images, read exactly as ingest reads them, in guarded processes; nothing is written. Shell."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError
from data_pipelines.canonical import hash_pixels
from data_pipelines.checks.cohort_directory import describe_image, find_twins
from data_pipelines.checks.cohort_table import check_outcomes
from data_pipelines.clinical.table import COLUMNS, ClinicalTable, load_clinical
from data_pipelines.findings import Finding, find, finding_of
from data_pipelines.ingest.cohort import make_facts
from data_pipelines.ingest.match import compare_readers, join_table
from data_pipelines.ingest.patients import Failure, Input, Patient, name_inputs, read_patients


@dataclass
class ImagesCheck:
    """What was found in the inputs, and what was read on the way."""

    findings: list[Finding] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    """patient_id -> number of the input, in the order given."""
    table: pd.DataFrame | None = None
    """Columns of the schema, one row a patient who could be read."""
    slices: list[dict[str, Any]] = field(default_factory=list)
    n_with_row: int | None = None
    """Of those who could be read, how many have a usable row; None without a clinical table."""
    overlays: dict[str, bytes] = field(default_factory=dict)
    """patient_id -> PNG, where asked for."""


def check_images(
    inputs: Sequence[Path], clinical: Path | None = None, missing: tuple[str, ...] = (), with_overlays: bool = False,
    **reading: Any,
) -> ImagesCheck:
    """Read every input and its row of the table.

    Args:
        inputs: a folder, zip or file a patient.
        clinical: CSV joined by patient_id.
        missing: codes that mean unknown in it.
        with_overlays: draw them.
        reading: see read_patients.

    Raises: UsageError for a flag out of range; what is wrong with the data is a finding.
    """
    check = ImagesCheck()
    table = check_clinical(clinical, missing, check.findings) if clinical is not None else None
    try:
        check.numbers = {one.patient_id: one.number for one in name_inputs(inputs)}
        table = _match(check, table, clinical)
        check.findings += compare_readers(reading.get("rois"))
        titles = {patient: f"input {number}" for patient, number in check.numbers.items()} if with_overlays else None
        rows = list(_read(check, read_patients(inputs, table, titles=titles, **reading)))
    except InputDataError as error:
        check.findings.append(finding_of(error))
        return check
    if rows:
        check.table = pd.DataFrame(rows, columns=[schema.PATIENT_ID, *COLUMNS])
    if check.table is not None and table is not None:
        # No row, or one with errors, is told as that, not as an unknown outcome too.
        usable = check.table[check.table[schema.PATIENT_ID].isin(table.rows.keys())]
        check.n_with_row = len(usable)
        check.findings += check_outcomes(usable.reset_index(drop=True))
    return check


def check_clinical(clinical: Path, missing: tuple[str, ...], findings: list[Finding]) -> ClinicalTable | None:
    """The table, its findings added to `findings`; None when it cannot be read at all."""
    try:
        table = load_clinical(clinical, missing)
    except InputDataError as error:
        findings.append(finding_of(error))
        return None
    findings += (replace(finding, where=clinical.name) for finding in table.findings)
    return table


def _match(check: ImagesCheck, table: ClinicalTable | None, clinical: Path | None) -> ClinicalTable | None:
    """The table under the inputs' names; adds what is in only one of the two, and whose row cannot be used."""
    try:
        joined, found = join_table(check.numbers, table, clinical)
    except InputDataError as error:
        joined, found = table, [finding_of(error)]
    if table is None or clinical is None or joined is None:
        check.findings += found
        return None
    n_refused = len(set(check.numbers) & joined.refused)
    if n_refused:
        check.findings.append(find("cohort-row-refused", f"{n_refused} of {len(check.numbers)} inputs have a row with "
                                   "errors in the clinical table: it is not used", where=clinical.name))
    check.findings += found
    return joined


def _read(check: ImagesCheck, outcomes: Iterator[Patient | Failure]) -> Iterator[Mapping[str, Any]]:
    """Yield the row of every patient who could be read; images are not kept."""
    seen: dict[str, list[int]] = {}
    inputs: dict[int, Input] = {}
    for outcome in outcomes:
        patient, path = outcome.given.patient_id, outcome.given.path
        if isinstance(outcome, Failure):
            check.findings.append(_place(outcome.finding, patient, path))
            check.findings += (_place(note, patient, path) for note in outcome.given.findings)
            continue
        image = outcome.source.image
        check.findings += (_place(finding, patient, path) for finding in outcome.findings)
        seen.setdefault(hash_pixels(image), []).append(outcome.given.number)
        inputs[outcome.given.number] = outcome.given
        check.slices.append({schema.PATIENT_ID: patient, **describe_image(image), **make_facts(outcome)})
        if outcome.drawn.overlay:
            check.overlays[patient] = outcome.drawn.overlay
        yield {schema.PATIENT_ID: patient, **outcome.row}
    check.findings += (_place(twin, inputs[number].patient_id, inputs[number].path)
                       for number, twin in find_twins(seen, "input"))


def _place(finding: Finding, patient: str, path: Path) -> Finding:
    """With its patient, and the file as it lies in the input: what stands before tells of the user's machine."""
    where = finding.where.removeprefix(str(path)).lstrip("/:")
    return replace(finding, patient=patient, where=where)
