"""The canonical slice on disk."""

import math
from pathlib import Path

import numpy as np
import pytest

from bonemet_jax import artifacts
from bonemet_jax.errors import CorruptFileError
from data_pipelines.canonical import CanonicalSlice, load_slice, save_slice


def _slice(tilt_deg: float = 0.0, is_hu: bool = True) -> CanonicalSlice:
    random = np.random.default_rng(0)
    labels = random.integers(0, 5, (6, 8)).astype(np.uint8)
    hu = random.integers(-1024, 3000, (6, 8)).astype(np.int16)
    return CanonicalSlice(hu, (0.7, 0.8), labels, (labels > 0).astype(np.uint8), tilt_deg, is_hu)


@pytest.mark.parametrize(("tilt_deg", "is_hu"), [(0.0, True), (12.5, False)])
def test_slice_comes_back_as_written(tmp_path: Path, tilt_deg: float, is_hu: bool) -> None:
    written = _slice(tilt_deg, is_hu)
    save_slice(tmp_path / "s.npz", written)
    read = load_slice(tmp_path / "s.npz")
    for name in ("hu", "tissue", "body"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert (read.spacing_mm, read.tilt_deg, read.is_hu) == ((0.7, 0.8), tilt_deg, is_hu)


def test_older_files_are_axial_and_in_hounsfield_units(tmp_path: Path) -> None:
    old = _slice()
    artifacts.save_npz(tmp_path / "s.npz", {"hu": old.hu, "spacing_mm": np.array(old.spacing_mm), "tissue": old.tissue,
                                            "body": old.body})  # fmt: skip
    read = load_slice(tmp_path / "s.npz")
    assert (read.tilt_deg, read.is_hu) == (0.0, True)


def test_pixel_area_is_seen_from_the_axial_plane() -> None:
    assert _slice().pixel_cm2 == pytest.approx(0.0056)
    assert _slice(60.0).pixel_cm2 == pytest.approx(0.0056 / 2)
    assert _slice(-20.0).pixel_cm2 == pytest.approx(0.0056 * math.cos(math.radians(20)))


@pytest.mark.parametrize("fault", ["missing", "shape"])
def test_damaged_slice_is_refused(tmp_path: Path, fault: str) -> None:
    whole = _slice()
    arrays = {"hu": whole.hu, "spacing_mm": np.array(whole.spacing_mm), "tissue": whole.tissue, "body": whole.body}
    if fault == "missing":
        del arrays["body"]
    else:
        arrays["tissue"] = arrays["tissue"][:-1]
    artifacts.save_npz(tmp_path / "s.npz", arrays)
    with pytest.raises(CorruptFileError, match=r"no array body|differ in shape"):
        load_slice(tmp_path / "s.npz")
