"""One DICOM file -> its frames, each with a flat header of allowed elements. Nothing else of a file is kept.

Files are untrusted: what is too large is refused before memory is taken, and no value is ever quoted.
"""

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
)

from bonemet_jax.errors import InputDataError
from bonemet_jax.process_state import REPLACING_WARNINGS, make_quiet
from data_pipelines.findings import refusal
from data_pipelines.ingest.files import InputFile, compute_unpacked_limit

#: The only elements ever read of an image. Identifiers, and what may part two acquisitions of a series (from
#: AcquisitionNumber on), are compared within a folder or with masks, and kept nowhere.
PLAIN_TAGS = (
    "SOPClassUID", "Modality", "ImageType", "PatientID", "SeriesInstanceUID", "NumberOfFrames",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "GantryDetectorTilt", "Rows", "Columns",
    "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "PixelPaddingValue", "PixelPaddingRangeLimit",
    "LossyImageCompression", "AcquisitionNumber", "InstanceNumber", "TemporalPositionIdentifier", "ConvolutionKernel",
    "SliceThickness", "KVP", "AcquisitionTime",
)  # fmt: skip
SEQUENCES = ("ModalityLUTSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
#: Elements of a lookup table, and of the functional groups of a multi-frame image (PS3.3, C.7.6.16 and C.8.15.3).
LUT_TAGS = ("LUTDescriptor", "ModalityLUTType", "LUTData")
GROUP_TAGS: dict[str, tuple[str, ...]] = {
    "PixelMeasuresSequence": ("PixelSpacing",),
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    "CTImageFrameTypeSequence": ("FrameType",),
    "CTAcquisitionDetailsSequence": ("GantryDetectorTilt",),
    "FrameContentSequence": ("FrameAcquisitionNumber", "TemporalPositionIndex"),
    "CTReconstructionSequence": ("ConvolutionKernel",),
    "CTXRayDetailsSequence": ("KVP",),
}
MULTI_FRAME_CLASSES = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
_PREFIX = b"\0" * 128 + b"DICM"


class NotDicomError(Exception):
    """The file is no DICOM file, or a DICOMDIR: it holds no part of an image. Its text is the fact that decides."""


@dataclass(frozen=True)
class Frame:
    """One picture: a file, or one frame of a multi-frame file."""

    file: InputFile
    index: int
    """Frame within its file, from 0."""
    header: Dataset
    """Allowed elements only; those of the functional groups beside the plain ones."""
    is_syntax_told: bool
    """False where the file does not name its transfer syntax and pydicom recognised it by its first bytes."""


_QUIET_LOGGER = make_quiet("pydicom")


@contextlib.contextmanager
def quiet_pydicom() -> Generator[None]:
    """Keep pydicom from warning and logging of odd values: it quotes them. What matters of them the rules check."""
    with REPLACING_WARNINGS, _QUIET_LOGGER, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def load_frames(file: InputFile) -> list[Frame]:
    """Headers of a file's frames.

    Raises: NotDicomError, InputDataError for a damaged file.
    """
    dataset, is_syntax_told = _read(file, (*PLAIN_TAGS, *SEQUENCES))
    common = _load_common(dataset, file)
    frames = []
    for index, groups in enumerate(_load_groups(dataset, file)):
        header = Dataset()
        header.update(common)
        _copy_groups(groups, header, file)
        frames.append(Frame(file, index, header, is_syntax_told))
    return frames


def _load_common(dataset: Dataset, file: InputFile) -> Dataset:
    """What all frames of a file share: plain elements, lookup table, shared functional groups."""
    header = Dataset()
    _copy(dataset, PLAIN_TAGS, header, file)
    if table := _first(dataset, "ModalityLUTSequence", file):
        item = Dataset()
        _copy(table, LUT_TAGS, item, file)
        header.ModalityLUTSequence = [item]
    _copy_groups(_first(dataset, "SharedFunctionalGroupsSequence", file), header, file)
    return header


def _load_groups(dataset: Dataset, file: InputFile) -> list[Dataset | None]:
    """Functional groups of every frame; of a single-frame file one None."""
    if get_value(dataset, "SOPClassUID", file) not in MULTI_FRAME_CLASSES:
        return [None]
    value = get_value(dataset, "PerFrameFunctionalGroupsSequence", file)
    n_frames = get_value(dataset, "NumberOfFrames", file)
    groups: list[Dataset | None] = list(value) if isinstance(value, Sequence) else []
    if not groups or len(groups) != n_frames:
        raise refusal("dicom-frame-groups", file.where, fact=f"PerFrameFunctionalGroupsSequence of {len(groups)}, "
                      f"NumberOfFrames {n_frames if isinstance(n_frames, int) else 'absent'}")
    return groups


def load_pixel_dataset(file: InputFile) -> Dataset:
    """The file with its pixel data, not yet decoded. Raises: InputDataError."""
    names = (*PLAIN_TAGS, "ModalityLUTSequence", "PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths")
    dataset, _ = _read(file, names)
    for name in names:
        get_value(dataset, name, file)
    return dataset


def load_elements(file: InputFile, names: Iterable[str]) -> Dataset:
    """The elements named, of an object that is no CT image; values that cannot be read are refused.

    Raises: NotDicomError, InputDataError.
    """
    wanted = list(names)
    dataset, _ = _read(file, wanted)
    for name in wanted:
        get_value(dataset, name, file)
    return dataset


def _read(file: InputFile, tags: Iterable[str]) -> tuple[Dataset, bool]:
    """The elements asked for, and whether the file names its transfer syntax."""
    names = list(tags)
    is_header = "PixelData" not in names
    with file.open() as opened:
        try:
            # In memory a length that lies cannot make the reader ask for more than there is.
            stream = opened if is_header else io.BytesIO(opened.read())
            stream = _inflate(stream, _read_syntax(stream), file)
            dataset = pydicom.dcmread(stream, force=True, specific_tags=names, stop_before_pixels=is_header)
        except (InputDataError, NotDicomError):
            raise
        except Exception as error:  # pydicom raises many kinds for a damaged file
            raise refusal("dicom-damaged", file.where, fact=type(error).__name__) from error
    if dataset.file_meta.get("TransferSyntaxUID"):
        return dataset, True
    is_implicit, is_little = dataset.original_encoding
    dataset.file_meta.TransferSyntaxUID = (
        ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian
    )
    return dataset, False


def _read_syntax(stream: BinaryIO) -> UID | None:
    """The transfer syntax named by the file meta information; leaves the stream behind that.

    Raises: NotDicomError.
    """
    has_prefix = read_preamble(stream, force=True) is not None
    start = stream.read(8)
    stream.seek(-len(start), io.SEEK_CUR)
    # Without the prefix: the file must begin with an element of group 2 or 8, whatever its byte order.
    if not has_prefix and (len(start) < 8 or start[:2] not in (b"\2\0", b"\x08\0", b"\0\x08")):
        raise NotDicomError("no DICM at byte 128, no element of group 2 or 8 at byte 0")
    meta = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    if meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        raise NotDicomError("MediaStorageSOPClassUID Media Storage Directory Storage")
    return meta.get("TransferSyntaxUID")


def _inflate(stream: BinaryIO, syntax: UID | None, file: InputFile) -> BinaryIO:
    """The stream from its start; a deflated data set unpacked, up to a limit: pydicom knows none."""
    if syntax != DeflatedExplicitVRLittleEndian:
        stream.seek(0)
        return stream
    packed = stream.read()
    limit = compute_unpacked_limit(len(packed))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflater.decompress(packed, limit + 1)
    if len(plain) > limit:
        raise refusal("dicom-bomb", file.where, fact=f"more than {limit} bytes from {len(packed)}")
    if not inflater.eof:
        raise refusal("dicom-damaged", file.where, fact="the deflated data set ends early")
    _check_trailer(inflater.unused_data, plain, file)
    name = ExplicitVRLittleEndian.encode() + b"\0"
    return io.BytesIO(_PREFIX + b"\2\0\x10\0UI" + len(name).to_bytes(2, "little") + name + plain)


def _check_trailer(rest: bytes, plain: bytes, file: InputFile) -> None:
    """Raise for bytes after the deflated stream that are neither padding (0x00, 0xFF) nor its gzip trailer and padding.

    A gzip trailer (RFC 1952) is the CRC-32 of the inflated data and their length modulo 2**32.
    """
    trailer = struct.pack("<II", zlib.crc32(plain), len(plain) % 2**32)
    if rest.removeprefix(trailer).strip(b"\0\xff"):
        raise refusal("dicom-damaged", file.where,
                      fact=f"{len(rest)} bytes after the deflated data set, neither padding nor its CRC and length")


def get_value(source: Dataset | None, name: str, file: InputFile) -> Any:
    """A value, converted now, so that damage shows here; None where it or its data set is absent.

    Raises: InputDataError naming the element, never its value.
    """
    try:
        return None if source is None else source.get(name)
    except Exception as error:  # pydicom raises many kinds for a value that its representation forbids
        raise refusal("dicom-value", file.where, fact=f"{name} cannot be read") from error


def _first(source: Dataset, name: str, file: InputFile) -> Dataset | None:
    items = get_value(source, name, file)
    return items[0] if isinstance(items, Sequence) and items else None


def _copy(source: Dataset, names: Iterable[str], target: Dataset, file: InputFile) -> None:
    for name in names:
        if get_value(source, name, file) is not None:
            target[name] = source[name]


def _copy_groups(groups: Dataset | None, header: Dataset, file: InputFile) -> None:
    """Lay the elements of functional groups beside the plain ones."""
    if groups is None:
        return
    for sequence, names in GROUP_TAGS.items():
        item = _first(groups, sequence, file)
        if item is not None:
            _copy(item, names, header, file)
    # New elements: the frames of a file share those they have in common.
    for name, vr, source in (("ImageType", "CS", "FrameType"), ("AcquisitionNumber", "IS", "FrameAcquisitionNumber"),
                             ("TemporalPositionIdentifier", "IS", "TemporalPositionIndex")):  # fmt: skip
        if source in header:
            header.add_new(name, vr, header[source].value)
