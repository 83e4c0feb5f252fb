"""Read from files: patients in any position, headers that are wrong, and padding inside the trunk."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from bonemet_jax.errors import InputDataError
from data_pipelines.canonical import CanonicalSlice
from data_pipelines.ingest import Choice, read_source
from data_pipelines.ingest.picture import Picture
from data_pipelines.phantom import anatomy, render
from tests.ingest.conftest import make_dicom, save_dicom


@pytest.fixture(scope="module")
def phantom() -> CanonicalSlice:
    """A slice of a supine patient in anatomical order."""
    return render.render_slice(np.random.default_rng(4), (220, 274), 1.5, anatomy.Areas(150, 80, 30), 5.0)


#: Position -> stored picture of anatomical one, and its rows' and columns' directions in the patient.
POSITIONS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], list[int]]] = {
    "supine": (lambda hu: hu, [1, 0, 0, 0, 1, 0]), "prone": (lambda hu: hu[::-1, ::-1], [-1, 0, 0, 0, -1, 0]),
    "right side down": (np.rot90, [0, 1, 0, -1, 0, 0]),
    "left side down": (lambda hu: np.rot90(hu, 3), [0, -1, 0, 1, 0, 0]),
}  # fmt: skip


def _save_position(phantom: CanonicalSlice, name: str, file: Path, orientation: list[int] | None = None) -> None:
    """The picture as stored in a position, with a table below it; by default with the header of that position."""
    stored, right = POSITIONS[name]
    hu = np.pad(stored(phantom.hu), ((0, 30), (0, 0)), constant_values=-1000)
    hu[-12:-8] = 300
    header = make_dicom(hu)
    header.PixelSpacing, header.ImageOrientationPatient = [1.5, 1.5], orientation or right
    save_dicom(header, file)


@pytest.mark.parametrize("name", POSITIONS)
def test_patients_in_any_position_are_measured(tmp_path: Path, phantom: CanonicalSlice, name: str) -> None:
    """In patient coordinates the spine is posterior, wherever the table is."""
    _save_position(phantom, name, tmp_path / "p" / "x")
    found = read_source(tmp_path / "p", choice=Choice(segment="none"))
    assert "slice-orientation-trusted" not in [note.code for note in found.findings]


@pytest.mark.parametrize(("name", "orientation"), [
    ("supine", [1, 0, 0, 0, -1, 0]), ("prone", [1, 0, 0, 0, 1, 0]), ("right side down", [1, 0, 0, 0, 1, 0]),
    ("supine", [0, 1, 0, 1, 0, 0]),
])  # fmt: skip
def test_a_wrong_orientation_in_dicom(
    tmp_path: Path, phantom: CanonicalSlice, name: str, orientation: list[int]
) -> None:
    _save_position(phantom, name, tmp_path / "p" / "x", orientation)
    with pytest.raises(InputDataError) as refusal:
        read_source(tmp_path / "p", choice=Choice(segment="none"))
    assert refusal.value.code == "slice-orientation"
    found = read_source(tmp_path / "p", choice=Choice(segment="none", trust_geometry=True))
    assert "slice-orientation-trusted" in [note.code for note in found.findings]


def test_a_picture_upside_down_is_refused(tmp_path: Path, phantom: CanonicalSlice) -> None:
    """A PNG has no header: front up is what is declared."""
    grey = np.rint((phantom.hu.clip(-200, 300) + 200) / 500 * 255).astype(np.uint8)
    choice = Choice(segment="none", picture=Picture((1.5, 1.5), (-200.0, 300.0)))
    Image.fromarray(grey).save(tmp_path / "up.png")
    Image.fromarray(grey[::-1]).save(tmp_path / "down.png")
    codes = [note.code for note in read_source(tmp_path / "up.png", choice=choice).findings]
    assert "slice-padding" not in codes
    with pytest.raises(InputDataError) as refusal:
        read_source(tmp_path / "down.png", choice=choice)
    assert refusal.value.code == "slice-orientation"


@pytest.mark.parametrize(("name", "value"), [("block", -2000), ("block", -1024), ("tissue", 0)])
def test_padding_in_the_trunk_is_a_warning(
    tmp_path: Path, phantom: CanonicalSlice, name: str, value: int
) -> None:
    """A block of a padding value, undeclared; and a padding value that is also water."""
    hu = phantom.hu.copy()
    hu[100:104, 130:135] = value if name == "block" else 0
    header = make_dicom(hu.clip(-1024))
    header.PixelSpacing = [1.5, 1.5]
    if name == "tissue":
        header.add_new("PixelPaddingValue", "SS", 1024)  # stored; 0 HU
    save_dicom(header, tmp_path / "p" / "x")
    notes = {note.code: note.fact for note in read_source(tmp_path / "p", choice=Choice(segment="none")).findings}
    assert int(notes["slice-padding"].split()[0]) >= 20
    clean = make_dicom(phantom.hu)
    clean.PixelSpacing = [1.5, 1.5]
    save_dicom(clean, tmp_path / "q" / "x")
    found = read_source(tmp_path / "q", choice=Choice(segment="none"))
    assert "slice-padding" not in [note.code for note in found.findings]


def test_padding_in_nifti(tmp_path: Path, phantom: CanonicalSlice) -> None:
    hu = phantom.hu.copy()
    hu[100:104, 130:135] = -3024
    volume = np.ascontiguousarray(hu.T[::-1, ::-1, None])
    nib.save(nib.Nifti1Image(volume, np.diag([1.5, 1.5, 5, 1])), tmp_path / "a.nii")
    notes = read_source(tmp_path / "a.nii", choice=Choice(segment="none")).findings
    assert ("slice-padding", "20 pixels") in [(note.code, note.fact) for note in notes]
