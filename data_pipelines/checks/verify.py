"""Every data check on a cohort, on patients' images or on a clinical table; nothing of the user's is changed."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from bonemet_jax import artifacts, output_paths, schema
from bonemet_jax.errors import UsageError
from bonemet_jax.progress import track
from bonemet_jax.versions import find_versions
from data_pipelines.bodycomp.overlay import crop_to_picture, draw_overlay
from data_pipelines.canonical import load_slice
from data_pipelines.check_codes import Severity
from data_pipelines.checks import listing
from data_pipelines.checks.cohort_directory import (
    CohortCheck,
    check_cohort_directory,
    get_convention,
    is_cohort,
)
from data_pipelines.checks.cohort_table import patients_of
from data_pipelines.checks.datacard import CardSource, format_card, make_card
from data_pipelines.checks.images import ImagesCheck, check_clinical, check_images
from data_pipelines.checks.sheet import Picture, save_sheets
from data_pipelines.findings import Finding

_KIND = "verification"


@dataclass(frozen=True)
class Verification:
    """What was found."""

    subject: str
    """cohort, images or table."""
    n: int
    """Patients (rows, inputs) looked at."""
    findings: tuple[Finding, ...]
    numbers: Mapping[str, int] = field(default_factory=dict)
    """patient_id -> number of its input: what the terminal shows instead of the id."""
    card: Mapping[str, Any] | None = None
    """Datacard; None where there is no table to describe."""
    pictures: Callable[[], Iterator[Picture]] = lambda: iter(())
    """Slices for the contact sheet."""
    shared: tuple[str, ...] = ()
    """Codes of warnings that everyone on it has: no rim tells them."""

    def count(self, severity: Severity) -> int:
        """Findings of a severity."""
        return listing.count(self.findings, severity)


def verify(
    inputs: list[Path], clinical: Path | None = None, missing: tuple[str, ...] = (), with_overlays: bool = False,
    **reading: Any,
) -> Verification:
    """Check what is given: one cohort directory, or patients' images (with their table), or a clinical table alone.

    Args:
        inputs: a cohort directory; or a folder, zip or file a patient; or nothing.
        clinical: CSV with a patient_id column.
        missing: codes that mean unknown in it.
        with_overlays: keep an overlay of every patient for the contact sheets.
        reading: masks, rois, choice and so on, as data_pipelines.ingest.ingest takes them.

    Raises: UsageError for flags that do not go together; what is wrong with the data is a finding.
    """
    inputs = [Path(path) for path in inputs]
    if any(is_cohort(path) for path in inputs):
        return _verify_cohort(inputs, clinical)
    if inputs:
        return _describe_images(len(inputs), check_images(inputs, clinical, missing, with_overlays, **reading))
    if clinical is None:
        raise UsageError("nothing to check", "-i", "give a cohort directory, images of patients, or --clinical CSV")
    findings: list[Finding] = []
    table = check_clinical(clinical, missing, findings)
    return Verification("table", 0 if table is None else len(table.rows), tuple(findings))


def save_verification(result: Verification, out: Path, inputs: list[Path]) -> None:
    """Write findings.json, findings.csv, datacard.md, datacard.json and contact sheets; an earlier one is replaced.

    Raises: UsageError when `out` holds something else, or an input.
    """
    check_out(out, inputs)
    with artifacts.atomic_dir(out) as partial:
        artifacts.write_json(partial / "findings.json", listing.make_json(result.findings))
        artifacts.write_text(partial / "findings.csv", listing.make_csv(result.findings))
        if result.card is not None:
            artifacts.write_json(partial / "datacard.json", result.card)
            artifacts.write_text(partial / "datacard.md", format_card(result.card))
        save_sheets(partial, result.pictures(), result.shared)
        artifacts.write_manifest(partial, {"kind": _KIND, "n": result.n})


def _verify_cohort(inputs: list[Path], clinical: Path | None) -> Verification:
    if len(inputs) > 1 or clinical is not None:
        raise UsageError("a cohort directory is checked alone", inputs[0], "give it as the only -i, without --clinical")
    directory = inputs[0]
    check = check_cohort_directory(directory)
    n = 0 if check.table is None else len(check.table)
    shared = _find_shared(check.findings, check.slices)
    worst = _find_worst(check.findings, shared)
    return Verification("cohort", n, tuple(check.findings), card=_make_cohort_card(directory, check),
                        pictures=lambda: _load_pictures(directory, check, worst), shared=shared)


def _make_cohort_card(directory: Path, check: CohortCheck) -> dict[str, Any] | None:
    if check.table is None:
        return None
    kind = "synthetic" if check.kind == "synthetic" else "real"
    manifest, agreement = directory / artifacts.MANIFEST, directory / "agreement.json"
    provenance = describe_provenance(check.slices)
    if manifest.is_file():
        provenance["sha256 of manifest.json"] = artifacts.sha256_file(manifest)
    return make_card(CardSource(
        kind, check.table, check.slices, check.findings, provenance,
        artifacts.load_json(agreement) if agreement.is_file() and "agreement.json" in check.intact else None,
    ))  # fmt: skip


def describe_provenance(slices: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What decides the numbers: the Hounsfield ranges of the slices, versions."""
    told: dict[str, str] = {}
    for convention in sorted({get_convention(facts) for facts in slices}):
        ranges = schema.HU_CONVENTIONS.get(convention, {}).items()
        told[f"Hounsfield ranges (HU), {convention}"] = "; ".join(
            f"{name.replace('_', ' ')} {low} to {high}" for name, (low, high) in ranges)
    return told | find_versions(("numpy", "scipy", "pydicom", "python-gdcm", "nibabel"))


def _describe_images(n: int, check: ImagesCheck) -> Verification:
    card = None
    if check.table is not None:
        card = make_card(CardSource("real", check.table, check.slices, check.findings,
                                    describe_provenance(check.slices), n_inputs=n, n_with_row=check.n_with_row))
    findings = sorted(check.findings, key=lambda finding: check.numbers.get(finding.patient, 0))
    shared = _find_shared(findings, check.slices)
    worst = _find_worst(findings, shared)
    return Verification("images", n, tuple(findings), check.numbers, card, lambda: _open_overlays(check, worst), shared)


def _find_shared(findings: Sequence[Finding], slices: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Codes of the warnings that every patient has who could be read, where there are several."""
    everyone = {facts[schema.PATIENT_ID] for facts in slices}
    having: dict[str, set[str]] = {}
    for finding in findings:
        if finding.severity == "warning":
            having.setdefault(finding.code, set()).add(finding.patient)
    return tuple(sorted(code for code, patients in having.items() if len(everyone) > 1 and everyone <= patients))


def _find_worst(findings: Sequence[Finding], shared: Sequence[str]) -> dict[str, Finding]:
    """Patient -> finding to show on a picture: errors before warnings, the image's before the table's."""
    worst: dict[str, Finding] = {}
    for finding in findings:
        if finding.code not in shared and _rank(finding) > _rank(worst.get(finding.patient)):
            worst[finding.patient] = finding
    return worst


def _rank(finding: Finding | None) -> tuple[bool, bool, bool]:
    if finding is None:
        return False, False, False
    return True, finding.severity == "error", not finding.code.startswith("csv-")


def _make_picture(name: str, image: Image.Image | None, facts: Mapping[str, Any], worst: Finding | None) -> Picture:
    """A place on the sheet; the overlay's own legend is cut off."""
    if image is not None:
        image = crop_to_picture(image, (facts["height"], facts["width"]), (facts["row_mm"], facts["column_mm"]))
    return Picture(name, image, worst.severity if worst else None, worst.code if worst else "")


def _open_overlays(check: ImagesCheck, worst: Mapping[str, Finding]) -> Iterator[Picture]:
    """The overlay of every input, in the order given; none of those who could not be read."""
    facts_of = {facts[schema.PATIENT_ID]: facts for facts in check.slices}
    for patient, number in sorted(check.numbers.items(), key=lambda pair: pair[1]):
        overlay = check.overlays.get(patient)
        image = None if overlay is None else Image.open(io.BytesIO(overlay))
        yield _make_picture(f"input {number}", image, facts_of.get(patient, {}), worst.get(patient))


def _load_pictures(directory: Path, check: CohortCheck, worst: Mapping[str, Finding]) -> Iterator[Picture]:
    """The overlay of every row's slice, drawn where the cohort holds no intact one; none of those unreadable."""
    facts_of = {facts["row"]: facts for facts in check.slices}
    patients = [] if check.table is None else patients_of(check.table)
    for row, patient in track(enumerate(patients, start=1), "contact sheets", len(patients)):
        facts = facts_of.get(row, {})
        image = _load_overlay(directory, check, facts) if facts else None
        yield _make_picture(f"row {row}", image, facts, worst.get(patient))


def _load_overlay(directory: Path, check: CohortCheck, facts: Mapping[str, Any]) -> Image.Image:
    slice_id = facts[schema.SLICE_ID]
    name = f"overlays/{slice_id}.png"
    if name in check.intact:
        with Image.open(directory / name) as picture:
            picture.load()
        return picture
    image = load_slice(directory / "slices" / f"{slice_id}.npz")
    return draw_overlay(image, slice_id, convention=get_convention(facts))


def check_out(out: Path, inputs: list[Path]) -> None:
    """Refuse to write into what is checked, or over what is no earlier verification. Raises: UsageError."""
    output_paths.check_output_folder(out, _KIND, inputs)
