"""Contact sheets: the overlays of many patients on a page, to be looked through in a minute."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from bonemet_jax import artifacts
from data_pipelines.findings import Severity

COLUMNS, ROWS = 5, 6
_WIDTH, _HEIGHT, _MARGIN, _CAPTION = 300, 300, 6, 26
_BACKGROUND, _INK = (18, 18, 20), (240, 240, 240)
_RIM: dict[Severity | None, tuple[int, int, int]] = {
    None: (70, 70, 76), "warning": (240, 180, 40), "error": (225, 50, 50),
}


@dataclass(frozen=True)
class Picture:
    """One patient's place on a sheet."""

    caption: str
    """Number of the row or input: a sheet shows no id."""
    image: Image.Image
    """Overlay, any size."""
    worst: Severity | None = None
    """Worst finding of this patient: the colour of the rim, and a word in the caption."""


def save_sheets(directory: Path, pictures: Iterable[Picture]) -> list[Path]:
    """Write contact_sheet_01.png and so on, 30 patients each; one sheet is held in memory at a time."""
    paths = []
    for number, page in enumerate(_batched(pictures), start=1):
        buffer = io.BytesIO()
        draw_sheet(page).save(buffer, format="PNG")
        paths.append(directory / f"contact_sheet_{number:02d}.png")
        artifacts.write_bytes(paths[-1], buffer.getvalue())
    return paths


def draw_sheet(pictures: list[Picture]) -> Image.Image:
    """At most 30 pictures, five a row."""
    rows = -(-len(pictures) // COLUMNS)
    step_x, step_y = _WIDTH + _MARGIN, _HEIGHT + _CAPTION + _MARGIN
    sheet = Image.new("RGB", (min(COLUMNS, len(pictures)) * step_x + _MARGIN, rows * step_y + _MARGIN), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(16)
    for place, picture in enumerate(pictures):
        left, top = _MARGIN + place % COLUMNS * step_x, _MARGIN + place // COLUMNS * step_y
        thumbnail = picture.image.convert("RGB")
        thumbnail.thumbnail((_WIDTH - 6, _HEIGHT - 6))
        sheet.paste(thumbnail, (left + (_WIDTH - thumbnail.width) // 2, top + (_HEIGHT - thumbnail.height) // 2))
        draw.rectangle((left, top, left + _WIDTH - 1, top + _HEIGHT - 1), outline=_RIM[picture.worst], width=2)
        text = f"{picture.caption}   {picture.worst}" if picture.worst else picture.caption
        draw.text((left + _WIDTH / 2, top + _HEIGHT + _CAPTION / 2), text, fill=_INK, font=font, anchor="mm")
    return sheet


def _batched(pictures: Iterable[Picture]) -> Iterator[list[Picture]]:
    rest = iter(pictures)
    while page := list(islice(rest, COLUMNS * ROWS)):
        yield page
