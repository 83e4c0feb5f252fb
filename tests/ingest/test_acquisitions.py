"""Two acquisitions in one series: named and chosen where their slices are interleaved, one volume where they follow."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from bonemet_jax.errors import InputDataError
from tests.ingest.conftest import GRID, N_SLICES, load_stack, make_dicom, make_hu, save_dicom
from tests.ingest.test_dicom_frames import make_enhanced

Values = Callable[[int, int], dict[str, object]]
"""Acquisition, slice -> header elements."""


def _save(folder: Path, values: Values, n: int, offset_mm: float, second_hu: int = 20) -> None:
    """Two stacks of n slices, 5 mm apart, the second one `offset_mm` higher and brighter."""
    hu = make_hu()
    for number in (0, 1):
        for k in range(n):
            header = make_dicom(hu[k % N_SLICES] + second_hu * number, k % N_SLICES)
            header.ImagePositionPatient = [*GRID.corner_mm, 5.0 * k + offset_mm * number]
            for name, value in values(number, k).items():
                setattr(header, name, value)
            save_dicom(header, folder / f"{number}_{k:02}")


def _refusal(folder: Path, acquisition: int | None = None) -> InputDataError:
    with pytest.raises(InputDataError) as refusal:
        load_stack(folder, acquisition=acquisition)
    assert "\n" not in str(refusal.value) and "canary" not in str(refusal.value).lower()
    return refusal.value


#: What distinguishes two interleaved acquisitions; the first is quoted in the message.
ELEMENTS: dict[str, Values] = {
    "AcquisitionNumber": lambda n, k: {"AcquisitionNumber": n + 1},
    "ImageType": lambda n, k: {"ImageType": ["DERIVED", "PRIMARY", ("AXIAL", "CANARY")[n]]},
    "kernel": lambda n, k: {"ConvolutionKernel": ("CANARY1", "CANARY2")[n]},
    "thickness": lambda n, k: {"SliceThickness": (5, 2.5)[n]},
    "phase": lambda n, k: {"TemporalPositionIdentifier": n + 1},
    "tube voltage": lambda n, k: {"KVP": (80, 140)[n]},
    "time": lambda n, k: {"AcquisitionTime": ("120000", "120059")[n]},
    "InstanceNumber": lambda n, k: {"InstanceNumber": 1 + k + 4 * n},
    "InstanceNumber, descending": lambda n, k: {"InstanceNumber": 8 - k - 4 * n},
    "a number of each slice and a type": lambda n, k: {
        "AcquisitionNumber": 1 + k + 4 * n, "ImageType": ["ORIGINAL", "PRIMARY", ("A", "B")[n]]},
}  # fmt: skip


@pytest.mark.parametrize("name", ELEMENTS)
def test_interleaved_acquisitions_are_named_and_chosen(tmp_path: Path, name: str) -> None:
    """Half a slice apart: distances are even, only the header shows it."""
    _save(tmp_path, ELEMENTS[name], 4, 2.5)
    error = _refusal(tmp_path)
    assert error.code == "dicom-interleaved" and "--acquisition" in error.mend
    assert error.what.count("4 slices of 60 x 80 pixels of 4 x 3 mm, every 5 mm, z ") == 2
    z_mm = load_stack(tmp_path, acquisition=2).grid.z_mm
    assert z_mm == tuple(2.5 + 5.0 * k for k in range(4))
    if name == "AcquisitionNumber":
        assert load_stack(tmp_path, acquisition=1).grid.z_mm == (0, 5, 10, 15)
        assert [_refusal(tmp_path, n).code for n in (0, 3)] == ["dicom-no-acquisition"] * 2
        assert "1: AcquisitionNumber 1, 4 slices" in error.what
        np.testing.assert_array_equal(load_stack(tmp_path, acquisition=2).load_hu(1)[0], make_hu()[1] + 20)


def test_slices_alternately_near_and_far_are_two_stacks(tmp_path: Path) -> None:
    """Nothing in the header differs."""
    _save(tmp_path, lambda n, k: {}, 4, 1.7)
    assert _refusal(tmp_path).code == "dicom-interleaved"
    assert load_stack(tmp_path, acquisition=2).grid.z_mm[0] == 1.7


def test_two_acquisitions_at_the_same_positions(tmp_path: Path) -> None:
    _save(tmp_path, ELEMENTS["AcquisitionNumber"], 3, 0.0)
    error = _refusal(tmp_path)
    assert error.code == "dicom-two-phases" and "1: AcquisitionNumber 1, 3 slices" in error.what
    np.testing.assert_array_equal(load_stack(tmp_path, acquisition=2).load_hu(1)[0], make_hu()[1] + 20)


def test_frames_of_two_acquisitions(tmp_path: Path) -> None:
    """FrameAcquisitionNumber of an enhanced multi-frame image."""
    header = make_enhanced()
    for groups, number in zip(header.PerFrameFunctionalGroupsSequence, (1, 2, 2, 2, 1), strict=True):
        groups.FrameContentSequence = [Dataset()]
        groups.FrameContentSequence[0].FrameAcquisitionNumber = number
    save_dicom(header, tmp_path / "x")
    error = _refusal(tmp_path)
    assert error.code == "dicom-interleaved" and "1: AcquisitionNumber 1, 2 slices" in error.what
    assert len(load_stack(tmp_path, acquisition=2).frames) == 3


HARMLESS: dict[str, Sequence[dict[str, object]]] = {
    "one after the other": [{"AcquisitionNumber": 1 + k // 4} for k in range(12)],
    "a number of each slice": [{"AcquisitionNumber": 40 + k} for k in range(12)],
    "two slices a turn": [{"AcquisitionNumber": 1 + k // 2, "AcquisitionTime": f"1200{k // 2:02}"} for k in range(12)],
    "one slice made later": [{"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL" if k != 5 else "X"]} for k in range(12)],
    "numbers at random": [{"InstanceNumber": k} for k in (5, 11, 2, 8, 1, 9, 3, 12, 7, 4, 10, 6)],
    "thickness written otherwise": [{"SliceThickness": "5" if k % 2 else "5.000"} for k in range(12)],
    "thickness rounded in two ways": [{"SliceThickness": 2.0 if k % 2 else 2.004} for k in range(12)],
    "times that alternate": [{"AcquisitionTime": f"10000{k % 2}"} for k in range(12)],
    "missing in some": [{"KVP": 120} if k < 6 else {} for k in range(12)],
}  # fmt: skip


@pytest.mark.parametrize("name", HARMLESS)
def test_one_volume_stays_one(tmp_path: Path, name: str) -> None:
    hu = make_hu()
    for k, values in enumerate(HARMLESS[name]):
        header = make_dicom(hu[k % N_SLICES], k % N_SLICES)
        header.ImagePositionPatient = [*GRID.corner_mm, 1.25 * k // 0.1 / 10]  # rounded: 1.2 and 1.3 mm alternate
        for element, value in values.items():
            setattr(header, element, value)
        save_dicom(header, tmp_path / f"{k:02}")
    stack = load_stack(tmp_path)
    assert len(stack.frames) == 12 and stack.findings == ()


def test_copies_with_another_number_are_copies(tmp_path: Path) -> None:
    """One export twice, renumbered: no second acquisition."""
    _save(tmp_path, ELEMENTS["AcquisitionNumber"], 4, 0.0, second_hu=0)
    stack = load_stack(tmp_path)
    assert (len(stack.frames), [note.code for note in stack.findings]) == (4, ["dicom-copies"])


def test_one_of_several_acquisitions_in_a_row_is_chosen(tmp_path: Path) -> None:
    _save(tmp_path, ELEMENTS["AcquisitionNumber"], 3, 15.0)
    assert len(load_stack(tmp_path).frames) == 6
    assert load_stack(tmp_path, acquisition=2).grid.z_mm == (15.0, 20.0, 25.0)


def test_values_that_vary_within_one_volume_part_nothing(tmp_path: Path) -> None:
    """Twelve even slices whose thickness is rounded in two ways, and two of which have another ImageType."""
    for name, values in (("thickness", {"SliceThickness": 2.001}), ("type", {"ImageType": ["DERIVED", "PRIMARY"]})):
        hu = make_hu()
        for k in range(12):
            header = make_dicom(hu[k % N_SLICES], k % N_SLICES)
            header.ImagePositionPatient = [*GRID.corner_mm, 5.0 * k]
            header.SliceThickness, header.ImageType = 2.0, ["ORIGINAL", "PRIMARY"]
            for element, value in values.items() if k in (2, 3, 7) else ():
                setattr(header, element, value)
            save_dicom(header, tmp_path / name / f"{k:02}")
        assert len(load_stack(tmp_path / name).grid.z_mm) == 12


@pytest.mark.parametrize("n", [2, 3])
def test_volumes_whose_headers_are_alike_are_told_apart_by_their_pictures(tmp_path: Path, n: int) -> None:
    """At even distances; in each further volume the patient is 8 mm farther back."""
    hu = make_hu()
    for k in range(4 * n):
        moved = np.roll(hu[k // n % N_SLICES], 2 * (k % n), axis=0)
        header = make_dicom(moved, k % N_SLICES)
        header.ImagePositionPatient = [*GRID.corner_mm, 5.0 / n * k]
        save_dicom(header, tmp_path / f"{k:02}")
    error = _refusal(tmp_path)
    assert error.code == "dicom-interleaved" and error.what.startswith(f"{n} acquisitions")
    z_mm = load_stack(tmp_path, acquisition=n).grid.z_mm
    assert z_mm == pytest.approx([5.0 / n * (n - 1) + 5.0 * k for k in range(4)])
