"""The overlay picture: geometry, colours, greyscale print, nothing cut off."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from bonemet_jax import schema
from data_pipelines.bodycomp import overlay
from data_pipelines.canonical import CanonicalSlice
from data_pipelines.findings import find


def _image(spacing_mm: tuple[float, float] = (1.0, 1.0)) -> CanonicalSlice:
    """Four vertical bands on air: subcutaneous fat, visceral fat, muscle, plain muscle."""
    hu = np.full((100, 120), -1000, np.int16)
    tissue = np.zeros((100, 120), np.uint8)
    bands = [(schema.TISSUE_SAT, -100), (schema.TISSUE_VAT, -100), (schema.TISSUE_ESM, 50), (0, 50)]
    for i, (code, value) in enumerate(bands):
        hu[40:60, 20 + 20 * i:40 + 20 * i] = value
        tissue[40:60, 20 + 20 * i:40 + 20 * i] = code
    return CanonicalSlice(hu, spacing_mm, tissue, (hu > -300).astype(np.uint8))


def _centres(picture: Image.Image, header: int) -> list[np.ndarray]:
    scale = picture.width / 120
    pixels = np.asarray(picture).astype(int)
    return [pixels[header + int(50 * scale), int((30 + 20 * i) * scale)] for i in range(4)]


def test_greyscale_print_keeps_tissues_apart() -> None:
    picture = overlay.draw_overlay(_image(), "a title").convert("L")
    header = 2 * overlay._MARGIN + 28
    greys = sorted(int(grey) for grey in _centres(picture, header))
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


def test_trunks_fat_is_told() -> None:
    lines = [text for _, text in overlay._make_legend(_image())]
    assert lines[-1] == "trunk outline: 16 cm2, 8.0 cm2 of it fat  (table and arms left out)"


def test_incomplete_area_is_told_as_the_visible_part() -> None:
    lines = [text for _, text in overlay._make_legend(_image(), {"sfa_cm2", "trunk_fat_cm2"})]
    assert lines[0].startswith("subcutaneous fat: 4.0 cm2, visible part only")
    assert lines[1].startswith("visceral fat: 4.0 cm2  (")
    assert "8.0 cm2 of it fat, visible part only" in lines[-1]


def test_flags_and_what_decided_stand_below_the_legend() -> None:
    cut = find("field-cut", fact="40 mm of the image border under the trunk")
    lines = overlay._make_flags([cut])
    assert [text for _, text in lines] == [cut.what, cut.fact]
    plain, flagged = overlay.draw_overlay(_image(), "t"), overlay.draw_overlay(_image(), "t", findings=[cut])
    assert flagged.height > plain.height
    assert (np.asarray(flagged) == overlay.FLAG_COLOUR).all(axis=-1).any()
    many = [text for _, text in overlay._make_flags([cut] * 8)]
    assert many[-1] == "and 3 more"


def test_convention_shows_in_legend_and_colour() -> None:
    image = _image()
    image.hu[48:52, 48:52] = -40  # visceral fat by boa, not by the paper
    lines = [text for _, text in overlay._make_legend(image, convention="boa")]
    assert lines[1].startswith("visceral fat: 4.0 cm2  (-190 to -30 HU)")
    header = 2 * overlay._MARGIN + 28
    paper, boa = (_centres(overlay.draw_overlay(image, "t", convention=c), header)[1] for c in ("paper", "boa"))
    assert len(set(paper.tolist())) == 1 and len(set(boa.tolist())) > 1


def test_grey_levels_are_drawn_whole() -> None:
    grey = np.where(_image().hu > -500, 128, 0).astype(np.int16)
    lines = [text for _, text in overlay._make_legend(replace(_image(), hu=grey, is_hu=False))]
    assert lines[0] == "subcutaneous fat: 4.0 cm2  (grey levels: the whole region)"
    assert lines[-1] == "trunk outline: 16 cm2  (table and arms left out)"


def test_long_text_is_shrunk_then_cut() -> None:
    for text in ("short", "x" * 80, "w" * 500):
        shown, font = overlay._fit(text, 868)
        assert font.getlength(shown) <= 868
    assert shown.endswith("...")


def test_picture_repeats_to_the_byte() -> None:
    first, second = overlay.draw_overlay(_image(), "t"), overlay.draw_overlay(_image(), "t")
    assert first.mode == "RGB" and first.tobytes() == second.tobytes()
