"""The overlay picture: geometry, colours, greyscale print, nothing cut off."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bonemet_jax import schema
from data_pipelines.bodycomp import overlay
from data_pipelines.canonical import CanonicalSlice


def _image(spacing_mm: tuple[float, float] = (1.0, 1.0)) -> CanonicalSlice:
    """Four vertical bands on air: subcutaneous fat, visceral fat, muscle, plain muscle."""
    hu = np.full((100, 120), -1000, np.int16)
    tissue = np.zeros((100, 120), np.uint8)
    bands = [(schema.TISSUE_SAT, -100), (schema.TISSUE_VAT, -100), (schema.TISSUE_ESM, 50), (0, 50)]
    for i, (code, value) in enumerate(bands):
        hu[40:60, 20 + 20 * i:40 + 20 * i] = value
        tissue[40:60, 20 + 20 * i:40 + 20 * i] = code
    return CanonicalSlice(hu, spacing_mm, tissue, (hu > -300).astype(np.uint8))


def _centres(picture: Image.Image, header: int) -> list[int]:
    scale = picture.width / 120
    return [picture.getpixel((int((30 + 20 * i) * scale), header + int(50 * scale))) for i in range(4)]


def test_greyscale_print_keeps_tissues_apart() -> None:
    picture = overlay.draw_overlay(_image(), "a title").convert("L")
    header = 2 * overlay._MARGIN + 28
    greys = sorted(_centres(picture, header))
    assert min(np.diff(greys)) >= 15


def test_pixels_come_out_square() -> None:
    square = overlay.draw_overlay(_image(), "t").size
    tall = overlay.draw_overlay(_image((2.0, 1.0)), "t").size
    assert tall[0] == square[0]
    assert tall[1] - square[1] == pytest.approx(100 / 120 * square[0], abs=2)


def test_only_pixels_in_range_are_coloured() -> None:
    image = _image()
    image.hu[48:52, 28:32] = 300
    picture = overlay.draw_overlay(image, "t").convert("RGB")
    red, green, blue = _centres(picture, 2 * overlay._MARGIN + 28)[0]
    assert red == green == blue


def test_legend_names_area_and_missing_tissue_is_not_named() -> None:
    lines = [text for _, text in overlay._make_legend(_image())]
    assert lines[0].startswith("subcutaneous fat: 4.0 cm2")
    bare = CanonicalSlice(_image().hu, (1.0, 1.0), np.zeros((100, 120), np.uint8), np.zeros((100, 120), np.uint8))
    assert [text for _, text in overlay._make_legend(bare)] == ["no tissue segmented"]


def test_long_text_is_shrunk_then_cut() -> None:
    for text in ("short", "x" * 80, "w" * 500):
        shown, font = overlay._fit(text, 868)
        assert font.getlength(shown) <= 868
    assert shown.endswith("...")


def test_png_is_written_and_repeats_to_the_byte(tmp_path: Path) -> None:
    overlay.save_overlay(tmp_path / "a.png", _image(), "t")
    overlay.save_overlay(tmp_path / "b.png", _image(), "t")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "RGB"
