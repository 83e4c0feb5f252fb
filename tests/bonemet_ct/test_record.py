from typing import Any

import numpy as np
import pytest
from skimage.transform import rescale

from bonemet_jax import schema
from bonemet_jax.config import RecordsConfig
from bonemet_jax.errors import InputDataError
from data_pipelines.bonemet_ct import grid
from data_pipelines.bonemet_ct.grid import to_grid
from data_pipelines.bonemet_ct.record import make_record
from data_pipelines.canonical import CanonicalSlice


def _slice(spacing_mm: tuple[float, float], centre_mm: tuple[float, float] = (160.0, 200.0)) -> CanonicalSlice:
    """An ellipse of 200 x 280 mm with a 12 mm fat ring, a ragged visceral depot and two muscles, drawn at a spacing."""
    shape = (round(320 / spacing_mm[0]), round(400 / spacing_mm[1]))
    rows, columns = np.indices(shape).astype(float)
    y = (rows + 0.5) * spacing_mm[0] - centre_mm[0]
    x = (columns + 0.5) * spacing_mm[1] - centre_mm[1]
    body = (y / 100) ** 2 + (x / 140) ** 2 < 1
    inner = (y / 88) ** 2 + (x / 128) ** 2 < 1
    depot = inner & (y < 10) & (np.sin(x / 4) * np.sin(y / 4) > 0.3)
    muscle = inner & (np.hypot(y - 55, np.abs(x) - 30) < 22)
    tissue = np.select(
        [body & ~inner, depot, muscle], [schema.TISSUE_SAT, schema.TISSUE_VAT, schema.TISSUE_ESM]
    ).astype(np.uint8)
    hu = np.where(body, np.where(np.isin(tissue, schema.FAT_CODES), -100, 50), schema.HU_PADDING)
    return CanonicalSlice(hu.astype(np.int16), spacing_mm, tissue, body.astype(np.uint8))


def _area_cm2(image: CanonicalSlice, code: int) -> float:
    return float((image.tissue == code).sum()) * image.pixel_cm2


@pytest.mark.parametrize(
    "spacing_mm", [(0.7, 0.7), (0.98, 0.98), (0.8, 0.8), (2.0, 2.0), (0.9, 0.7)], ids=lambda s: f"{s[0]}x{s[1]}"
)
@pytest.mark.parametrize("target_mm", [0.8, 2.0])
def test_areas_are_kept(spacing_mm: tuple[float, float], target_mm: float) -> None:
    image = _slice(spacing_mm)
    config = RecordsConfig(height=round(320 / target_mm), width=round(400 / target_mm), spacing_mm=target_mm)
    grid = to_grid(image, config)
    for code in (schema.TISSUE_SAT, schema.TISSUE_VAT, schema.TISSUE_ESM):
        before, after = _area_cm2(image, code), _area_cm2(grid, code)
        print(f"{spacing_mm} -> {target_mm} mm, {schema.TISSUE_NAMES[code]}: {before:.2f} -> {after:.2f} cm2")
        assert abs(after - before) <= 0.501 * grid.pixel_cm2
    assert abs(grid.body.sum() * grid.pixel_cm2 - image.body.sum() * image.pixel_cm2) <= 0.501 * grid.pixel_cm2


def test_same_spacing_only_moves() -> None:
    """Whole-pixel shift: every value inside the trunk is a value of the slice, trunk in the middle, padding outside."""
    image = _slice((2.0, 2.0), centre_mm=(140.0, 215.0))
    grid = to_grid(image, RecordsConfig(height=160, width=200, spacing_mm=2.0))
    assert np.array_equal(grid.hu[grid.body > 0], image.hu[image.body > 0])
    assert np.array_equal(grid.tissue[grid.body > 0], image.tissue[image.body > 0])
    for axis, size in ((0, 160), (1, 200)):
        inside = np.flatnonzero(grid.body.any(axis=1 - axis))
        assert abs((inside[0] + inside[-1]) / 2 - (size - 1) / 2) <= 0.5
    assert (grid.hu[grid.body == 0] == schema.HU_PADDING).all()


@pytest.mark.parametrize("shape", [(160, 200), (190, 220), (110, 150), (111, 251)])
def test_moving_equals_resampling(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A scale all but 1 goes the long way: same values, on grids larger and smaller than the slice."""
    config = RecordsConfig(height=shape[0], width=shape[1], spacing_mm=2.0)
    image = _slice((2.0, 2.0), centre_mm=(150.0, 190.0))
    moved, centred = to_grid(image, config), grid._Axis.centred

    def nearly(*args: Any) -> grid._Axis:
        axis = centred(*args)
        return grid._Axis(axis.first, 1 + 1e-12, axis.n_in, axis.n_out)

    monkeypatch.setattr(grid._Axis, "centred", nearly)
    resampled = to_grid(image, config)
    for name in ("hu", "tissue", "body"):
        assert np.array_equal(getattr(moved, name), getattr(resampled, name)), name


def test_aspect_is_kept_on_anisotropic_slices() -> None:
    grid = to_grid(_slice((0.9, 0.7)), RecordsConfig(height=160, width=200, spacing_mm=2.0))
    height, width = (np.flatnonzero(grid.body.any(axis=axis)).size * 2.0 for axis in (1, 0))
    assert abs(height - 200) <= 4 and abs(width - 280) <= 4


def test_down_sampling_is_anti_aliased() -> None:
    """Noise loses variance as under scikit-image's anti-aliased rescale, not as under a pick of every third pixel."""
    image = _slice((0.8, 0.8))
    noise = np.random.default_rng(0).normal(0, 100, image.hu.shape)
    noisy = CanonicalSlice(noise.astype(np.int16), image.spacing_mm, image.tissue, image.body)
    grid = to_grid(noisy, RecordsConfig(height=134, width=168, spacing_mm=2.4))
    ours = grid.hu[40:90, 50:110].std()
    theirs = rescale(noise, 1 / 3, anti_aliasing=True)[40:90, 50:110].std()
    print(f"SD 100 HU before, {ours:.1f} after, scikit-image {theirs:.1f}")
    assert 0.7 < ours / theirs < 1.4


def test_large_trunk_is_refused_with_the_spacing_that_fits() -> None:
    with pytest.raises(InputDataError, match=r"trunk is 200 x 280 mm, the grid 128 x 160 mm; .*spacing_mm to 1.75"):
        to_grid(_slice((0.8, 0.8)), RecordsConfig(height=128, width=160, spacing_mm=1.0))


def test_no_trunk_is_refused() -> None:
    image = _slice((2.0, 2.0))
    empty = CanonicalSlice(image.hu, image.spacing_mm, image.tissue, np.zeros_like(image.body))
    with pytest.raises(InputDataError, match="no trunk"):
        to_grid(empty, RecordsConfig(height=160, width=200, spacing_mm=2.0))


def test_record_has_the_contracts_shapes() -> None:
    record = make_record(_slice((2.0, 2.0)), RecordsConfig(height=170, width=200, spacing_mm=2.0))
    found = {name: (array.shape, array.dtype) for name, array in record.items()}
    assert found == {
        "ct": ((170, 200), np.uint8),
        "lbp": ((170, 200, 3), np.uint8),
        "hog": ((4, 10, 12, 8), np.float32),
        "mask": ((170, 200), np.uint8),
    }
    assert set(np.unique(record["mask"])) == {0, 1}
