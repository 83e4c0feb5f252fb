"""One CT slice in sixteen encodings: what is lossless is bit-equal in HU, what is not says so or is refused."""

from pathlib import Path

import gdcm
import numpy as np
import pytest

from bonemet_jax.errors import InputDataError
from tests.ingest.conftest import load_stack

#: Verdict by the end of the transfer syntax UID, and the fact that decides.
LOSSLESS = ("CTImage.dcm", "1.2.dcm", "1.2.1.dcm", "1.2.2.dcm", "1.2.1.99.dcm", "1.2.5.dcm",
            "4.57.dcm", "4.70.dcm", "4.80.dcm", "4.90.dcm")  # fmt: skip
LOSSY = {
    "4.50.dcm": ("JPEG Baseline (Process 1), codestream JPEG, 8 bit DCT, LossyImageCompression 01", 64),
    "4.81.dcm": ("codestream JPEG-LS, NEAR 1, LossyImageCompression 01", 1),
    "4.91.dcm": ("codestream JPEG 2000, reversible 5-3 wavelet, LossyImageCompression 01", 5),
}
REFUSED = {"4.51.dcm": "Process 2 and 4", "4.53.dcm": "Process 6 and 8", "4.55.dcm": "Process 10 and 12"}


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "data" / "ct_transfer_syntaxes"


@pytest.fixture(scope="module")
def plain(folder: Path) -> np.ndarray:
    """HU of the uncompressed file, read by gdcm: intercept -1024, slope 1."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(folder / "CTImage.dcm"))
    assert reader.Read()
    data = reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape")
    stored = np.frombuffer(data, "<i2").reshape(512, 512)
    return np.clip(stored.astype(int) - 1024, -1024, None)


def _file(folder: Path, ending: str) -> Path:
    found = [f for f in folder.iterdir() if f.name == ending or f.name.endswith((f"10008.{ending}", f"1.2.{ending}"))]
    assert len(found) == 1, ending
    return found[0]


def test_every_file_has_a_verdict(folder: Path) -> None:
    endings = [*LOSSLESS, *LOSSY, *REFUSED]
    assert {_file(folder, ending) for ending in endings} == set(folder.iterdir())
    assert len(endings) == 16


@pytest.mark.parametrize("ending", LOSSLESS)
def test_lossless_is_bit_equal(folder: Path, plain: np.ndarray, ending: str) -> None:
    stack = load_stack(_file(folder, ending))
    hu, findings = stack.load_hu(0)
    np.testing.assert_array_equal(hu, plain)
    assert stack.findings == findings == ()


@pytest.mark.parametrize("ending", LOSSY)
def test_lossy_is_told_with_its_fact(folder: Path, plain: np.ndarray, ending: str) -> None:
    """The largest difference is that of SOURCES.md, measured with other decoders."""
    fact, largest_hu = LOSSY[ending]
    hu, findings = load_stack(_file(folder, ending)).load_hu(0)
    assert [(note.code, note.severity) for note in findings] == [("dicom-lossy", "warning")]
    assert fact in findings[0].fact
    assert 0 < np.abs(hu.astype(int) - plain).max() <= largest_hu


@pytest.mark.parametrize("ending", REFUSED)
def test_what_no_decoder_reads_is_refused_with_the_remedy(folder: Path, ending: str) -> None:
    with pytest.raises(InputDataError) as refusal:
        load_stack(_file(folder, ending)).load_hu(0)
    assert refusal.value.code == "dicom-undecodable"
    assert REFUSED[ending] in refusal.value.fact
    assert "export it uncompressed" in str(refusal.value)
