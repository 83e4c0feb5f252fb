"""DICOM objects that hold masks: segmentations (SEG) and structure sets (RTSTRUCT) among a patient's files."""

from collections.abc import Sequence

from pydicom.uid import RTStructureSetStorage, SegmentationStorage

from data_pipelines.findings import refusal
from data_pipelines.ingest.dicom import DicomStack
from data_pipelines.ingest.dicom_header import NotDicomError, load_elements, quiet_pydicom
from data_pipelines.ingest.dicom_seg import load_seg
from data_pipelines.ingest.files import InputFile
from data_pipelines.ingest.grid import Grid, Stack
from data_pipelines.ingest.rtstruct import load_rtstruct
from data_pipelines.ingest.structures import Structure

#: Label Map Segmentation Storage; pydicom 3.0 has no name for it.
LABEL_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"
_LOADERS = {SegmentationStorage: load_seg, LABEL_MAP_STORAGE: load_seg, RTStructureSetStorage: load_rtstruct}


@quiet_pydicom()
def load_dicom_masks(files: Sequence[InputFile], image: Grid, stack: Stack | None) -> dict[str, Structure]:
    """Structures of every SEG and RTSTRUCT among the files, by TotalSegmentator's names; empty where there is none.

    Args:
        files: of one patient; others are left out.
        image: the image's grid.
        stack: the image; its frame of reference is compared where it is DICOM.

    Raises: InputDataError for damaged objects, another grid or frame of reference, or a structure given twice.
    """
    objects = [(file, loader) for file in files if (loader := _LOADERS.get(_find_class(file))) is not None]
    frame = _find_frame(stack) if objects else ""
    found: dict[str, Structure] = {}
    for file, loader in objects:
        for name, structure in loader(file, image, frame):
            if name in found:
                raise refusal("mask-twice", file.where, "several masks of one structure", fact=name)
            found[name] = structure
    if objects and not found:
        raise refusal("mask-missing", objects[0][0].where, fact=f"{len(objects)} DICOM objects, no name that is known")
    return found


def _find_class(file: InputFile) -> str:
    """SOP class of a DICOM file; empty for any other file."""
    try:
        return str(load_elements(file, ["SOPClassUID"]).get("SOPClassUID") or "")
    except NotDicomError:
        return ""


def _find_frame(stack: Stack | None) -> str:
    """FrameOfReferenceUID of a DICOM series, to be compared and not kept; empty where there is none."""
    if not isinstance(stack, DicomStack):
        return ""
    return str(load_elements(stack.frames[0].file, ["FrameOfReferenceUID"]).get("FrameOfReferenceUID") or "")
