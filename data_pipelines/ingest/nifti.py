"""NIfTI volumes in the anatomical order of Grid, read slice by slice: a volume is never in memory as a whole."""

import contextlib
import gzip
import io
import logging
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO, Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from jaxtyping import Float64, Int16, Shaped

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError
from data_pipelines.findings import Finding, find, refusal
from data_pipelines.ingest.files import InputFile
from data_pipelines.ingest.grid import UPRIGHT, Axes, Grid

SUFFIXES = (".nii.gz", ".nii")
#: Endings of what lies beside a volume and is no image.
NOTES = (".txt", ".json", ".csv", ".md")
#: Voxels of one file, unpacked: bytes. A CT of 512 x 512 x 2000 voxels in 16 bit has 1 GiB.
MAX_VOXEL_BYTES = 2 << 30
#: Bytes of a header's extension that are looked at, and how it names a label.
MAX_EXTENSION_BYTES = 1 << 20
_LABEL_NAME = re.compile(r'<Label\s[^<>]{0,200}?Key="(\d{1,5})"[^<>]{0,200}><!\[CDATA\[([\w ]{1,64})\]\]>')
#: Pixel and slice spacings of CT lie well inside, mm.
SPACING_MM = (0.05, 20.0)
#: Up to this angle a volume counts as straight, and up to that it is measured with a warning, degrees.
STRAIGHT_DEG, MAX_OBLIQUE_DEG = 0.6, 5.0
#: The standard's code of a unit of length -> its name and mm.
_UNITS = {0: ("unknown", 1.0), 1: ("m", 1000.0), 2: ("mm", 1.0), 3: ("um", 0.001)}
# nibabel tells on standard error what it mends in a header, and quotes it.
logging.getLogger("nibabel.global").disabled = True
_NIFTI_2 = (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")


@dataclass(frozen=True)
class NiftiStack:
    """A CT volume. Values are rescaled by the file's own slope and intercept."""

    grid: Grid
    file: InputFile
    findings: tuple[Finding, ...] = ()
    tilt_deg: float = 0.0
    is_hu: bool = True
    holds_fat: bool = True
    kind: str = "nifti"
    axes: Axes = UPRIGHT
    """NIfTI has no display order: regions are drawn front up, the patient's right on the left."""
    is_mask: bool = False
    """Values are labels: a slope that is not a number means that they are not scaled."""

    def load_hu(self, k: int) -> tuple[Int16[np.ndarray, "height width"], tuple[Finding, ...]]:
        """Slice k in Hounsfield units, and warnings.

        Raises: InputDataError for values that are not finite.
        """
        values = self.load_slice(k).astype(np.float64)
        n_bad = int((~np.isfinite(values)).sum())
        if n_bad:
            raise refusal("nifti-not-finite", self.file.where, fact=f"{n_bad} of {values.size} pixels of slice {k}")
        return np.clip(np.rint(values), schema.HU_PADDING, np.iinfo(np.int16).max).astype(np.int16), ()

    def load_slice(self, k: int) -> Shaped[np.ndarray, "height width"]:
        """Values of slice k as they are. Raises: InputDataError for a damaged file."""
        with _open(self.file, self.is_mask) as image:
            axis, is_flipped, n = _slice_axis(image)
            return _cut(image, axis, n - 1 - k if is_flipped else k, self.file)

    def iter_slices(self) -> Iterator[tuple[int, Shaped[np.ndarray, "height width"]]]:
        """Every slice with its number, in one pass over the file; in the order of the file.

        Raises: InputDataError for a damaged file.
        """
        with _open(self.file, self.is_mask) as image:
            axis, is_flipped, n = _slice_axis(image)
            # Where every slice is spread over the whole file, reading them singly would read it n times.
            source = image if axis == 2 else _load_whole(image, self.file)
            for stored in range(n):
                yield n - 1 - stored if is_flipped else stored, _cut(source, axis, stored, self.file)


def find_nifti(files: Sequence[InputFile]) -> InputFile | None:
    """The CT volume meant: ct.nii.gz or ct.nii, else the only volume outside a folder `masks`; None when there is none.

    Beside a volume of another name only notes are suffered: among other files it may be derived from a DICOM series.

    Raises: InputDataError when the files are several volumes and none is called ct.
    """
    volumes = [f for f in files if f.name.lower().endswith(SUFFIXES)]
    named = [f for f in volumes if f.name.lower() in ("ct.nii.gz", "ct.nii")]
    images = named or [f for f in volumes if PurePath(f.where.replace(":", "/")).parent.name != "masks"]
    is_alone = all(f.name.lower().endswith((*SUFFIXES, *NOTES)) for f in files)
    if len(images) > 1 and is_alone:
        raise refusal("nifti-several", images[0].where, fact=f"{len(images)} volumes")
    return images[0] if len(images) == 1 and (named or is_alone) else None


def load_nifti(file: InputFile, *, is_mask: bool = False) -> NiftiStack:
    """Read a volume's header; voxels are read slice by slice later.

    Raises: InputDataError for whatever is no straight greyscale volume with a place in the patient.
    """
    with _open(file, is_mask) as image:
        affine, findings = _load_affine(image, file)
        canonical, shape = _make_canonical(affine, image.shape)
    tilt_deg, more = _judge_angles(canonical, file)
    return NiftiStack(_make_grid(canonical, shape), file, (*findings, *more), tilt_deg, is_mask=is_mask)


def load_label_names(file: InputFile) -> dict[int, str]:
    """Names that the header's extension (the LabelTable of a CaretExtension, as TotalSegmentator writes) gives labels.

    Raises: InputDataError for a damaged file.
    """
    with _open(file, is_mask=True) as image:
        contents = [extension.content for extension in image.header.extensions]
    text = "".join(one.decode("utf-8", "replace") for one in contents if 0 < len(one) <= MAX_EXTENSION_BYTES)
    return {int(key): name for key, name in _LABEL_NAME.findall(text)}


@contextlib.contextmanager
def _open(file: InputFile, is_mask: bool = False) -> Iterator[Any]:
    """The image, its voxels still in the file. Refused before memory is taken where the header tells."""
    with contextlib.ExitStack() as streams:
        try:
            packed = streams.enter_context(file.open())
            is_packed = packed.read(2) == b"\x1f\x8b"
            packed.seek(0)
            stream = cast(Any, streams.enter_context(gzip.GzipFile(fileobj=packed)) if is_packed else packed)
            magic = stream.read(4)
            stream.seek(0)
            kind = nib.Nifti2Image if magic in _NIFTI_2 else nib.Nifti1Image
            header = kind.header_class.from_fileobj(stream)
            stream.seek(0)
            image = kind.from_stream(stream)
        except Exception as error:  # nibabel raises many kinds for a damaged file
            raise _damaged(file, error) from error
        if not is_mask:  # nibabel takes labels whose slope is no number, or 0, as they are stored
            _check_scaling(header, file)
        _check_voxels(image, file, is_packed)
        if is_packed:
            _check_whole(image, stream, packed, file)
        yield image


def _check_scaling(header: Any, file: InputFile) -> None:
    """Raise for a slope that says nothing; 0 means unscaled values. nibabel takes any odd one for that."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if not (math.isfinite(slope) and math.isfinite(inter)) or (slope == 0 and inter != 0):
        raise refusal("nifti-scaling", file.where, fact=f"scl_slope {slope:g}, scl_inter {inter:g}")


def _check_voxels(image: Any, file: InputFile, is_packed: bool) -> None:
    """Raise for voxels that are no greyscale volume, or more than there can be."""
    header, shape = image.header, image.shape
    if len(shape) < 3 or math.prod(shape[3:]) != 1:
        raise refusal("nifti-not-3d", file.where, fact=f"dim {_by(shape)}")
    if min(shape) < 1:
        raise refusal("nifti-damaged", file.where, fact=f"dim {_by(shape)}")
    kind = header.get_data_dtype()
    if kind.kind not in "iuf":
        raise refusal("nifti-datatype", file.where, fact=f"datatype {int(header['datatype'])}")
    n_bytes = math.prod(shape) * kind.itemsize
    if n_bytes > MAX_VOXEL_BYTES:
        raise refusal("nifti-too-large", file.where,
                      fact=f"dim {_by(shape)}: {n_bytes / 2**30:.1f} GiB, at most {MAX_VOXEL_BYTES / 2**30:g}")
    if not is_packed and image.dataobj.offset + n_bytes > file.n_bytes:
        raise refusal("nifti-damaged", file.where,
                      fact=f"dim {_by(shape)} needs {n_bytes} bytes, the file has {file.n_bytes}")


def _check_whole(image: Any, stream: IO[bytes], packed: BinaryIO, file: InputFile) -> None:
    """Raise for an archive that was cut off, though the slice wanted may be in what is left."""
    end = image.dataobj.offset + math.prod(image.shape) * image.get_data_dtype().itemsize
    try:
        here = packed.tell()
        packed.seek(-4, io.SEEK_END)
        n_told = int.from_bytes(packed.read(4), "little")
        packed.seek(here)
        if n_told != end % 2**32:  # cut off, or packed in several parts: only unpacking tells
            stream.seek(end - 1)
            if len(stream.read(1)) != 1:
                raise EOFError
            stream.read(1 << 20)  # the checksum is compared at the end
            stream.seek(0)
    except Exception as error:
        raise _damaged(file, error) from error


def _load_affine(image: Any, file: InputFile) -> tuple[Float64[np.ndarray, "4 4"], list[Finding]]:
    """Voxel to patient coordinates (right, front, head), mm, and warnings."""
    header = image.header
    forms = [header.get_sform(coded=True), header.get_qform(coded=True)]
    known = [np.asarray(form, float) for form, code in forms if form is not None and code > 0]
    if not known:
        raise refusal("nifti-no-orientation", file.where, fact="qform_code 0, sform_code 0")
    if not all(np.isfinite(form).all() and abs(np.linalg.det(form[:3, :3])) > 1e-12 for form in known):
        raise refusal("nifti-spacing", file.where, fact="voxel size 0 or not finite")
    if len({(nib.aff2axcodes(form), tuple(np.round(_sizes(form), 2))) for form in known}) > 1:
        raise refusal("nifti-two-orientations", file.where, fact="qform and sform")
    unit = int(header["xyzt_units"]) & 0x7  # the bits above tell the unit of time
    if unit not in _UNITS:
        raise refusal("nifti-spacing", file.where, fact=f"xyzt_units {unit}")
    name, unit_mm = _UNITS[unit]
    affine = np.diag([unit_mm] * 3 + [1.0]) @ known[0]
    low, high = SPACING_MM
    sizes = _sizes(affine)
    if not ((sizes >= low) & (sizes <= high)).all():
        raise refusal("nifti-spacing", file.where,
                      fact=f"voxel of {' x '.join(f'{size:.4g}' for size in sizes)} mm, {low:g} to {high:g} each")
    return affine, [find("nifti-units", fact=f"xyzt_units {name}", where=file.where)] if unit_mm != 1.0 else []


def _make_canonical(
    affine: Float64[np.ndarray, "4 4"], shape: Sequence[int]
) -> tuple[Float64[np.ndarray, "4 4"], tuple[int, int, int]]:
    """Affine and shape (x, y, z) once axes point right, front, head."""
    turn = nib.io_orientation(affine)
    n = dict(zip(turn[:, 0].astype(int).tolist(), shape[:3], strict=True))
    return affine @ nib.orientations.inv_ornt_aff(turn, shape[:3]), (n[0], n[1], n[2])


def _judge_angles(affine: Float64[np.ndarray, "4 4"], file: InputFile) -> tuple[float, list[Finding]]:
    """Tilt of the slices against the axial plane, degrees, and warnings.

    A slice axis that leans over straight slices, as converters write for a tilted gantry, changes no area.
    """
    column, row = (affine[:3, i] / np.linalg.norm(affine[:3, i]) for i in range(2))
    if abs(column @ row) > 0.01:
        raise refusal("nifti-oblique", file.where, "pixels are not rectangular",
                      fact=f"cosine of rows and columns {column @ row:.3f}")
    tilt_deg = _degrees(np.cross(column, row)[2])
    turned_deg = max(_degrees(column[0]), _degrees(row[1]), tilt_deg)
    if turned_deg > MAX_OBLIQUE_DEG:
        raise refusal("nifti-oblique", file.where, fact=f"{turned_deg:.1f} degrees, at most {MAX_OBLIQUE_DEG:g}")
    if tilt_deg > STRAIGHT_DEG:
        return tilt_deg, [find("nifti-tilt", fact=f"{tilt_deg:.1f} degrees", where=file.where)]
    if turned_deg > STRAIGHT_DEG:
        return 0.0, [find("nifti-turned", fact=f"{turned_deg:.1f} degrees", where=file.where)]
    return 0.0, []


def _make_grid(affine: Float64[np.ndarray, "4 4"], shape: tuple[int, int, int]) -> Grid:
    """The anatomical grid. NIfTI points right, front, head; the patient coordinates of Grid left, back, head."""
    n_x, n_y, n_z = shape
    column_mm, row_mm, _ = _sizes(affine).tolist()
    x, y, _ = (affine @ [n_x - 1, n_y - 1, 0, 1])[:3]
    # Of slices that are tilted, the position of their middle.
    z = (affine @ np.array([[(n_x - 1) / 2, (n_y - 1) / 2, k, 1] for k in range(n_z)]).T)[2]
    return Grid(n_y, n_x, (row_mm, column_mm), (float(-x), float(-y)), tuple(z.tolist()))


def _slice_axis(image: Any) -> tuple[int, bool, int]:
    """Stored axis that runs from the feet to the head, whether it runs the other way, and its length."""
    turn = nib.io_orientation(image.affine)
    axis = int(np.flatnonzero(turn[:, 0] == 2)[0])
    return axis, bool(turn[axis, 1] < 0), int(image.shape[axis])


def _cut(image: Any, axis: int, stored: int, file: InputFile) -> Shaped[np.ndarray, "height width"]:
    """One stored slice in anatomical order."""
    where = tuple(slice(stored, stored + 1) if i == axis else slice(None) for i in range(3))
    try:
        flat = np.asanyarray(image.dataobj[(*where, *[0] * (len(image.shape) - 3))])
    except Exception as error:  # a truncated or damaged archive shows here
        raise _damaged(file, error) from error
    turned = nib.apply_orientation(flat, nib.io_orientation(image.affine))
    return turned[::-1, ::-1, 0].T


def _load_whole(image: Any, file: InputFile) -> Any:
    try:
        return type(image)(np.asanyarray(image.dataobj), image.affine, image.header)
    except Exception as error:
        raise _damaged(file, error) from error


def _damaged(file: InputFile, error: Exception) -> InputDataError:
    # The kind alone: nibabel's text can quote the file.
    code = "nifti-too-large" if isinstance(error, MemoryError) else "nifti-damaged"
    return refusal(code, file.where, fact=type(error).__name__)


def _sizes(affine: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "3"]:
    return np.linalg.norm(affine[:3, :3], axis=0)


def _degrees(cosine: float) -> float:
    return math.degrees(math.acos(min(1.0, abs(float(cosine)))))


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
