"""Formats of files that are not read, by their first bytes or their ending: a closed list, each with its conversion."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bonemet_jax import artifacts
from bonemet_jax.errors import CorruptFileError, InputDataError
from data_pipelines.ingest.files import InputFile
from data_pipelines.ingest.nifti import SUFFIXES

_TO_NIFTI = "convert it to NIfTI (.nii.gz), or give the DICOM series"
_TO_SLICE = "give the DICOM series, or save the one slice as PNG"
_UNPACK = "unpack it and give the folder"
_HEAD_BYTES = 512
#: Kinds in the manifests of output directories -> name of the directory. A phantom's DICOM series is read, so not here.
_OWN_KINDS = {
    "synthetic": "a cohort", "real": "a cohort", "predictions": "a prediction", "areas": "a measurement",
    "verification": "a verification", "export": "an export",
}  # fmt: skip
#: Remedy where such a directory was given.
GIVE_IMAGES = "give the patients' images"


@dataclass(frozen=True)
class Format:
    """A format that is not read."""

    name: str
    remedy: str
    suffixes: tuple[str, ...] = ()
    """Endings in lower case."""
    magic: tuple[tuple[int, bytes], ...] = ()
    """(offset, bytes), any of which decides."""


#: Images before archives before documents. Endings decide before first bytes: .mgz is a gzip archive too.
FORMATS: tuple[Format, ...] = (
    Format("MetaImage", _TO_NIFTI, (".mha", ".mhd"), ((0, b"ObjectType"), (0, b"NDims ="))),
    Format("NRRD", _TO_NIFTI, (".nrrd", ".nhdr"), ((0, b"NRRD0"),)),
    Format("FreeSurfer MGH", _TO_NIFTI, (".mgz", ".mgh")),
    Format("NIfTI or Analyze in two files (.hdr, .img)", "convert it to one NIfTI file (.nii.gz)",
           (".hdr", ".img", ".hdr.gz", ".img.gz"), ((344, b"ni1\0"),)),
    Format("NIfTI without the ending .nii or .nii.gz", "rename it so that it ends in .nii, or .nii.gz where packed",
           (), ((344, b"n+1\0"), (4, b"n+2\0\r\n\x1a\n"))),
    Format("MINC or HDF5", _TO_NIFTI, (".mnc", ".h5", ".hdf5"), ((0, b"\x89HDF\r\n\x1a\n"), (0, b"CDF\x01"))),
    Format("Philips PAR/REC", _TO_NIFTI, (".par", ".rec")),
    Format("raw voxels without a header", _TO_NIFTI, (".raw", ".zraw")),
    Format("NumPy array", _TO_NIFTI, (".npy", ".npz"), ((0, b"\x93NUMPY"),)),
    Format("MATLAB data", _TO_NIFTI, (".mat",), ((0, b"MATLAB 5.0"),)),
    Format("TIFF", _TO_SLICE, (".tif", ".tiff"), ((0, b"II*\0"), (0, b"MM\0*"), (0, b"II+\0"), (0, b"MM\0+"))),
    Format("BMP", _TO_SLICE, (".bmp",)),
    Format("JPEG 2000", _TO_SLICE, (".jp2", ".j2k", ".jpx", ".j2c"),
           ((0, b"\0\0\0\x0cjP  \r\n\x87\n"), (0, b"\xff\x4f\xff\x51"))),
    Format("JPEG-LS or JPEG XL", _TO_SLICE, (".jls", ".jxl"), ((0, b"\xff\xd8\xff\xf7"), (0, b"\0\0\0\x0cJXL "))),
    Format("GIF", _TO_SLICE, (".gif",), ((0, b"GIF8"),)),
    Format("WebP or HEIF", _TO_SLICE, (".webp", ".heic", ".heif", ".avif"),
           ((8, b"WEBP"), (4, b"ftyphei"), (4, b"ftypavif"))),
    Format("PNG that is not the only file, or lacks the ending .png", "give the PNG of the one slice alone", (".png",),
           ((0, b"\x89PNG\r\n\x1a\n"),)),
    Format("JPEG that is not the only file, or lacks the ending .jpg", "give the JPEG of the one slice alone",
           (".jpg", ".jpeg"), ((0, b"\xff\xd8\xff"),)),
    Format("7z archive", _UNPACK, (".7z",), ((0, b"7z\xbc\xaf\x27\x1c"),)),
    Format("RAR archive", _UNPACK, (".rar",), ((0, b"Rar!\x1a\x07"),)),
    Format("tar archive", _UNPACK, (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"), ((257, b"ustar"),)),
    Format("compressed file (gzip, bzip2, xz, zstd)", _UNPACK, (".gz", ".bz2", ".xz", ".zst"),
           ((0, b"\x1f\x8b"), (0, b"BZh"), (0, b"\xfd7zXZ\0"), (0, b"\x28\xb5\x2f\xfd"))),
    Format("zip archive without the ending .zip", "rename it so that it ends in .zip, or unpack it", (),
           ((0, b"PK\x03\x04"),)),
    Format("disc image", "mount it and give the folder", (".iso", ".dmg")),
    Format("PDF", "give the DICOM series", (".pdf",), ((0, b"%PDF"),)),
    Format("table", "give it with --clinical, saved as CSV UTF-8", (".xlsx", ".xls", ".ods", ".csv")),
)  # fmt: skip


def find_own_directory(path: Path) -> str | None:
    """Kind of an output directory that this program wrote: "a cohort", "a run", ...; None for any other."""
    if not path.is_dir():
        return None
    if "fingerprint" in _load_object(path / "config.json"):
        return "a run"
    facts = _load_object(path / artifacts.MANIFEST).get("facts")
    kind = facts.get("kind") if isinstance(facts, dict) else None
    return _OWN_KINDS.get(kind) if isinstance(kind, str) else None


def _load_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none."""
    try:
        value = artifacts.load_json(path)
    except (CorruptFileError, OSError):
        return {}
    return value if isinstance(value, dict) else {}


def find_format(files: Iterable[InputFile]) -> Format | None:
    """The format of these files, none of which holds an image that is read; of several the first of the list."""
    files = list(files)
    if any(file.name.lower().endswith(SUFFIXES) for file in files):
        return None  # NIfTI is read: something else is wrong
    found = [one for file in files if (one := _judge(file)) is not None]
    return min(found, key=FORMATS.index, default=None)


def _judge(file: InputFile) -> Format | None:
    by_name = [one for one in FORMATS if file.name.lower().endswith(one.suffixes)]
    if by_name:
        return by_name[0]
    try:
        with file.open() as stream:
            head = stream.read(_HEAD_BYTES)
    except (InputDataError, OSError):
        return None
    return next((one for one in FORMATS if any(head[at : at + len(sign)] == sign for at, sign in one.magic)), None)
