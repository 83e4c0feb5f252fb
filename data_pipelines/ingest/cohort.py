"""Many patients -> a cohort directory (`ingest`) or a table of areas (`measure`). Shell: writes what was read."""

import csv
import hashlib
import io
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from bonemet_jax import artifacts, output_paths, schema
from bonemet_jax.errors import CorruptFileError
from bonemet_jax.patient_ids import MAX_PAIRS
from bonemet_jax.progress import say
from data_pipelines.canonical import hash_pixels, save_slice
from data_pipelines.check_codes import VERDICTS
from data_pipelines.clinical.table import COLUMNS, ClinicalTable, load_clinical
from data_pipelines.findings import Finding, refusal
from data_pipelines.ingest.match import compare_readers, join_table
from data_pipelines.ingest.patients import Failure, Patient, is_known, name_inputs, read_patients
from data_pipelines.ingest.readers import Agreement

SALT, SALT_BYTES = "salt", 16
FLAGS = "quality_flags"
#: Number of the rules by which images are accepted, raised when they become stricter: 1 up to version 0.1.0; 2 reads
#: every compressed file to its end, checks geometry and identifies the numbering of label maps.
INTAKE_RULES = 2
_KIND_COHORT, _KIND_AREAS = "real", "areas"
#: Up to so many inputs every warning is told of each; of more, how many inputs it concerns.
_TOLD_ONE_BY_ONE = 10


def ingest(
    inputs: Sequence[Path], out: Path, *, clinical: Path | None = None, missing: tuple[str, ...] = (),
    earlier: Path | None = None, **reading: Any,
) -> dict[str, Any]:
    """Write the cohort directory of docs/contracts.md; one input path is one patient.

    Args:
        inputs: a folder, zip or file a patient; its name is the patient_id.
        out: directory to write; an earlier cohort there is replaced, its salt kept.
        clinical: CSV joined by patient_id.
        missing: codes that mean unknown in that table.
        earlier: cohort directory whose salt, and so the slices' names, are kept; None: that in `out`, if any.
        reading: masks, rois, choice, convention, workers, seconds, memory_gib: see read_patients.

    Returns: see Batch.finish. A patient who cannot be read stops none of the others.

    Raises: InputDataError when nobody could be read, UsageError; nothing is written then.
    """
    _check_out(out, _KIND_COHORT, [*inputs, clinical, reading.get("masks"), reading.get("rois")])
    batch = Batch(inputs, _load_table(clinical, missing), clinical, reading.get("rois"))
    salt = _load_salt((earlier or out) / SALT)
    titles = {one.patient_id: make_slice_id(salt, one.patient_id) for one in batch.inputs}
    with artifacts.atomic_dir(out) as partial:
        rows, facts = [], {}
        for patient in batch.sift(_refuse_copies(read_patients(inputs, batch.table, titles=titles, **reading))):
            slice_id = titles[patient.given.patient_id]
            save_slice(partial / "slices" / f"{slice_id}.npz", patient.source.image)
            _save_drawn(partial, slice_id, patient)
            facts[slice_id] = make_facts(patient)
            rows.append({schema.PATIENT_ID: patient.given.patient_id, schema.SLICE_ID: slice_id, **patient.row,
                         FLAGS: ";".join(facts[slice_id]["flags"])})  # fmt: skip
            batch.agreement.add(slice_id, patient)
        summary = batch.finish([facts[row[schema.SLICE_ID]] for row in rows])
        artifacts.save_table(partial / "cohort.parquet", _make_frame(rows))
        artifacts.write_json(partial / "ingest.json", facts)
        batch.agreement.save(partial)
        artifacts.write_manifest(partial, {"kind": _KIND_COHORT, "n": len(rows), "flags": _count_flags(facts),
                                           "intake_rules": INTAKE_RULES})
        _write_salt(partial / SALT, salt)
    return summary


def measure(
    inputs: Sequence[Path], out: Path, *, clinical: Path | None = None, missing: tuple[str, ...] = (), **reading: Any
) -> dict[str, Any]:
    """Write areas.csv, areas.json and overlays/*.png; arguments, result and errors as of ingest."""
    _check_out(out, _KIND_AREAS, [*inputs, clinical, reading.get("masks"), reading.get("rois")])
    batch = Batch(inputs, _load_table(clinical, missing), clinical, reading.get("rois"))
    # A number, not the id: file names and pictures must not tell who it is.
    titles = {one.patient_id: f"patient {one.number}" for one in batch.inputs}
    with artifacts.atomic_dir(out) as partial:
        rows = []
        for patient in batch.sift(read_patients(inputs, batch.table, titles=titles, **reading)):
            number = f"{patient.given.number:04d}"
            files = _save_drawn(partial, number, patient)
            rows.append({schema.PATIENT_ID: patient.given.patient_id, **files, **make_facts(patient)})
            batch.agreement.add(number, patient)
        summary = batch.finish(rows)
        artifacts.write_text(partial / "areas.csv", make_csv(rows))
        artifacts.write_json(partial / "areas.json", summary)
        batch.agreement.save(partial)
        artifacts.write_manifest(partial, {"kind": _KIND_AREAS, "n": len(rows)})
    return summary


def _refuse_copies(outcomes: Iterable[Patient | Failure]) -> Iterator[Patient | Failure]:
    """One image under two ids would be learned from and tested on: the second is refused."""
    first: dict[str, str] = {}  # hash -> name: patients are written and let go
    for outcome in outcomes:
        if isinstance(outcome, Patient):
            twin = first.setdefault(hash_pixels(outcome.source.image), outcome.given.name)
            if twin != outcome.given.name:
                fact = f"equal to {twin} on every pixel"
                outcome = Failure(outcome.given, refusal("cohort-same-image", outcome.given.path, fact=fact))
        yield outcome


def _count_flags(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Slices of each quality flag."""
    return dict(Counter(flag for told in facts.values() for flag in told["flags"]))


def _save_drawn(out: Path, name: str, patient: Patient) -> dict[str, str | None]:
    """Write a patient's overlay, and the regions: as a start for a reader, or each reader's own. Returns the names."""
    overlay, regions = f"overlays/{name}.png", f"regions/{name}.zip"
    artifacts.write_bytes(out / overlay, patient.drawn.overlay)
    if patient.drawn.regions:
        artifacts.write_bytes(out / regions, patient.drawn.regions)
    if patient.source.readers:
        own = {reader: image.tissue for reader, image in patient.source.readers.items()}
        artifacts.save_npz(out / "readers" / f"{name}.npz", own)
    return {"overlay": overlay, "regions": regions if patient.drawn.regions else None}


def make_slice_id(salt: bytes, patient_id: str) -> str:
    """Name of a patient's slice: 16 hex digits of a salted hash, so that file names tell no id."""
    return hashlib.sha256(salt + patient_id.encode()).hexdigest()[:16]


class Batch:
    """What goes on beside the reading: failures and warnings are kept and told at the end."""

    def __init__(
        self, inputs: Sequence[Path], table: ClinicalTable, clinical: Path | None, rois: Path | None = None
    ) -> None:
        self.inputs = name_inputs(inputs)
        self.agreement = Agreement()
        self._failures: list[Failure] = []
        self._warnings: list[tuple[str, Finding]] = []
        # An error of an input's row is that input's failure; of any other row it is told.
        numbers = {one.patient_id: one.number for one in self.inputs}
        self.table, of_names = join_table(numbers, table, clinical)
        own = self.table.refused & set(numbers)
        self._row_errors = {error.patient: error for error in reversed(self.table.errors) if error.patient in own}
        self._of_table = [finding for finding in self.table.findings if finding.patient not in own]
        self._of_table += [*of_names, *compare_readers(rois)]

    def sift(self, outcomes: Iterable[Patient | Failure]) -> Iterator[Patient]:
        """Yield the patients; keep the failures, and every patient's warnings."""
        for outcome in outcomes:
            error = self._row_errors.get(outcome.given.patient_id)
            if isinstance(outcome, Patient) and error is not None:
                outcome = Failure(outcome.given, refusal(error.code, error.where, error.what, error.fact, error.mend))
            if isinstance(outcome, Failure):
                self._failures.append(outcome)
                # What was found before reading may be why it failed, as no masks of its name.
                self._warnings += [(outcome.given.name, note) for note in outcome.given.findings]
            else:
                self._warnings += [(outcome.given.name, finding) for finding in outcome.findings]
                yield outcome

    def finish(self, facts: list[dict[str, Any]]) -> dict[str, Any]:
        """Tell warnings, then failures, one line each.

        Returns: {"patients": facts, "failed": [{input, of, code, what, fact, mend}]}, plain data.

        Raises: InputDataError when there are failures only.
        """
        failures = sorted(self._failures, key=lambda failure: failure.given.number)
        if not facts:
            for line in (*self._list_names(), *self._list_inputs()):
                say(f"warning: {line}")
            self._raise(failures)
        for line in self._tell_warnings():
            say(f"warning: {line}")
        for failure in failures:
            say(f"failed: {failure}")
        failed = [
            {"input": failure.given.number, "of": failure.given.n, "code": failure.finding.code,
             "what": failure.finding.what, "fact": failure.finding.fact, "mend": failure.error.mend}
            for failure in failures
        ]  # fmt: skip
        return {"patients": facts, "failed": failed}

    def _raise(self, failures: list[Failure]) -> None:
        first = failures[0]
        if len(failures) == 1:
            raise first.error
        raise refusal("cohort-none-read", first.given.path, f"none of {len(failures)} inputs could be read; the first: "
                      f"{first.finding}")

    def _tell_warnings(self) -> Iterator[str]:
        yield from (str(finding) for finding in self._of_table if not finding.ids)
        yield from self._list_names()
        yield from self._list_inputs()

    def _list_inputs(self) -> Iterator[str]:
        """Lines about single inputs; of many inputs one line for each code."""
        warnings = [(name, finding) for name, finding in self._warnings if not finding.ids]
        if len(self.inputs) <= _TOLD_ONE_BY_ONE:
            yield from (f"{name}: {finding}" for name, finding in warnings)
            return
        counts = Counter(code for _, code in {(name, finding.code) for name, finding in warnings})
        for code, n in sorted(counts.items()):
            yield f"{n} of {len(self.inputs)} inputs: {VERDICTS[code].meaning} ({code})"

    def _list_names(self) -> Iterator[str]:
        """Lines that name ids, which the user must compare, with the remedy: MAX_PAIRS of a code, the rest counted."""
        by_code: dict[str, list[str]] = {}
        for name, finding in [("", finding) for finding in self._of_table] + self._warnings:
            if finding.ids:
                place = name or PurePath(finding.where).name
                place = f"{place}: " if place else ""
                by_code.setdefault(finding.code, []).append(f"{place}{finding.line}; {finding.mend}")
        for code, lines in by_code.items():
            yield from lines[:MAX_PAIRS]
            if len(lines) > MAX_PAIRS:
                yield f"{len(lines) - MAX_PAIRS} more of this kind ({code}): `bonemet verify -o DIR` lists them all"


def _load_table(clinical: Path | None, missing: tuple[str, ...]) -> ClinicalTable:
    if clinical is None:
        return ClinicalTable({})
    table = load_clinical(clinical, missing)
    table.check(rows=False)
    return table


def make_facts(patient: Patient) -> dict[str, Any]:
    """What is told about a slice, NaN as None."""
    source = patient.source
    row_mm, column_mm = source.image.spacing_mm
    numbers: dict[str, Any] = dict(patient.areas)
    numbers |= {name.replace("_cm2", "_visible_cm2"): area for name, area in patient.visible.items()}
    numbers |= {index: patient.row[index] for index in schema.INDEX_OF_AREA}
    numbers |= {f"{name}_{reader}": area for reader, own in patient.readers.items() for name, area in own.items()}
    origins = {name.replace("_cm2", "_source"): source.origins.get(name) for name in schema.AREA_CODES}
    return {
        "kind": source.kind, "level": source.level, "level_source": source.level_source,
        "label_numbering": source.label_numbering or None, "z_mm": source.z_mm, "slice_index": source.index,
        "n_slices": source.n_slices, "row_mm": row_mm, "column_mm": column_mm, "hu_convention": patient.convention,
        "trunk_cm2": float(source.image.body.sum() * source.image.pixel_cm2),
        **{name: value if is_known(value) else None for name, value in sorted(numbers.items())}, **origins,
        "flags": sorted({finding.code for finding in patient.findings}),
        "warnings": list(map(str, patient.findings)),
    }  # fmt: skip


def _make_frame(rows: list[dict[str, Any]]) -> Any:
    """Cohort table in the schema's order: categories and flags text, every other column float64."""
    import pandas as pd

    order = [schema.PATIENT_ID, schema.SLICE_ID, *schema.clinical_names(),
             schema.HEIGHT, schema.LABEL, schema.TIME, schema.EVENT, FLAGS]  # fmt: skip
    frame = pd.DataFrame(rows, columns=order)
    text = [name for name, column in COLUMNS.items() if column.kind == "category"]
    numbers = [name for name in COLUMNS if name not in text]
    return frame.astype(dict.fromkeys(numbers, "float64") | dict.fromkeys(text, "object"))


def make_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table for spreadsheets: columns in the order they come up, lists joined, nothing that runs as a formula."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    names = {"flags": FLAGS}
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(make_cell(names.get(name, name)) for name in columns)
    writer.writerows([make_cell(row.get(name)) for name in columns] for row in rows)
    return text.getvalue()


def make_cell(value: Any) -> Any:
    """A cell that a spreadsheet shows and does not run.

    Text that begins like a formula gets an apostrophe; what cannot be seen (line ends, other controls) is spelled out.
    """
    if isinstance(value, list):
        value = ";".join(value) if all(" " not in part for part in value) else "; ".join(value)
    if isinstance(value, str):
        value = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)
        return f"'{value}" if value.lstrip()[:1] in tuple("=+-@") else value
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    return value


def _write_salt(path: Path, salt: bytes) -> None:
    """Not in the manifest: a cohort handed on without its salt is whole, and its ids stay secret."""
    artifacts.write_bytes(path, salt)
    path.chmod(0o600)


def _check_out(out: Path, kind: str, inputs: Sequence[Path | None]) -> None:
    if output_paths.check_output_folder(out, kind, inputs, beside=(SALT,)):
        say(f"the earlier output in {out} will be replaced")


def _load_salt(path: Path) -> bytes:
    """The cohort's own, or a new one. Raises: CorruptFileError for one that hides nothing."""
    if not path.is_file():
        return os.urandom(SALT_BYTES)
    salt = path.read_bytes()
    if len(salt) != SALT_BYTES:
        raise CorruptFileError(f"salt of {len(salt)} bytes, {SALT_BYTES} wanted", path, "give another -o")
    return salt
