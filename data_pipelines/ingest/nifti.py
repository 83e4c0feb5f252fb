"""NIfTI volumes in the anatomical order of Grid, read slice by slice: a volume is never in memory as a whole."""

import contextlib
import io
import math
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, cast

import nibabel as nib
import numpy as np
from jaxtyping import Float64, Int16, Shaped

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError
from bonemet_jax.process_state import make_quiet
from data_pipelines.findings import Finding, find, refusal
from data_pipelines.ingest.files import InputFile
from data_pipelines.ingest.grid import UPRIGHT, Axes, Grid
from data_pipelines.ingest.gzip_stream import MAGIC, GzipStream
from data_pipelines.ingest.nifti_affine import (
    compute_sizes,
    describe_placeholder,
    describe_zero_origin,
    has_unit_pixels,
    load_affine,
    make_canonical,
)

SUFFIXES = (".nii.gz", ".nii")
#: Endings of what lies beside a volume and is no image.
NOTES = (".txt", ".json", ".csv", ".md")
#: Voxels of one file, unpacked: bytes. A CT of 512 x 512 x 2000 voxels in 16 bit has 1 GiB.
MAX_VOXEL_BYTES = 2 << 30
#: Bytes of a header's extension that are looked at, and how it names a label.
MAX_EXTENSION_BYTES = 1 << 20
_LABEL_NAME = re.compile(r'<Label\s[^<>]{0,200}?Key="(\d{1,5})"[^<>]{0,200}><!\[CDATA\[([\w ]{1,64})\]\]>')
#: Up to this angle a volume counts as straight, and up to that it is measured with a warning, degrees.
STRAIGHT_DEG, MAX_OBLIQUE_DEG = 0.6, 5.0
#: nibabel prints on standard error what it corrects in a header, and quotes it.
_QUIET_NIBABEL = make_quiet("nibabel.global")
_NIFTI_2 = (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")
#: A header's extension has a multiple of 16 bytes, at most so many, and an even code (the highest registered is 46).
EXTENSION_STEP, EXTENSION_BYTES, EXTENSION_CODE = 16, 1 << 24, 100


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
    placeholder: str = ""
    """Why the affine is a placeholder; empty where it is none."""
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
        hu = np.clip(np.rint(values), schema.HU_PADDING, np.iinfo(np.int16).max).astype(np.int16)
        return hu, _find_surplus(self.file)

    def load_slice(self, k: int) -> Shaped[np.ndarray, "height width"]:
        """Values of slice k as they are. Raises: InputDataError for a damaged file."""
        with _open_voxels(self.file, self.is_mask) as image:
            axis, is_flipped, n = _slice_axis(image)
            return _cut(image, axis, n - 1 - k if is_flipped else k, self.file)

    def iter_slices(self) -> Iterator[tuple[int, Shaped[np.ndarray, "height width"]]]:
        """Every slice with its number, in one pass over the file; in the order of the file.

        Raises: InputDataError for a damaged file.
        """
        with _open_voxels(self.file, self.is_mask) as image:
            axis, is_flipped, n = _slice_axis(image)
            # Where every slice is spread over the whole file, reading them singly would read it n times.
            source = image if axis == 2 else _load_whole(image, self.file)
            for stored in range(n):
                yield n - 1 - stored if is_flipped else stored, _cut(source, axis, stored, self.file)


def is_named_ct(file: InputFile) -> bool:
    """Whether a file has the name of the CT volume."""
    return file.name.lower() in ("ct.nii.gz", "ct.nii")


def find_nifti(files: Sequence[InputFile]) -> InputFile | None:
    """The CT volume meant: ct.nii.gz or ct.nii, else the only volume outside a folder `masks`; None when there is none.

    With a volume of another name only notes are accepted: among other files it may be derived from a DICOM series.

    Raises: InputDataError when the files are several volumes and none is called ct.
    """
    volumes = [f for f in files if f.name.lower().endswith(SUFFIXES)]
    named = [f for f in volumes if is_named_ct(f)]
    images = named or [f for f in volumes if PurePath(f.where.replace(":", "/")).parent.name != "masks"]
    is_alone = all(f.name.lower().endswith((*SUFFIXES, *NOTES)) for f in files)
    if len(images) > 1 and is_alone:
        raise refusal("nifti-several", images[0].where, fact=f"{len(images)} volumes")
    return images[0] if len(images) == 1 and (named or is_alone) else None


def load_nifti(file: InputFile, *, is_mask: bool = False) -> NiftiStack:
    """Read a volume's header; voxels are read slice by slice later.

    Raises: InputDataError for whatever is no straight greyscale volume with a place in the patient.
    """
    with _open(file, is_mask) as (image, _):
        affine, findings = load_affine(image.header, image.shape, file)
        canonical, shape = make_canonical(affine, image.shape)
    tilt_deg, more = _judge_angles(canonical, file)
    placeholder = describe_placeholder(canonical, shape)
    if has_unit_pixels(canonical) and not placeholder:
        more.append(find("nifti-unit-voxels", fact="1 x 1 mm", where=file.where))
    if not placeholder and (zero := describe_zero_origin(canonical, shape)):
        more.append(find("nifti-origin-zero", fact=zero, where=file.where))
    return NiftiStack(_make_grid(canonical, shape), file, (*findings, *more), tilt_deg, placeholder=placeholder,
                      is_mask=is_mask)  # fmt: skip


def load_label_names(file: InputFile) -> dict[int, str]:
    """Names that the header's extension (the LabelTable of a CaretExtension, as TotalSegmentator writes) gives labels.

    Raises: InputDataError for a damaged file.
    """
    with _open(file, is_mask=True) as (image, _):
        contents = [extension.content for extension in image.header.extensions]
    text = "".join(one.decode("utf-8", "replace") for one in contents if 0 < len(one) <= MAX_EXTENSION_BYTES)
    return {int(key): name for key, name in _LABEL_NAME.findall(text)}


@contextlib.contextmanager
def _open(file: InputFile, is_mask: bool = False) -> Iterator[tuple[Any, GzipStream | None]]:
    """The image, its voxels still in the file, and its gzip stream. Refused by the header before memory is taken."""
    with _QUIET_NIBABEL, contextlib.ExitStack() as streams:
        try:
            stream = cast(Any, streams.enter_context(file.open()))
            packed = None
            if stream.read(2) == MAGIC:
                packed = GzipStream(stream)
                stream = cast(Any, streams.enter_context(io.BufferedReader(packed, 1 << 18)))
            stream.seek(0)
            magic = stream.read(4)
            stream.seek(0)
            kind = nib.Nifti2Image if magic in _NIFTI_2 else nib.Nifti1Image
            header = kind.header_class.from_fileobj(stream)
            _check_offset(header, stream, file)
            stream.seek(0)
            image = kind.from_stream(stream)
        except Exception as error:  # nibabel raises many kinds for a damaged file
            raise _damaged(file, error) from error
        if not is_mask:  # nibabel takes labels whose slope is no number, or 0, as they are stored
            _check_scaling(header, file)
        _check_voxels(image, file, packed is not None)
        yield image, packed


@contextlib.contextmanager
def _open_voxels(file: InputFile, is_mask: bool = False) -> Iterator[Any]:
    """The image, for reading voxels; the first time the file is read to its end afterwards and its checksum verified.

    Raises: InputDataError at the end of the block for a damaged file, whatever was read before.
    """
    with _open(file, is_mask) as (image, packed):
        yield image
        if not file.verified:
            file.verified.append(_read_to_end(image, packed, file))


def _check_scaling(header: Any, file: InputFile) -> None:
    """Raise for a slope that says nothing; 0 means unscaled values. nibabel takes any odd one for that."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if not (math.isfinite(slope) and math.isfinite(inter)) or (slope == 0 and inter != 0):
        raise refusal("nifti-scaling", file.where, fact=f"scl_slope {slope:g}, scl_inter {inter:g}")


def _check_offset(header: Any, stream: Any, file: InputFile) -> None:
    """Raise for voxels that begin inside the header or its first extension; nibabel reads those bytes as voxels."""
    offset, n_header = float(header["vox_offset"]), header.template_dtype.itemsize
    if not (offset.is_integer() and n_header + 4 <= offset <= MAX_VOXEL_BYTES):
        raise refusal("nifti-damaged", file.where, fact=f"vox_offset {offset:g}, {n_header + 4} or more")
    if header.extensions or offset >= n_header + 4 + EXTENSION_STEP:  # nibabel has read the extensions up to the voxels
        return
    stream.seek(n_header)
    flag, head = stream.read(4), stream.read(8)
    if flag[:1] in (b"", b"\0") or len(head) < 8:
        return
    size, code = struct.unpack(f"{header.endianness}ii", head)
    is_size = size % EXTENSION_STEP == 0 and EXTENSION_STEP <= size <= EXTENSION_BYTES
    if is_size and code % 2 == 0 and 0 <= code <= EXTENSION_CODE:
        raise refusal("nifti-damaged", file.where,
                      fact=f"vox_offset {offset:g} is inside an extension of {size} bytes")


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


def _read_to_end(image: Any, packed: GzipStream | None, file: InputFile) -> int:
    """Bytes beyond the voxels, after the checksum was verified. Raises: InputDataError for a damaged file."""
    end = image.dataobj.offset + math.prod(image.shape) * image.get_data_dtype().itemsize
    if packed is None:
        return file.n_bytes - end
    try:
        n_bytes = packed.read_to_end(max(end, MAX_VOXEL_BYTES))
    except Exception as error:  # BadGzipFile, EOFError, OSError
        raise _damaged(file, error) from error
    if n_bytes < end:
        raise refusal("nifti-damaged", file.where,
                      fact=f"dim {_by(image.shape)} needs {end} bytes, the file unpacks to {n_bytes}")
    if n_bytes > max(end, MAX_VOXEL_BYTES):
        raise refusal("nifti-too-large", file.where, fact=f"unpacks to more than {MAX_VOXEL_BYTES / 2**30:g} GiB")
    return max(n_bytes - end, int(packed.is_followed))


def _find_surplus(file: InputFile) -> tuple[Finding, ...]:
    """A warning where a file that was read has more data than its header describes."""
    return (find("nifti-surplus", where=file.where),) if any(file.verified) else ()


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
    column_mm, row_mm, _ = compute_sizes(affine).tolist()
    at = np.array([[n_x - 1, n_y - 1, 0, 1], [0, n_y - 1, 0, 1], [n_x - 1, 0, 0, 1], [n_x - 1, n_y - 1, n_z - 1, 1]])
    corners = (affine @ at.T).T[:, :3] * [-1, -1, 1]
    # Of slices that are tilted, the position of their middle.
    z = (affine @ np.array([[(n_x - 1) / 2, (n_y - 1) / 2, k, 1] for k in range(n_z)]).T)[2]
    x, y = corners[0, :2].tolist()
    return Grid(n_y, n_x, (row_mm, column_mm), (x, y), tuple(z.tolist()), corners)


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
    if isinstance(error, InputDataError):
        return error
    # The kind alone: nibabel's text can quote the file.
    code = "nifti-too-large" if isinstance(error, MemoryError) else "nifti-damaged"
    return refusal(code, file.where, fact=type(error).__name__)


def _degrees(cosine: float) -> float:
    return math.degrees(math.acos(min(1.0, abs(float(cosine)))))


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
