"""What the page is made of: sections of paragraphs, lists, tables and pictures."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from bonemet_jax.report.tables import Table


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Missing:
    """A part that is not there, and why."""

    title: str
    reason: str


@dataclass(frozen=True)
class Picture:
    """One image as a data: address."""

    uri: str
    alt: str
    svg: bytes | None = None
    """The drawing itself, for figures of our own."""


@dataclass(frozen=True)
class Figure:
    """One or several pictures under one caption; `name` is the file name of a drawing of our own."""

    name: str
    caption: str
    pictures: tuple[Picture, ...]


Block = Text | Bullets | Missing | Figure | Table


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: tuple[Block, ...]


def present(name: str, caption: str, alt: str, svg: bytes) -> Figure:
    """A drawing of our own under its caption."""
    return Figure(name, caption, (Picture(_make_uri("image/svg+xml", svg), alt, svg),))


def make_photo(path: Path, alt: str) -> Picture:
    """A PNG file."""
    return Picture(_make_uri("image/png", path.read_bytes()), alt)


def make_thumbnail(path: Path, alt: str, width_px: int) -> Picture:
    """A picture file, reduced to at most `width_px` pixels across, as JPEG."""
    buffer = io.BytesIO()
    with Image.open(path) as image:
        small = image.convert("RGB")
        small.thumbnail((width_px, width_px))
        small.save(buffer, format="JPEG", quality=85)
    return Picture(_make_uri("image/jpeg", buffer.getvalue()), alt)


def _make_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
