"""A verdict for every awkward file at hand: pydicom's bundled test files and the edge cases of the shared data.

Shown with -s. A bundled file without a row fails the test: a new release of pydicom brings new cases.
"""

import multiprocessing
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import gdcm
import numpy as np
import pydicom
import pytest

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError
from tests.ingest.conftest import load_stack

BUNDLED = Path(pydicom.__file__).parent / "data"
NO_PREFIX = "no DICM at byte 128"


class Row(NamedTuple):
    """Files by pattern, what becomes of them, and the header fact that decides."""

    files: str
    verdict: str
    code: str = ""
    fact: str = ""


#: Of every file the first row that fits. Verdicts are those of the reader of images: what lies on the slice, and
#: whether the trunk is whole, is judged later.
BUNDLED_ROWS = (
    Row("test_files/CT_small.dcm", "ok"),
    Row("test_files/dicomdirtests/77654033/CT2/*", "ok"),
    Row("test_files/dicomdirtests/98892001/CT5N/*", "ok"),
    Row("test_files/693_J2KI.dcm", "warn", "dicom-lossy", "reversible 5-3 wavelet, LossyImageCompression 01"),
    Row("test_files/J2K_pixelrep_mismatch.dcm", "fail", "dicom-tilt-large", "22.0 degrees"),
    Row("test_files/dicomdirtests/98892001/CT2N/*", "fail", "dicom-localiser", "ImageType LOCALIZER"),
    Row("test_files/dicomdirtests/TINY_ALPHA/PT000000/*", "fail", "dicom-no-image", "Rows absent"),
    Row("test_files/dicomdirtests/TINY_ALPHA/README", "fail", "file-not-understood", NO_PREFIX),
    Row("*/README.*", "fail", "file-not-understood", NO_PREFIX),
    Row("test_files/dicomdirtests/*DICOMDIR*", "fail", "file-not-understood", "Media Storage Directory Storage"),
    Row("test_files/dicomdirtests/77654033/CR?/*", "fail", "dicom-not-ct", "Modality CR"),
    Row("test_files/dicomdirtests/98892003/MR*/*", "fail", "dicom-not-ct", "Modality MR"),
    Row("*.json", "fail", "file-not-understood", NO_PREFIX),
    Row("test_files/*.dump", "fail", "file-not-understood", NO_PREFIX),
    Row("test_files/crayons.icc", "fail", "file-not-understood", NO_PREFIX),
    Row("test_files/zipMR.gz", "fail", "file-not-understood", NO_PREFIX),
    Row("test_files/no_meta.dcm", "fail", "file-not-understood", NO_PREFIX),
    Row("charset_files/FileInfo.txt", "fail", "file-not-understood", NO_PREFIX),
    Row("charset_files/chrSQEncoding*.dcm", "fail", "dicom-not-ct", "Modality absent"),
    Row("charset_files/chr[JK]*Multi*.dcm", "fail", "dicom-not-ct", "Modality CR"),
    Row("charset_files/chr*.dcm", "fail", "dicom-not-ct", "Modality OT"),
    Row("palettes/*.dcm", "fail", "dicom-not-ct", "Modality absent"),
    Row("test_files/ExplVR_BigEnd.dcm", "fail", "dicom-not-ct", "Modality US"),
    Row("test_files/ExplVR_*NoMeta.dcm", "fail", "dicom-not-ct", "Modality RTPLAN"),
    Row("test_files/GDCMJ2K_TextGBR.dcm", "fail", "dicom-not-ct", "Modality absent"),
    Row("test_files/JPEGLSNearLossless_*.dcm", "fail", "dicom-not-ct", "Modality absent"),
    Row("test_files/JP*.dcm", "fail", "dicom-not-ct", "Modality NM"),
    Row("test_files/MR_*.dcm", "fail", "dicom-not-ct", "Modality MR"),
    Row("test_files/SC_jpeg_no_color_transform*.dcm", "fail", "dicom-not-ct", "Modality absent"),
    Row("test_files/SC_rgb_jls_lossy_*.dcm", "fail", "dicom-not-ct", "Modality absent"),
    Row("test_files/SC_rgb_jpeg_app14_dcmd.dcm", "fail", "dicom-not-ct", "Modality absent"),
    Row("test_files/SC_*.dcm", "fail", "dicom-not-ct", "Modality OT"),
    Row("test_files/UN_sequence.dcm", "fail", "dicom-not-ct", "Modality absent"),
    Row("test_files/badVR.dcm", "fail", "dicom-not-ct", "Modality RTDOSE"),
    Row("test_files/empty_charset_LEI.dcm", "fail", "dicom-not-ct", "Modality absent"),
    Row("test_files/examples_overlay.dcm", "fail", "dicom-not-ct", "Modality MR"),
    Row("test_files/examples_*.dcm", "fail", "dicom-not-ct", "Modality US"),
    Row("test_files/image_dfl.dcm", "fail", "dicom-not-ct", "Modality OT"),
    Row("test_files/liver_*.dcm", "fail", "dicom-not-ct", "Modality SEG"),
    Row("test_files/meta_missing_tsyntax.dcm", "fail", "dicom-not-ct", "Modality absent"),
    Row("test_files/n*_priv_SQ.dcm", "fail", "dicom-not-ct", "Modality absent"),
    Row("test_files/priv_SQ.dcm", "fail", "dicom-not-ct", "Modality absent"),
    Row("test_files/no_meta_group_length.dcm", "fail", "dicom-not-ct", "Modality absent"),
    Row("test_files/reportsi*.dcm", "fail", "dicom-not-ct", "Modality SR"),
    Row("test_files/test-SR.dcm", "fail", "dicom-not-ct", "Modality SR"),
    Row("test_files/rtdose*.dcm", "fail", "dicom-not-ct", "Modality RTDOSE"),
    Row("test_files/rtplan*.dcm", "fail", "dicom-not-ct", "Modality RTPLAN"),
    Row("test_files/rtstruct.dcm", "fail", "dicom-not-ct", "Modality RTSTRUCT"),
    Row("test_files/waveform_ecg.dcm", "fail", "dicom-not-ct", "Modality ECG"),
)
EDGE_ROWS = (
    Row("bad_sequence.dcm", "ok"),
    Row("eCT_Supplemental.dcm", "fail", "dicom-not-hu", "RescaleType US"),
    Row("emri_small_jpeg_2k_lossless_too_short.dcm", "fail", "dicom-not-ct", "Modality MR"),
    Row("mlut_18.dcm", "fail", "dicom-not-ct", "Modality OT"),
    Row("no-pixel-spacing.dcm", "fail", "dicom-not-ct", "Modality US"),
    Row("parametric_map_float.dcm", "fail", "dicom-not-ct", "Modality OT"),
)
Judged = tuple[str, str, str, np.ndarray | None]


def judge(file: Path) -> Judged:
    """Verdict, code, fact, and the HU where there are any. Whatever else is raised fails the test."""
    try:
        stack = load_stack(file)
        hu, findings = stack.load_hu(0)
    except InputDataError as error:
        return "fail", error.code, error.fact, None
    findings = [*stack.findings, *findings]
    return "warn" if findings else "ok", *((findings[0].code, findings[0].fact) if findings else ("", "")), hu


def _peak_gib() -> float:
    """Of this program: getrusage would count what the parent had when it forked."""
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("VmHWM:")) / 2**20


def judge_all(files: Sequence[Path]) -> tuple[list[Judged], float]:
    """Verdicts in order, and the most memory this process ever took, GiB."""
    return [judge(file) for file in files], _peak_gib()


def _check_table(root: Path, files: Sequence[Path], rows: Sequence[Row]) -> None:
    names = [file.relative_to(root).as_posix() for file in files]
    fits = [next((row for row in rows if fnmatchcase(name, row.files)), None) for name in names]
    assert not [name for name, row in zip(names, fits, strict=True) if row is None], "files without a row"
    assert not [row for row in rows if row not in fits], "rows without a file"
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        judged, memory_gib = pool.apply(judge_all, (files,))
    for name, row, (verdict, code, fact, _) in zip(names, fits, judged, strict=True):
        print(f"{verdict:4}  {name:60}  {code:20}  {fact}")
        assert (verdict, code) == (row.verdict, row.code), name
        assert row.fact in fact and bool(fact) == (verdict != "ok"), name
    for file, (verdict, *_, hu) in zip(files, judged, strict=True):
        if verdict == "ok":
            np.testing.assert_array_equal(hu, _load_with_gdcm(file), err_msg=file.name)
    print(f"{len(files)} files, {memory_gib:.2f} GiB at most")
    assert memory_gib < 1


def _load_with_gdcm(file: Path) -> np.ndarray:
    """Another decoder: pixels, slope and intercept as gdcm reads them, of a slice with the usual cosines."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(file))
    assert reader.Read()
    image = reader.GetImage()
    np.testing.assert_allclose(image.GetDirectionCosines(), [1, 0, 0, 0, 1, 0], atol=1e-6)
    dtype = {"INT16": "<i2", "UINT16": "<u2"}[image.GetPixelFormat().GetScalarTypeAsString()]
    data = image.GetBuffer().encode("utf-8", "surrogateescape")
    stored = np.frombuffer(data, dtype).reshape(image.GetDimension(1), image.GetDimension(0)).astype(float)
    return np.maximum(stored * image.GetSlope() + image.GetIntercept(), schema.HU_PADDING)


def test_every_file_bundled_with_pydicom() -> None:
    files = [f for f in sorted(BUNDLED.rglob("*")) if f.is_file() and f.suffix not in (".py", ".pyc")]
    assert len(files) > 150
    _check_table(BUNDLED, files, BUNDLED_ROWS)


def test_every_edge_case(shared: Path) -> None:
    folder = shared / "data" / "dicom_edge_cases"
    _check_table(folder, sorted(folder.iterdir()), EDGE_ROWS)


@pytest.mark.parametrize(("folder", "n", "code", "fact"), [
    ("77654033", 4, "dicom-left-out", "Modality CR"), ("98892001", 5, "dicom-left-out", "ImageType LOCALIZER"),
])
def test_whole_studies(folder: str, n: int, code: str, fact: str) -> None:
    """A study as exported: the one axial series is taken, radiographs and localisers are told."""
    stack = load_stack(BUNDLED / "test_files" / "dicomdirtests" / folder)
    assert len(stack.frames) == n and list(stack.grid.z_mm) == sorted(stack.grid.z_mm)
    assert (stack.findings[0].code, stack.findings[0].fact) == (code, fact)


def test_a_study_of_mr_alone_is_refused() -> None:
    with pytest.raises(InputDataError) as refusal:
        load_stack(BUNDLED / "test_files" / "dicomdirtests" / "98892003")
    assert (refusal.value.code, refusal.value.fact) == ("dicom-not-ct", "Modality MR")
