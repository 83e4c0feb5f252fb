"""Parts of DICOM objects that hold masks: items of sequences, numbers, frames of reference, slices of the image."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from data_pipelines.findings import refusal
from data_pipelines.ingest.dicom_header import get_value
from data_pipelines.ingest.files import InputFile
from data_pipelines.ingest.grid import TOLERANCE_PX, Grid


def get_items(dataset: Dataset | None, name: str, file: InputFile) -> Sequence[Dataset]:
    """Items of a sequence; empty where it is absent. Raises: InputDataError."""
    value = get_value(dataset, name, file)
    return list(value) if isinstance(value, Items) else []


def get_numbers(dataset: Dataset | None, name: str, n: int | None, file: InputFile) -> Float64[np.ndarray, " number"]:
    """Finite numbers of an element, n of them where n is given. Raises: InputDataError."""
    value = get_value(dataset, name, file)
    try:
        numbers = np.array([] if value is None else value, np.float64).ravel()
    except (ValueError, TypeError, OverflowError) as error:
        raise refusal("dicom-value", file.where, fact=f"{name} holds no numbers") from error
    if not np.isfinite(numbers).all() or (n is not None and len(numbers) != n):
        raise refusal("dicom-value", file.where, fact=f"{name} of {len(numbers)} numbers")
    return numbers


def get_whole(dataset: Dataset | None, name: str, file: InputFile) -> int:
    """One whole number from 0. Raises: InputDataError."""
    number = float(get_numbers(dataset, name, 1, file)[0])
    if number != int(number) or not 0 <= number < 2**31:
        raise refusal("dicom-value", file.where, fact=f"{name} is no whole number from 0")
    return int(number)


def check_frame_of_reference(theirs: object, ours: str, file: InputFile) -> None:
    """Raise InputDataError for a mask drawn in another coordinate system; nothing where one of the two is not given."""
    if ours and theirs and str(theirs) != ours:
        raise refusal("mask-frame", file.where, fact="FrameOfReferenceUID differs")


def find_slice_of(z_mm: float, image: Grid, file: InputFile) -> int:
    """Number of the image's slice at a position, to a tenth of a slice. Raises: InputDataError for no such slice."""
    z = np.array(image.z_mm)
    k = int(np.argmin(np.abs(z - z_mm)))
    limit_mm = TOLERANCE_PX * (float(np.diff(z).min()) if len(z) > 1 else 1.0)
    off_mm = abs(float(z[k]) - z_mm)
    if not off_mm <= limit_mm:
        raise refusal("mask-slices", file.where, fact=f"{off_mm:.3g} mm, at most {limit_mm:.2g}")
    return k
