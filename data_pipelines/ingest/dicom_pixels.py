"""One DICOM frame -> stored values -> Hounsfield units. What a codec would have to guess is refused or named."""

import numpy as np
from jaxtyping import Int16, Integer
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import apply_modality_lut, pixel_array
from pydicom.uid import UID, RLELossless

from bonemet_jax import schema
from data_pipelines.findings import Finding, find, refusal
from data_pipelines.ingest.decoder_output import capture_decoder_output
from data_pipelines.ingest.dicom_codestream import Codestream, find_damage, parse_codestream
from data_pipelines.ingest.dicom_header import Frame, load_pixel_dataset, quiet_pydicom
from data_pipelines.ingest.jpeg_scan import ZERO_PADDING
from data_pipelines.ingest.rle_segments import find_rle_damage

Stored = Integer[np.ndarray, "rows columns"]


@quiet_pydicom()
def load_frame_hu(frame: Frame) -> tuple[Int16[np.ndarray, "rows columns"], tuple[Finding, ...]]:
    """Decode one frame.

    Returns: Hounsfield units as stored (not yet turned), padding as schema.HU_PADDING, and findings.

    Raises: InputDataError for pixel data that are missing, too short, cut off, of another size, or cannot be decoded.
    """
    dataset = load_pixel_dataset(frame.file)
    decoded, findings = decode_frame(dataset, frame)
    stored, n_beyond = _mask_high_bits(decoded, frame.header)
    if n_beyond:
        fact = f"{n_beyond} pixels beyond BitsStored {frame.header.BitsStored}"
        findings.append(find("dicom-high-bits", fact=fact, where=frame.file.where))
    return _rescale(stored, frame, dataset), tuple(findings)


def decode_frame(dataset: Dataset, frame: Frame) -> tuple[Stored, list[Finding]]:
    """Stored values of one frame, of an image or a segmentation, and findings.

    Args:
        dataset: the file's elements with its pixel data.
        frame: which frame, and the header that gives its size.

    Raises: InputDataError for pixel data that are missing, too short, cut off, of another size, or cannot be decoded.
    """
    findings = _check_pixels(dataset, frame)
    return _decode(dataset, frame), findings


def is_copy(one: Frame, other: Frame) -> bool:
    """True when two frames hold the same stored values and rescale them alike."""
    names = ("RescaleSlope", "RescaleIntercept", "BitsStored", "PixelRepresentation", "PixelPaddingValue")
    if any(one.header.get(name) != other.header.get(name) for name in names):
        return False
    datasets = load_pixel_dataset(one.file), load_pixel_dataset(other.file)
    if one.index == other.index and datasets[0].get("PixelData") == datasets[1].get("PixelData"):
        return True
    return np.array_equal(decode_frame(datasets[0], one)[0], decode_frame(datasets[1], other)[0])


def _check_pixels(dataset: Dataset, frame: Frame) -> list[Finding]:
    """Compare what the header claims with what is there, before memory is taken for it."""
    where, syntax = frame.file.where, dataset.file_meta.TransferSyntaxUID
    data = dataset.get("PixelData")
    if not data or not isinstance(data, bytes):
        raise refusal("dicom-no-pixels", where, fact="PixelData no bytes" if data else "PixelData absent")
    if syntax.type != "Transfer Syntax":
        raise refusal("dicom-undecodable", where, fact="TransferSyntaxUID unknown")
    if syntax.is_encapsulated:
        return _check_codestream(dataset, frame, syntax)
    wanted = frame.header.Rows * frame.header.Columns * (frame.header.BitsAllocated // 8) * _n_frames(frame)
    fact = f"PixelData {len(data)} bytes, Rows x Columns need {wanted}"
    if len(data) < wanted:
        raise refusal("dicom-truncated", where, fact=fact)
    more = [find("dicom-more-pixels", fact=fact, where=where)] if len(data) > wanted + 1 else []
    return more + _judge_lossy(frame, syntax)


def _check_codestream(dataset: Dataset, frame: Frame, syntax: UID) -> list[Finding]:
    where, named = frame.file.where, f"TransferSyntaxUID {syntax.name}"
    try:
        data = get_frame(dataset.PixelData, frame.index, number_of_frames=_n_frames(frame),
                         extended_offsets=_extended_offsets(dataset))
        stream = None if syntax == RLELossless else parse_codestream(data)
    except Exception as error:  # pydicom raises many kinds for damaged fragments; the parser ValueError, IndexError
        raise refusal("dicom-truncated", where, fact=named) from error
    if stream is None and syntax != RLELossless:
        raise refusal("dicom-undecodable", where, fact=f"{named}: no JPEG, JPEG-LS or JPEG 2000 codestream")
    if stream is None:
        n_pixels, n_segments = frame.header.Rows * frame.header.Columns, max(1, frame.header.BitsAllocated // 8)
        return _judge_damage(find_rle_damage(data, n_pixels, n_segments), frame, named) + _judge_lossy(frame, syntax)
    size, wanted = (stream.rows, stream.columns), (frame.header.Rows, frame.header.Columns)
    if size != wanted:
        raise refusal("dicom-size-contradicts", where, fact=f"{named}: codestream of {size[0]} x {size[1]}, "
                      f"Rows x Columns {wanted[0]} x {wanted[1]}")
    if not stream.is_complete:
        raise refusal("dicom-truncated", where, fact=f"{named}: no end marker")
    try:
        damage = find_damage(data)
    except (ValueError, IndexError, KeyError) as error:
        raise refusal("dicom-undecodable", where, fact=f"{named}: its segments contradict each other") from error
    return _judge_damage(damage, frame, named) + _judge_lossy(frame, syntax, stream)


def _judge_damage(damage: str, frame: Frame, named: str) -> list[Finding]:
    """A warning where it may be the encoder's way. Raises: InputDataError for coded data that were changed."""
    if damage and damage != ZERO_PADDING:
        raise refusal("dicom-undecodable", frame.file.where, fact=f"{named}: {damage}")
    return [find("dicom-scan-end", fact=f"{named}: {damage}", where=frame.file.where)] if damage else []


def _judge_lossy(frame: Frame, syntax: UID, stream: Codestream | None = None) -> list[Finding]:
    """The codestream decides; LossyImageCompression 01 adds what was lost before (PS3.3, C.7.6.1.1.5)."""
    is_told_lossy = frame.header.get("LossyImageCompression") == "01"
    if not is_told_lossy and (stream is None or stream.is_lossless):
        return []
    facts = (
        f"TransferSyntaxUID {syntax.name}", f"codestream {stream.kind}" if stream else "",
        "LossyImageCompression 01" if is_told_lossy else "",
    )  # fmt: skip
    return [find("dicom-lossy", fact=", ".join(filter(None, facts)), where=frame.file.where)]


def _extended_offsets(dataset: Dataset) -> tuple[bytes, bytes] | None:
    offsets, lengths = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    return (offsets, lengths) if offsets and lengths else None


def _n_frames(frame: Frame) -> int:
    return int(frame.header.get("NumberOfFrames") or 1)


def _decode(dataset: Dataset, frame: Frame) -> Stored:
    """Stored values of a frame. Raises: InputDataError where decoding fails, or a decoder warns of damage."""
    syntax, stored, failure = dataset.file_meta.TransferSyntaxUID, None, None
    with capture_decoder_output() as output:
        try:
            stored = pixel_array(dataset, index=frame.index, correct_unused_bits=False)
        except Exception as error:  # decoders raise many kinds
            failure = error
    if stored is None or (output.fact and syntax.is_encapsulated):
        fact = f"TransferSyntaxUID {syntax.name}; {output.fact or type(failure).__name__}"
        raise refusal("dicom-undecodable", frame.file.where, fact=fact) from failure
    return stored


def _mask_high_bits(stored: Stored, header: Dataset) -> tuple[Stored, int]:
    """Keep the BitsStored lowest bits and extend the sign; also how many pixels had something above.

    The bits above hold the sign or zeros; in old files an overlay, and where BitsStored is wrong a part of the value.
    """
    spare = header.BitsAllocated - header.BitsStored
    if spare == 0:
        return stored, 0
    kept = np.right_shift(np.left_shift(stored, spare), spare)
    return kept, int(np.count_nonzero((kept != stored) & (np.right_shift(stored, header.BitsStored) != 0)))


def _rescale(stored: Stored, frame: Frame, dataset: Dataset) -> Int16[np.ndarray, "rows columns"]:
    """Rescale slope and intercept, or the lookup table; values below schema.HU_PADDING are padding too."""
    header = frame.header
    if "ModalityLUTSequence" in header:
        try:
            hu = apply_modality_lut(stored, dataset).astype(np.float64)
        except Exception as error:  # pydicom raises many kinds for a table that is not as long as it says
            raise refusal("dicom-value", frame.file.where, fact="ModalityLUTSequence cannot be read") from error
    else:
        hu = stored.astype(np.float64) * float(header.RescaleSlope) + float(header.RescaleIntercept)
    hu = np.clip(np.rint(hu), schema.HU_PADDING, np.iinfo(np.int16).max).astype(np.int16)
    if "PixelPaddingValue" in header:
        ends = _load_padding(frame)
        hu[(stored >= min(ends)) & (stored <= max(ends))] = schema.HU_PADDING
    return hu


def _load_padding(frame: Frame) -> list[int]:
    """First and last padding value, in either order, in the pixels' own signedness.

    Many files write -2000 as 63536, or the other way round.
    """
    header, n_values, ends = frame.header, 1 << frame.header.BitsAllocated, []
    for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = header.get(name, header.PixelPaddingValue)
        if not isinstance(value, int):
            raise refusal("dicom-value", frame.file.where, fact=f"{name} is not one whole number")
        value %= n_values
        ends.append(value - n_values if header.PixelRepresentation == 1 and value >= n_values // 2 else value)
    return ends
