"""Pictures of one slice: Hounsfield units only where the window is declared, and nothing guessed."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from roifile import ImagejRoi

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError
from data_pipelines.bodycomp.areas import compute_areas_cm2
from data_pipelines.ingest import Choice, read_source
from data_pipelines.ingest.files import find_files
from data_pipelines.ingest.picture import Picture, PictureStack, find_picture, load_picture
from tests.ingest.conftest import SPACING_MM, make_hu

WINDOW_HU = (-200.0, 310.0)
DECLARED = Picture(SPACING_MM, WINDOW_HU)
HU = make_hu()[0]
GREY = np.clip(np.rint((HU - WINDOW_HU[0]) / 2), 0, 255).astype(np.uint8)


def _save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def _load(path: Path, declared: Picture | None = DECLARED) -> PictureStack:
    file = find_picture(find_files(path))
    assert file is not None
    return load_picture(file, declared)


def _codes(stack: PictureStack) -> list[str]:
    return [finding.code for finding in stack.findings]


def test_eight_bit_png_in_a_window(tmp_path: Path) -> None:
    """HU = low + grey / 255 x (high - low): here in steps of 2. Black is the window's end or anything below."""
    stack = _load(_save(tmp_path / "a.png", GREY))
    hu, notes = stack.load_hu(0)
    inside = (HU > -199) & (HU <= 310)
    assert np.abs(hu - HU)[inside].max() <= 1
    assert (hu[HU < -199] == schema.HU_PADDING).all()
    assert (hu[HU > 310] == 310).all()
    assert (stack.is_hu, notes, _codes(stack)) == (True, (), ["picture-hu"])
    assert "steps of 2 HU" in str(stack.findings[0])
    assert (stack.grid.spacing_mm, stack.grid.z_mm) == (SPACING_MM, (0.0,))


def test_sixteen_bit_png(tmp_path: Path) -> None:
    """Steps of 0.008 HU: rounding alone is left."""
    fine = np.clip(np.rint((HU - WINDOW_HU[0]) / 510 * 65535), 0, 65535).astype(np.uint16)
    stack = _load(_save(tmp_path / "a.png", fine))
    inside = (HU > -199) & (HU <= 310)
    np.testing.assert_array_equal(stack.load_hu(0)[0][inside], HU[inside])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_grey_in_other_clothes_is_accepted(tmp_path: Path, mode: str) -> None:
    Image.fromarray(GREY).convert(mode).save(tmp_path / "a.png")
    plain = _save(tmp_path / "b" / "g.png", GREY)
    np.testing.assert_array_equal(_load(tmp_path / "a.png").load_hu(0)[0], _load(plain).load_hu(0)[0])


def test_without_a_window_there_are_no_hounsfield_units(tmp_path: Path) -> None:
    stack = _load(_save(tmp_path / "a.png", GREY), Picture(SPACING_MM))
    np.testing.assert_array_equal(stack.load_hu(0)[0], GREY)
    assert (stack.is_hu, _codes(stack)) == (False, ["picture-no-hu"])


def test_jpeg_is_told_to_be_lossy(tmp_path: Path) -> None:
    stack = _load(_save(tmp_path / "a.JPG", GREY, quality=95, format="JPEG"))
    assert _codes(stack) == ["picture-hu", "picture-lossy"]
    assert np.abs(stack.grey * 255 - GREY).mean() < 2


@pytest.mark.parametrize("window", [(-160.0, 240.0), (-1000.0, 100.0)])
def test_window_that_cuts_a_counted_range_is_told(tmp_path: Path, window: tuple[float, float]) -> None:
    stack = _load(_save(tmp_path / "a.png", GREY), Picture(SPACING_MM, window))
    assert "picture-window" in _codes(stack)
    assert "counted -190 to 150" in str(stack.findings[-1])


# --- What is refused ------------------------------------------------------------------------------


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _bomb(width: int, height: int) -> bytes:
    """A small PNG whose header claims a large picture."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * 1_000_000)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _turned() -> bytes:
    exif = Image.Exif()
    exif[274] = 6
    return _encode(Image.fromarray(GREY), "JPEG", exif=exif)


def _coloured() -> bytes:
    pixels = np.stack([GREY] * 3, axis=2)
    pixels[10, 10] = (255, 0, 0)
    return _encode(Image.fromarray(pixels))


def _transparent() -> bytes:
    image = Image.fromarray(GREY).convert("RGBA")
    image.putpixel((0, 0), (0, 0, 0, 100))
    return _encode(image)


#: Name -> (bytes, declared, code, what the line says).
REFUSED: dict[str, tuple[bytes, Picture | None, str, str]] = {
    "no spacing": (_encode(Image.fromarray(GREY)), Picture(None, WINDOW_HU), "picture-no-spacing", "--picture-spacing"),
    "nothing declared": (_encode(Image.fromarray(GREY)), None, "picture-no-spacing", "--picture-spacing"),
    "spacing 0": (_encode(Image.fromarray(GREY)), Picture((0.0, 1.0)), "picture-spacing", "0 x 1 mm"),
    "spacing nan": (_encode(Image.fromarray(GREY)), Picture((float("nan"), 1.0)), "picture-spacing", "nan"),
    "window turned": (_encode(Image.fromarray(GREY)), Picture(SPACING_MM, (300, -200)), "picture-window-range", "300"),
    "text": (b"no picture", DECLARED, "picture-damaged", "UnidentifiedImageError"),
    "empty": (b"", DECLARED, "picture-damaged", "UnidentifiedImageError"),
    "cut": (_encode(Image.fromarray(GREY))[:120], DECLARED, "picture-damaged", "Error"),
    "a TIFF": (_encode(Image.fromarray(GREY), "TIFF"), DECLARED, "picture-damaged", "UnidentifiedImageError"),
    "bomb": (_bomb(60000, 60000), DECLARED, "picture-too-large", "limit"),
    "large": (_bomb(5000, 5000), DECLARED, "picture-too-large", "5000 x 5000"),
    "coloured": (_coloured(), DECLARED, "picture-colour", "red, green and blue differ"),
    "transparent": (_transparent(), DECLARED, "picture-colour", "transparent"),
    "for print": (_encode(Image.fromarray(GREY).convert("CMYK"), "JPEG"), DECLARED, "picture-colour", "CMYK"),
    "turned": (_turned(), DECLARED, "picture-turned", "Orientation 6"),
    "animated": (_encode(Image.fromarray(GREY), save_all=True, append_images=[Image.fromarray(255 - GREY)]),
                 DECLARED, "picture-several", "2 pictures"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_pictures_not_understood_are_refused(tmp_path: Path, name: str) -> None:
    content, declared, code, says = REFUSED[name]
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputDataError, match=says) as refusal:
        _load(tmp_path / "a.png", declared)
    assert refusal.value.code == code and "\n" not in str(refusal.value)


# --- As a patient ---------------------------------------------------------------------------------


def test_picture_as_a_patient(tmp_path: Path) -> None:
    path = _save(tmp_path / "007.PNG", GREY, format="PNG")
    found = read_source(path, choice=Choice(picture=DECLARED, segment="none"))
    assert (found.kind, found.patient_id, found.n_slices, found.index) == ("picture", "007", 1, 0)
    assert {"picture-hu", "slice-only"} <= {finding.code for finding in found.findings}
    fat = (HU > -190) & (HU < -30)
    assert (found.image.tissue == schema.TISSUE_FAT_UNSEGMENTED)[fat].mean() > 0.99


def test_regions_on_a_grey_picture_are_counted_whole(tmp_path: Path) -> None:
    """Without a window no range applies: 400 pixels of 4 x 3 mm are 48 cm2, whatever lies under them."""
    path = _save(tmp_path / "p.png", GREY)
    points = np.array([[30, 20], [50, 20], [50, 40], [30, 40]], np.int32)
    (tmp_path / "VAT.roi").write_bytes(ImagejRoi.frompoints(points, name="VAT").tobytes())
    found = read_source(path, choice=Choice(picture=Picture(SPACING_MM)), rois={"reader": tmp_path / "VAT.roi"})
    assert not found.image.is_hu
    assert compute_areas_cm2(found.image)["vfa_cm2"] == pytest.approx(48.0)
    assert np.isnan(compute_areas_cm2(found.image)["sfa_cm2"])


def test_two_pictures_are_no_patient(tmp_path: Path) -> None:
    _save(tmp_path / "p" / "a.png", GREY)
    _save(tmp_path / "p" / "b.png", GREY)
    with pytest.raises(InputDataError):
        read_source(tmp_path / "p", choice=Choice(picture=DECLARED))
