"""The tissue overlay of one slice (Figure 1): what was measured, drawn on the picture it was measured in."""

from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from bonemet_jax import schema
from data_pipelines.bodycomp import areas
from data_pipelines.canonical import CanonicalSlice
from data_pipelines.findings import Finding

#: Soft-tissue window, HU: black, white.
WINDOW_HU = (-160, 240)
#: Tissue code -> (red, green, blue). Laid over the tissue, their lightness differs by steps: a greyscale print keeps
#: them apart.
COLOURS: dict[int, tuple[int, int, int]] = {
    schema.TISSUE_SAT: (255, 226, 110),
    schema.TISSUE_VAT: (0, 110, 190),
    schema.TISSUE_ESM: (200, 30, 50),
    schema.TISSUE_FAT_UNSEGMENTED: (240, 165, 40),
}
#: What the tissue looks like underneath, HU: for the legend's patches.
_TYPICAL_HU = {schema.TISSUE_SAT: -100, schema.TISSUE_VAT: -100, schema.TISSUE_ESM: 50,
               schema.TISSUE_FAT_UNSEGMENTED: -100}  # fmt: skip
TRUNK_COLOUR = (150, 235, 235)
FLAG_COLOUR = (255, 140, 0)
MAX_FLAGS = 5
OPACITY = 0.6
_PICTURE_WIDTH = 900
_MARGIN = 16
_HEADER = 2 * _MARGIN + 28
_SIZES = (22, 19, 16)
_BACKGROUND, _INK = (18, 18, 20), (240, 240, 240)
#: A line of the legend: colour of its patch, if it has one, and text.
Line = tuple[tuple[int, int, int] | None, str]
_AREA_OF_CODE = {code: name for name, code in schema.AREA_CODES.items()}


def draw_overlay(
    image: CanonicalSlice,
    title: str,
    incomplete: Collection[str] = (),
    findings: Sequence[Finding] = (),
    convention: str = "paper",
) -> Image.Image:
    """Picture of the slice with its tissues coloured, a legend with areas in cm2, orientation letters, a scale bar.

    Coloured are the pixels that count, region and Hounsfield range both; the trunk's outline shows what was left out.
    Pixels come out square whatever the spacing.

    Args:
        image: the slice.
        title: first line.
        incomplete: area columns of which only a part is in view: told as that.
        findings: what the reader of the picture should know; the first MAX_FLAGS are written below the legend.
        convention: name in schema.HU_CONVENTIONS.
    """
    picture, px_per_cm = _make_picture(image, convention)
    _draw_orientation(picture)
    _draw_scale_bar(picture, px_per_cm)
    lines = [*_make_legend(image, incomplete, convention), *_make_flags(findings)]
    line_height = 34
    width, height = picture.size
    sheet = Image.new("RGB", (width, _HEADER + height + 2 * _MARGIN + line_height * len(lines)), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    shown, title_font = _fit(title, width - 2 * _MARGIN)
    draw.text((width / 2, _HEADER / 2), shown, fill=_INK, font=title_font, anchor="mm")
    sheet.paste(picture, (0, _HEADER))
    for row, (colour, text) in enumerate(lines):
        middle = _HEADER + height + _MARGIN + line_height * row + line_height // 2
        if colour is not None:
            draw.rectangle((_MARGIN, middle - 11, _MARGIN + 34, middle + 11), fill=colour, outline=_INK)
        if colour == FLAG_COLOUR:  # a sign too: in print its colour is that of fat
            draw.text((_MARGIN + 17, middle), "!", fill=_BACKGROUND, font=_font(_SIZES[0]), anchor="mm")
        shown, font = _fit(text, width - 2 * _MARGIN - 50)
        draw.text((_MARGIN + 50, middle), shown, fill=_INK, font=font, anchor="lm")
    return sheet


def crop_to_picture(overlay: Image.Image, shape: tuple[int, int], spacing_mm: tuple[float, float]) -> Image.Image:
    """An overlay of a slice of this shape and spacing without its title and legend: both are unreadable when small."""
    width, height = _size_picture(shape, spacing_mm)
    return overlay.crop((0, _HEADER, width, min(_HEADER + height, overlay.height)))


def make_key() -> list[tuple[tuple[int, int, int], str]]:
    """Colour and name of every tissue and of the trunk's outline, for a legend that many overlays share."""
    return [*((_make_patch(code), schema.TISSUE_NAMES[code]) for code in COLOURS), (TRUNK_COLOUR, "trunk outline")]


def _make_patch(code: int) -> tuple[int, int, int]:
    """The tissue's colour as it looks over the tissue."""
    red, green, blue = _blend(np.full(3, _window(np.array(_TYPICAL_HU[code]))), COLOURS[code]).astype(int).tolist()
    return red, green, blue


def _size_picture(shape: tuple[int, int], spacing_mm: tuple[float, float]) -> tuple[int, int]:
    """Width and height in square pixels."""
    (rows, columns), (row_mm, column_mm) = shape, spacing_mm
    return _PICTURE_WIDTH, max(1, round(rows * row_mm * _PICTURE_WIDTH / (columns * column_mm)))


def _make_picture(image: CanonicalSlice, convention: str) -> tuple[Image.Image, float]:
    """Windowed slice with coloured tissues at square pixels, and its pixels per cm."""
    rows, columns = image.hu.shape
    px_per_mm = _PICTURE_WIDTH / (columns * image.spacing_mm[1])
    size = _size_picture((rows, columns), image.spacing_mm)
    shown = image.hu if image.is_hu else _stretch(image.hu)
    grey = _window(shown).astype(np.uint8)
    resized = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC))
    present = [code for code in COLOURS if (image.tissue == code).any()]
    # One table of colours by code and grey level: far fewer steps than blending pixel by pixel.
    counted, levels = np.zeros(image.tissue.shape, np.uint8), np.repeat(np.arange(256.0), 3).reshape(256, 3)
    table = np.broadcast_to(levels, (max(COLOURS) + 1, 256, 3)).astype(np.uint8)
    for code in present:
        counted[areas.compute_counted(image, code, convention)] = code
        table[code] = _blend(levels, COLOURS[code])
    canvas = np.take(table.reshape(-1, 3), _resize(counted, size) * np.intp(256) + resized, axis=0)
    tissue = _resize(image.tissue, size)
    for code in present:
        if code != schema.TISSUE_FAT_UNSEGMENTED:  # nobody drew that region
            canvas[_outline(tissue == code)] = table[code, 255]
    canvas[_outline(_resize(image.body, size) > 0)] = TRUNK_COLOUR
    return Image.fromarray(canvas), 10 * px_per_mm


def _stretch(grey: np.ndarray) -> Float32[np.ndarray, "..."]:
    """Grey levels spread over the window, as they came."""
    low, high = WINDOW_HU
    black, white = float(grey.min()), float(grey.max())
    return (low + (grey - black) / max(white - black, 1.0) * (high - low)).astype(np.float32)


def _window(hu: np.ndarray) -> Float32[np.ndarray, "..."]:
    low, high = WINDOW_HU
    return np.clip((np.asarray(hu, np.float32) - low) / (high - low) * 255, 0, 255)


def _blend(under: np.ndarray, colour: tuple[int, int, int]) -> Float32[np.ndarray, "... 3"]:
    return ((1 - OPACITY) * under + OPACITY * np.array(colour)).astype(np.float32)


def _resize(codes: np.ndarray, size: tuple[int, int]) -> UInt8[np.ndarray, "rows columns"]:
    return np.asarray(Image.fromarray(codes.astype(np.uint8)).resize(size, Image.Resampling.NEAREST))


def _outline(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Pixels of the mask with a 4-neighbour outside it; the picture's border counts as outside."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def _make_legend(
    image: CanonicalSlice, incomplete: Collection[str] = (), convention: str = "paper"
) -> list[Line]:
    """Colour and text of every tissue there is, and of the trunk."""
    measured = areas.compute_areas_cm2(image, convention)
    lines: list[Line] = []
    for code in COLOURS:
        if not (image.tissue == code).any():
            continue
        name = _AREA_OF_CODE.get(code, areas.TRUNK_FAT)
        low, high = areas.get_range(code, convention)
        how = f"{low} to {high} HU" if image.is_hu else "grey levels: the whole region"
        text = f"{schema.TISSUE_NAMES[code]}: {measured[name]:.1f} cm2{_part(name, incomplete)}  ({how})"
        lines.append((_make_patch(code), text))
    if image.body.any():
        lines.append((TRUNK_COLOUR, _tell_trunk(image, measured[areas.TRUNK_FAT], incomplete)))
    return lines or [(_BACKGROUND, "no tissue segmented")]


def _tell_trunk(image: CanonicalSlice, fat_cm2: float, incomplete: Collection[str]) -> str:
    trunk_cm2 = image.body.sum() * image.pixel_cm2
    fat = "" if np.isnan(fat_cm2) else f", {fat_cm2:.1f} cm2 of it fat{_part(areas.TRUNK_FAT, incomplete)}"
    return f"trunk outline: {trunk_cm2:.0f} cm2{fat}  (table and arms left out)"


def _part(name: str, incomplete: Collection[str]) -> str:
    return ", visible part only" if name in incomplete else ""


def _make_flags(findings: Sequence[Finding]) -> list[Line]:
    """What was found, and below it, without a patch of its own, what decided."""
    lines: list[Line] = []
    for finding in findings[:MAX_FLAGS]:
        lines.append((FLAG_COLOUR, finding.what))
        lines += [(None, finding.fact)] if finding.fact else []
    if len(findings) > MAX_FLAGS:
        lines.append((FLAG_COLOUR, f"and {len(findings) - MAX_FLAGS} more"))
    return lines


def _draw_orientation(picture: Image.Image) -> None:
    width, height = picture.size
    places = {"R": (22, height / 2), "L": (width - 22, height / 2), "A": (width / 2, 22), "P": (width / 2, height - 22)}
    for letter, place in places.items():
        _label(picture, place, letter, 30, "mm")


def _draw_scale_bar(picture: Image.Image, px_per_cm: float) -> None:
    width, height = picture.size
    length_cm = next((cm for cm in (10, 5, 2, 1) if cm * px_per_cm <= width / 3), 1)
    right, bottom = width - 24, height - 24
    left = right - length_cm * px_per_cm
    draw = ImageDraw.Draw(picture)
    draw.rectangle((left - 2, bottom - 5, right + 2, bottom + 3), fill="black")
    draw.rectangle((left, bottom - 3, right, bottom + 1), fill="white")
    _label(picture, ((left + right) / 2, bottom - 10), f"{length_cm} cm", 22, "ms")


def _label(picture: Image.Image, place: tuple[float, float], text: str, size: int, anchor: str) -> None:
    """White text with a black rim: readable on air and on bone."""
    ImageDraw.Draw(picture).text(
        place, text, fill="white", font=_font(size), anchor=anchor, stroke_width=2, stroke_fill="black"
    )


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _fit(text: str, width: int) -> tuple[str, ImageFont.FreeTypeFont | ImageFont.ImageFont]:
    """The text and a font in which it fits `width` pixels: smaller first, then cut with an ellipsis."""
    fonts = [_font(size) for size in _SIZES]
    font = next((font for font in fonts if font.getlength(text) <= width), fonts[-1])
    if font.getlength(text) <= width:
        return text, font
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "...", font
