"""A patient's files: inputs numbered and named, with their entries of --masks and --rois. Nothing is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bonemet_jax.errors import UsageError
from bonemet_jax.patient_ids import quote
from data_pipelines.findings import Finding, find, refusal
from data_pipelines.ingest.match import Entry, EntryFolder
from data_pipelines.ingest.nifti import SUFFIXES
from data_pipelines.ingest.roi import parse_name
from data_pipelines.ingest.source import Choice, make_patient_id

ROI_SUFFIXES = (".zip", ".roi")
MASK_SUFFIXES = (*SUFFIXES, ".dcm", ".zip")


@dataclass(frozen=True)
class Input:
    """One patient's files, found but not read."""

    number: int
    """In the order given, from 1. Logs and file names use it: they must not reveal who it is."""
    n: int
    """Inputs in all."""
    patient_id: str
    path: Path
    masks: Path | None = None
    rois: Mapping[str, Path] = field(default_factory=dict)
    """reader1, reader2, ... -> file or folder of regions."""
    choice: Choice = field(default_factory=Choice)
    findings: tuple[Finding, ...] = ()
    """What was found before reading."""

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"input {self.number} of {self.n}"


def name_inputs(inputs: Sequence[Path]) -> list[Input]:
    """Number and name every input, in the order given.

    Raises: UsageError for none; InputDataError for a path without a name, or two of one name.
    """
    if not inputs:
        raise UsageError("no input", "-i", "give one folder a patient")
    named: dict[str, Input] = {}
    for number, path in enumerate(map(Path, inputs), start=1):
        patient_id = _as_text(make_patient_id(path))
        if not patient_id.strip():
            raise refusal("cohort-no-id", path)
        if patient_id in named:
            twin = named[patient_id]
            raise refusal("cohort-same-name", "", f"inputs {twin.number} and {number} have the same name",
                          f"{twin.path} and {path}")
        named[patient_id] = Input(number, len(inputs), patient_id, path)
    return list(named.values())


def _as_text(name: str) -> str:
    """A file name that is no UTF-8 holds what no table can: those bytes are spelled out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class Folders:
    """The folders of --masks and --rois, each listed once."""

    def __init__(self, masks: Path | None, rois: Path | None) -> None:
        self.masks, self.rois = masks, rois
        self._masks = EntryFolder(masks, MASK_SUFFIXES) if masks is not None else None
        self._rois = EntryFolder(rois, ROI_SUFFIXES) if rois is not None else None
        folders = sorted(f for f in rois.iterdir() if f.is_dir()) if rois is not None and rois.is_dir() else []
        self._readers = {f"reader{n}": EntryFolder(f, ROI_SUFFIXES) for n, f in enumerate(folders, start=1)}

    def find_masks(self, one: Input) -> tuple[Path | None, list[Finding]]:
        """The input's own masks; of a single input without an entry of its name those of find_only_masks.

        Raises: InputDataError for several entries.
        """
        if self._masks is None or self.masks is None:
            return None, []
        entry = self._masks.find(make_patient_id(one.path))
        _check_single(entry, "mask-twice", self.masks)
        notes = _report_names(entry, "cohort-masks-alike", self.masks)
        own = entry.path
        if own is None and one.n == 1:
            own = find_only_masks(self.masks)
            if own is not None and own != self.masks:
                own, more = self._judge_other(own, entry, one)
                notes += more
        if own is None:
            notes.append(find("cohort-no-masks", where=self.masks, ids=_name_alone(one)))
        return own, notes

    def _judge_other(self, folder: Path, entry: Entry, one: Input) -> tuple[Path | None, list[Finding]]:
        """The only folder in --masks, with a warning; none where its name was found to be only similar."""
        if entry.alike or self.masks is None:
            return None, []
        ids = f"{_name_alone(one)} uses {quote(folder.relative_to(self.masks).as_posix())}"
        return folder, [find("cohort-masks-other", where=self.masks, ids=ids)]

    def find_rois(self, one: Input) -> tuple[dict[str, Path], list[Finding]]:
        """Reader -> the input's regions. Raises: InputDataError for several entries of one reader."""
        if self._rois is None or self.rois is None:
            return {}, []
        name = make_patient_id(one.path)
        own = self._rois.find(name)
        _check_single(own, "roi-twice", self.rois)
        if own.path is not None:
            return {"reader1": own.path}, _report_names(own, "cohort-rois-alike", self.rois)
        entries = {reader: folder.find(name) for reader, folder in self._readers.items()}
        for entry in entries.values():
            _check_single(entry, "roi-twice", self.rois)
        notes = [note for entry in (own, *entries.values())
                 for note in _report_names(entry, "cohort-rois-alike", self.rois)]
        readers = {reader: entry.path for reader, entry in entries.items() if entry.path is not None}
        if not readers and one.n == 1:
            readers = _find_loose_rois(self.rois)
        if not readers:
            notes.append(find("cohort-no-rois", where=self.rois, ids=_name_alone(one)))
        return readers, notes


def find_only_masks(folder: Path) -> Path | None:
    """The masks of a single input without an entry: a file, or the first folder with mask files down single subfolders.

    None where several subfolders may be several patients.
    """
    while folder.is_dir():
        entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
        folders = [entry for entry in entries if entry.is_dir()]
        if not folders or any(_may_be_mask(entry) for entry in entries):
            return folder
        if len(folders) > 1:
            return None
        folder = folders[0]
    return folder


def _may_be_mask(path: Path) -> bool:
    """Whether a file is a mask by its ending; DICOM files may have none, or end in a number."""
    return path.is_file() and (path.name.lower().endswith(MASK_SUFFIXES) or not path.suffix[1:].isalpha())


def _name_alone(one: Input) -> str:
    """The name that an entry must have, of an input that is the only one; the lines of many inputs are counted."""
    return f"input {quote(one.patient_id)}" if one.n == 1 else ""


def _check_single(entry: Entry, code: str, where: Path | None) -> None:
    if entry.twice:
        raise refusal(code, where or "", fact=entry.twice)


def _report_names(entry: Entry, code: str, where: Path | None) -> list[Finding]:
    """Findings on an entry whose name is not the input's, letter by letter."""
    if entry.composed:
        return [find("cohort-id-composed", where=where or "", ids=entry.composed)]
    return [find(code, where=where or "", ids=entry.alike)] if entry.alike else []


def _find_loose_rois(rois: Path) -> dict[str, Path]:
    """Regions that are a single patient's: the zip itself, or a folder of regions named for tissues."""
    loose = list(rois.glob("*.roi"))
    is_own = rois.is_file() or (bool(loose) and all(parse_name(f.stem) for f in loose))
    return {"reader1": rois} if is_own else {}
