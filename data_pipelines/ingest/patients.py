"""Many inputs -> patients, in the order of their ids: images read in guarded processes, joined with the table."""

import contextlib
import io
import math
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError
from bonemet_jax.progress import track
from data_pipelines.bodycomp.areas import compute_areas_cm2, compute_indices
from data_pipelines.bodycomp.export import make_roi_zip
from data_pipelines.bodycomp.overlay import draw_overlay
from data_pipelines.clinical.consistency import INDEX_TOLERANCE
from data_pipelines.clinical.table import COLUMNS, ClinicalTable, Value
from data_pipelines.findings import Finding, find, finding_of, refusal
from data_pipelines.ingest.files import count_volume_bytes
from data_pipelines.ingest.grid import turn_back
from data_pipelines.ingest.inputs import Folders, Input, name_inputs
from data_pipelines.ingest.level import describe_level
from data_pipelines.ingest.source import Choice, IngestedSlice, read_source
from data_pipelines.ingest.totalsegmentator import segment_volume
from data_pipelines.ingest.worker import Limits, run_guarded

#: Codes of errors whose remedy is to choose another slice.
_OF_SLICE_CHOICE = ("level-unknown", "level-missing", "level-no-slice", "roi-other-slice")


@dataclass(frozen=True)
class Drawn:
    """What is drawn of a slice in the guarded process; empty unless asked for."""

    overlay: bytes = b""
    """PNG."""
    regions: bytes = b""
    """ImageJ ROI zip on the stored picture, a start for a reader's correction; empty where readers drew, or nothing."""


@dataclass(frozen=True)
class Patient:
    """A slice with its numbers."""

    given: Input
    source: IngestedSlice
    areas: dict[str, float]
    """Area column -> cm2, the mean of the readers; NaN: not segmented, or not wholly in view."""
    visible: dict[str, float]
    """Area column -> cm2 in view, of those that are not wholly in view."""
    readers: dict[str, dict[str, float]]
    """reader1, ... -> area column -> cm2 in view."""
    row: dict[str, Value]
    """Every clinical column, label and height; unknown is NaN or None."""
    findings: tuple[Finding, ...]
    drawn: Drawn
    convention: str = "paper"
    """Name of the Hounsfield ranges by which the areas were counted."""


@dataclass(frozen=True)
class Failure:
    """An input that could not be read."""

    given: Input
    error: InputDataError

    @property
    def finding(self) -> Finding:
        """The finding that the error carries."""
        return replace(finding_of(self.error), patient=self.given.patient_id)

    def __str__(self) -> str:
        """One line, without the path: it may tell who it is."""
        return f"{self.given.name}: {self.finding}; {self.error.mend}"


def read_patients(
    inputs: Sequence[Path],
    table: ClinicalTable | None = None,
    masks: Path | None = None,
    rois: Path | None = None,
    choice: Choice | None = None,
    convention: str = "paper",
    workers: int | None = None,
    seconds: float = Limits.seconds,
    memory_gib: float = Limits.memory_gib,
    titles: Mapping[str, str] | None = None,
) -> Generator[Patient | Failure]:
    """Yield every input's patient or failure, in the order of patient_id, whatever order the processes finish in.

    Args:
        inputs: a folder, zip or file a patient; its name is the patient_id.
        table: clinical rows, joined by patient_id.
        masks: of the one patient, or a folder holding <patient_id>/, <patient_id>.nii.gz, .nii, .dcm or .zip.
        rois: folder holding <reader>/<patient_id>.zip, .roi or folder of such; without <reader>/ for a single one.
            Readers are numbered in the order of their names: a reader is a person too.
        choice: which slice; the table's positions are used where it names none.
        convention: name of the Hounsfield ranges.
        workers: processes; None: one a core.
        seconds, memory_gib: limits of one patient, see worker.Limits.
        titles: patient_id -> title of the overlay; None: nothing is drawn.

    Raises: InputDataError for no or equal names of inputs, UsageError for no input or a flag out of range.
    """
    table, titles = table or ClinicalTable({}), titles or {}
    limits, ordered = Limits(seconds, memory_gib), sorted(name_inputs(inputs), key=lambda one: one.patient_id)
    folders = Folders(masks, rois)
    found = [_find_files(one, folders, choice or Choice(), table) for one in ordered]
    with tempfile.TemporaryDirectory(prefix="bonemet-") as folder:
        found = list(_segment(found, Path(folder)))
        good = [one for one in found if isinstance(one, Input)]
        tasks = [(one.path, one.masks, one.rois, one.choice, titles.get(one.patient_id, ""), convention)
                 for one in good]  # fmt: skip
        n_bytes = [sum(count_volume_bytes(path) for path in (one.path, one.masks) if path) for one in good]
        with contextlib.closing(run_guarded(read_one, tasks, workers, limits, n_bytes)) as outcomes:
            for one in track(found, "read images", len(found)) if len(found) > 1 else found:
                if isinstance(one, Failure):
                    yield one
                    continue
                outcome = next(outcomes)
                if isinstance(outcome, InputDataError):
                    yield Failure(one, _suit_to_many(outcome) if one.n > 1 else outcome)
                else:
                    yield join_row(one, *outcome, table.rows.get(one.patient_id, {}), convention)


def read_one(
    path: Path, masks: Path | None, rois: Mapping[str, Path], choice: Choice, title: str, convention: str
) -> tuple[IngestedSlice, Drawn]:
    """In the guarded process: the slice, and what is drawn of it where a title is given."""
    source = read_source(path, masks, choice, rois)
    if not title:
        return source, Drawn()
    to_stored = partial(turn_back, axes=source.axes)
    # The number keeps a correction from being laid on another slice of the series.
    number = source.index + 1 if source.n_slices > 1 else 0
    regions = b"" if source.readers else make_roi_zip(source.image, number, to_stored)
    return source, Drawn(_draw(source, title, convention), regions)


def _suit_to_many(error: InputDataError) -> InputDataError:
    """The error of one of many inputs: options apply to all of them, a row of the clinical table to one."""
    if error.code not in _OF_SLICE_CHOICE:
        return error
    mend = f"{error.mend}, or fill slice_z_mm in this patient's row of the clinical table"
    return InputDataError(error.what, error.where, mend, error.code, error.fact)


def _draw(source: IngestedSlice, title: str, convention: str) -> bytes:
    level = describe_level(source.level, source.level_source, [note.code for note in source.findings])
    title, buffer = f"{title}   {level}   z {source.z_mm:.1f} mm", io.BytesIO()
    picture = draw_overlay(source.image, title, source.incomplete, source.findings, convention)
    # The usual level 6 takes half of a patient's time and gives larger files on these pictures.
    picture.save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()


# --- Finding a patient's files ------------------------------------------------------------------------


def _find_files(one: Input, folders: Folders, choice: Choice, table: ClinicalTable) -> Input | Failure:
    for folder, code in ((folders.masks, "mask-missing"), (folders.rois, "roi-missing")):
        if folder is not None and not folder.exists():
            return Failure(one, refusal(code, folder, fact="no such file or folder"))
    try:
        (masks, of_masks), (rois, of_rois) = folders.find_masks(one), folders.find_rois(one)
    except InputDataError as error:
        return Failure(one, error)
    own_choice = _choose(choice, one.patient_id, table)
    return replace(one, masks=masks, rois=rois, choice=own_choice, findings=(*of_masks, *of_rois))


def _segment(found: list[Input | Failure], folder: Path) -> Iterator[Input | Failure]:
    """Masks by TotalSegmentator, where they are asked for and not given: minutes each, so not in the guarded time."""
    wanted = {one.number for one in found if isinstance(one, Input) and one.choice.segment == "totalsegmentator"
              and one.masks is None}  # fmt: skip
    if not wanted:
        yield from found
        return
    for one in track(found, "TotalSegmentator", len(found)):
        if isinstance(one, Failure) or one.number not in wanted:
            yield one
            continue
        try:
            yield replace(one, masks=segment_volume(one.path, folder / str(one.number), one.choice.level))
        except InputDataError as error:
            yield Failure(one, error)


def _choose(choice: Choice, patient_id: str, table: ClinicalTable) -> Choice:
    """The table says which slice where the command does not."""
    if choice.slice_z_mm is not None or choice.slice_index is not None:
        return choice
    return replace(choice, slice_z_mm=table.slice_z_mm.get(patient_id), slice_index=table.slice_index.get(patient_id))


# --- Joining ------------------------------------------------------------------------------------------


def join_row(
    one: Input, source: IngestedSlice, drawn: Drawn, given: dict[str, Value], convention: str
) -> Patient:
    """Join slice and table row. An area measured here wins over the table's, and so does its index, unknown or not."""
    seen, readers = _measure(source, convention)
    visible = {name: area for name, area in seen.items() if name in source.incomplete and not math.isnan(area)}
    areas = {name: math.nan if name in visible else area for name, area in seen.items()}
    row: dict[str, Value] = {name: None if c.kind == "category" else math.nan for name, c in COLUMNS.items()} | given
    height_m = row[schema.HEIGHT]
    indices = compute_indices(areas, float(height_m if isinstance(height_m, int | float) else math.nan))
    # An area measured here, or seen in part, puts the table's value and index aside.
    ours = {name: areas[name] for name in schema.AREA_CODES if is_known(areas[name]) or name in visible}
    ours |= {index: indices[index] for index, area in schema.INDEX_OF_AREA.items() if area in ours}
    findings = (*_describe_masks(one, source), *source.findings, *_compare(given, ours))
    return Patient(one, source, areas, visible, readers, row | ours, findings, drawn, convention)


def _describe_masks(one: Input, source: IngestedSlice) -> Iterator[Finding]:
    """What was found before reading; where the input has no entry in --masks, the masks that were used instead."""
    for note in one.findings:
        if note.code != "cohort-no-masks" or not source.has_masks:
            yield note
        else:
            yield find("cohort-masks-made" if one.masks is not None else "cohort-masks-found", where=note.where)


def _measure(source: IngestedSlice, convention: str) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Areas in view: the readers' mean, over those who drew it; and each reader's own, of what that reader drew."""
    readers = {
        name: {area: cm2 for area, cm2 in compute_areas_cm2(image, convention).items() if area in source.drawn[name]}
        for name, image in source.readers.items()
    }
    areas = compute_areas_cm2(source.image, convention)
    for name in areas:
        drawn = [own[name] for own in readers.values() if name in own and is_known(own[name])]
        areas[name] = sum(drawn) / len(drawn) if drawn else areas[name]
    return areas, readers


def _compare(given: Mapping[str, Value], ours: Mapping[str, float]) -> Iterator[Finding]:
    """What of the table is put aside, and an index of it that is not ours."""
    replaced = [name for name, value in ours.items() if is_known(given.get(name)) and is_known(value)]
    lost = [name for name, value in ours.items() if is_known(given.get(name)) and not is_known(value)]
    cut = [name for name in lost if not is_known(ours[schema.INDEX_OF_AREA.get(name, name)])]
    if replaced:
        yield find("cohort-replaced", f"measured here, not taken from the table: {', '.join(replaced)}")
    if cut:
        yield find("cohort-cut", f"not wholly in view here: the table's {', '.join(cut)} left out")
    if set(lost) - set(cut):
        names = [name for name in lost if name not in cut]
        yield find("cohort-index-lost", f"area measured here but no height: the table's {', '.join(names)} left out")
    for name in replaced:
        theirs, own = float(given[name] or 0), ours[name]
        if name in schema.INDEX_OF_AREA and abs(theirs - own) > INDEX_TOLERANCE * own:
            yield find("cohort-index-differs", f"the table's {name} is not the area measured here / height^2",
                       f"{theirs:.4g}, measured {own:.4g}")


def is_known(value: Value) -> bool:
    """True for a number."""
    return isinstance(value, float | int) and not math.isnan(value)
