"""Contact sheets: the slices of many patients on a page, to be looked through in a minute."""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from bonemet_jax import artifacts
from data_pipelines.bodycomp.overlay import make_key
from data_pipelines.check_codes import Severity

COLUMNS, ROWS = 5, 6
_WIDTH, _HEIGHT, _MARGIN, _CAPTION = 300, 300, 6, 26
_FOOT_LINE, _PATCH, _GAP = 28, 22, 26
_BACKGROUND, _INK, _NO_PICTURE = (18, 18, 20), (240, 240, 240), (96, 96, 100)
_Colour = tuple[int, int, int]
_RIM: dict[Severity | None, _Colour] = {None: (70, 70, 76), "warning": (240, 180, 40), "error": (225, 50, 50)}


@dataclass(frozen=True)
class Picture:
    """One patient's place on a sheet."""

    name: str
    """Number of the row or input: a sheet shows no id."""
    image: Image.Image | None
    """The slice with its tissues, any size; None where it was refused."""
    worst: Severity | None = None
    """Worst finding of this patient: the colour of the rim."""
    code: str = ""
    """Its code."""

    @property
    def caption(self) -> str:
        """Name, and what is wrong."""
        return f"{self.name} · {self.code}" if self.code else self.name


@dataclass(frozen=True)
class _Entry:
    """One thing the foot explains."""

    text: str
    colour: _Colour | None = None
    is_rim: bool = False


def save_sheets(directory: Path, pictures: Iterable[Picture], shared: Sequence[str] = ()) -> list[Path]:
    """Write contact_sheet_01.png and so on, 30 patients each; one sheet is held in memory at a time.

    Args:
        directory: where to.
        pictures: in the order to be shown.
        shared: codes of warnings that all patients have: told once at the foot.
    """
    paths = []
    for number, page in enumerate(_batched(pictures), start=1):
        buffer = io.BytesIO()
        draw_sheet(page, shared).save(buffer, format="PNG")
        paths.append(directory / f"contact_sheet_{number:02d}.png")
        artifacts.write_bytes(paths[-1], buffer.getvalue())
    return paths


def draw_sheet(pictures: Sequence[Picture], shared: Sequence[str] = ()) -> Image.Image:
    """At most 30 pictures, five a row, and what colours mean at the foot."""
    rows = -(-len(pictures) // COLUMNS)
    step_x, step_y = _WIDTH + _MARGIN, _HEIGHT + _CAPTION + _MARGIN
    width, foot_top = min(COLUMNS, len(pictures)) * step_x + _MARGIN, rows * step_y + _MARGIN
    foot = list(_place(_make_foot(shared), width))
    height = foot_top + (foot[-1][1] + 1) * _FOOT_LINE + _MARGIN
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for place, picture in enumerate(pictures):
        left, top = _MARGIN + place % COLUMNS * step_x, _MARGIN + place // COLUMNS * step_y
        _draw_tile(sheet, picture, left, top)
        text, font = _fit(picture.caption, _WIDTH)
        draw.text((left + _WIDTH / 2, top + _HEIGHT + _CAPTION / 2), text, fill=_INK, font=font, anchor="mm")
    for left, line, entry in foot:
        _draw_entry(draw, entry, left, foot_top + line * _FOOT_LINE + _FOOT_LINE // 2)
    return sheet


def _draw_tile(sheet: Image.Image, picture: Picture, left: int, top: int) -> None:
    draw, box = ImageDraw.Draw(sheet), (left, top, left + _WIDTH - 1, top + _HEIGHT - 1)
    if picture.image is None:
        text, font = _fit(f"{picture.name}: {picture.code or 'not read'}", _WIDTH - 20)
        draw.rectangle(box, fill=_NO_PICTURE)
        draw.text((left + _WIDTH / 2, top + _HEIGHT / 2), text, fill=_INK, font=font, anchor="mm")
    else:
        small = picture.image.convert("RGB")
        small.thumbnail((_WIDTH - 6, _HEIGHT - 6))
        sheet.paste(small, (left + (_WIDTH - small.width) // 2, top + (_HEIGHT - small.height) // 2))
    draw.rectangle(box, outline=_RIM[picture.worst], width=3)


def _make_foot(shared: Sequence[str]) -> list[_Entry]:
    tissues = [_Entry(name.replace("_", " "), colour) for colour, name in make_key()]
    rims = [_Entry(text, _RIM[severity], is_rim=True)
            for severity, text in (("warning", "warning"), ("error", "error"), (None, "nothing else found"))]
    return [*tissues, *rims, *([_Entry(f"all of them: {', '.join(shared)}")] if shared else [])]


def _place(entries: Sequence[_Entry], width: int) -> Iterator[tuple[int, int, _Entry]]:
    """Left edge and line of every entry, side by side as far as they fit."""
    font, left, line = _font(16), _MARGIN, 0
    for entry in entries:
        needed = int(font.getlength(entry.text)) + (_PATCH + 8 if entry.colour else 0)
        if left > _MARGIN and left + needed > width - _MARGIN:
            left, line = _MARGIN, line + 1
        yield left, line, entry
        left += needed + _GAP


def _draw_entry(draw: ImageDraw.ImageDraw, entry: _Entry, left: int, middle: int) -> None:
    if entry.colour is not None:
        box = (left, middle - 8, left + _PATCH, middle + 8)
        draw.rectangle(box, outline=entry.colour if entry.is_rim else _INK, width=3 if entry.is_rim else 1,
                       fill=None if entry.is_rim else entry.colour)
        left += _PATCH + 8
    draw.text((left, middle), entry.text, fill=_INK, font=_font(16), anchor="lm")


def _fit(text: str, width: int) -> tuple[str, ImageFont.FreeTypeFont | ImageFont.ImageFont]:
    """The text and a font in which it fits; the longest codes are cut."""
    font = next((font for font in map(_font, (16, 14, 12)) if font.getlength(text) <= width), _font(12))
    while font.getlength(text) > width:
        text = text[:-4] + "..."
    return text, font


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _batched(pictures: Iterable[Picture]) -> Iterator[list[Picture]]:
    rest = iter(pictures)
    while page := list(islice(rest, COLUMNS * ROWS)):
        yield page
