"""One slice as a PNG or JPEG picture: grey levels, and Hounsfield units only where the window is declared."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int16
from PIL import Image, UnidentifiedImageError

from bonemet_jax import schema
from bonemet_jax.process_state import REPLACING_WARNINGS
from data_pipelines.findings import Finding, find, refusal
from data_pipelines.ingest.files import InputFile
from data_pipelines.ingest.grid import UPRIGHT, Axes, Grid
from data_pipelines.ingest.picture_integrity import find_picture_damage

SUFFIXES = (".png", ".jpg", ".jpeg")
#: A CT slice has 512 x 512 pixels, rarely 1024 x 1024.
MAX_PIXELS = 4096 * 4096
#: Pixel spacings of CT lie well inside, mm.
SPACING_MM = (0.05, 20.0)
_EXIF_ORIENTATION = 274
#: Pillow's modes without colour -> full scale of a grey level; 32-bit modes are how it hands on 16-bit files.
_FULL_SCALE = {"1": 1, "L": 255, "I;16": 65535, "I;16B": 65535, "I": 65535}


@dataclass(frozen=True)
class Picture:
    """What a picture's file does not tell."""

    spacing_mm: tuple[float, float] | None = None
    """Row and column spacing, mm."""
    window_hu: tuple[float, float] | None = None
    """Hounsfield units of black and of white; None: unknown."""


@dataclass(frozen=True)
class PictureStack:
    """A stack of one slice."""

    grid: Grid
    file: InputFile
    grey: Float64[np.ndarray, "height width"]
    """0 black to 1 white."""
    window_hu: tuple[float, float] | None
    findings: tuple[Finding, ...]
    tilt_deg: float = 0.0
    kind: str = "picture"
    placeholder: str = ""
    axes: Axes = UPRIGHT
    """A slice is saved as radiologists see it, front up and the patient's right on the left."""

    @property
    def is_hu(self) -> bool:
        """False without a declared window."""
        return self.window_hu is not None

    @property
    def holds_fat(self) -> bool:
        """False where the window ends above the lowest value of fat: what is black may be fat or air."""
        return self.window_hu is None or self.window_hu[0] <= min(low for low, _ in schema.HU_RANGES.values())

    def load_hu(self, k: int) -> tuple[Int16[np.ndarray, "height width"], tuple[Finding, ...]]:
        """Hounsfield units of the window; black, which is its lower end or anything below, as schema.HU_PADDING.

        Without a window, grey levels from 0 to 255.
        """
        if self.window_hu is None:
            return np.rint(self.grey * 255).astype(np.int16), ()
        low, high = self.window_hu
        hu = np.rint(low + self.grey * (high - low))
        return np.where(self.grey > 0, hu, schema.HU_PADDING).astype(np.int16), ()


def find_picture(files: Sequence[InputFile]) -> InputFile | None:
    """The picture, where it is the only file."""
    return files[0] if len(files) == 1 and files[0].name.lower().endswith(SUFFIXES) else None


def load_picture(file: InputFile, declared: Picture | None) -> PictureStack:
    """Read a picture of one slice.

    Raises: InputDataError for colour, transparency, no or absurd spacing, more than one picture, a damaged file.
    """
    declared = declared or Picture()
    spacing_mm = _check_declared(declared, file)
    grey, n_levels, is_lossy = _load_grey(file)
    height, width = grey.shape
    grid = Grid(height, width, spacing_mm, (0.0, 0.0), (0.0,))
    findings = _judge_window(declared.window_hu, n_levels, file)
    findings += [find("picture-lossy", fact="JPEG", where=file.where)] if is_lossy else []
    return PictureStack(grid, file, grey, declared.window_hu, tuple(findings))


def _check_declared(declared: Picture, file: InputFile) -> tuple[float, float]:
    if declared.spacing_mm is None:
        raise refusal("picture-no-spacing", file.where)
    low, high = SPACING_MM
    if not all(low <= size <= high for size in declared.spacing_mm):
        row, column = declared.spacing_mm
        raise refusal("picture-spacing", file.where, fact=f"{row:g} x {column:g} mm, {low:g} to {high:g} each")
    if declared.window_hu is not None:
        black, white = declared.window_hu
        if not -32000 <= black < white <= 32000:
            raise refusal("picture-window-range", file.where, fact=f"{black:g} to {white:g} HU")
    return declared.spacing_mm


def _judge_window(window_hu: tuple[float, float] | None, n_levels: int, file: InputFile) -> list[Finding]:
    if window_hu is None:
        return [find("picture-no-hu", where=file.where)]
    low, high = window_hu
    findings = [find("picture-hu", fact=f"steps of {(high - low) / n_levels:.2g} HU", where=file.where)]
    counted = [end for ends in schema.HU_RANGES.values() for end in ends]
    if low > min(counted) or high < max(counted):
        findings.append(find("picture-window", fact=f"{low:g} to {high:g} HU, counted {min(counted)} to {max(counted)}",
                             where=file.where))
    return findings


def _load_grey(file: InputFile) -> tuple[Float64[np.ndarray, "height width"], int, bool]:
    """Grey levels 0 to 1, number of steps between, and whether they were compressed with loss."""
    try:
        with REPLACING_WARNINGS, warnings.catch_warnings(), file.open() as stream:
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(stream, formats=("PNG", "JPEG")) as image:
                _check_header(image, file)
                image.load()
                stream.seek(0)
                damage = find_picture_damage(stream.read(), image.size, image.mode)
                if damage:
                    raise refusal("picture-damaged", file.where, fact=damage)
                return *_to_grey(image, file), image.format == "JPEG"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise refusal("picture-too-large", file.where, fact="Pillow's limit") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise refusal("picture-damaged", file.where, fact=type(error).__name__) from error


def _check_header(image: Image.Image, file: InputFile) -> None:
    """Raise for what the header tells, before pixels are decoded."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise refusal("picture-too-large", file.where, fact=f"{width} x {height} pixels, at most {MAX_PIXELS}")
    n = getattr(image, "n_frames", 1)
    if n != 1:
        raise refusal("picture-several", file.where, fact=f"{n} pictures")
    turn = image.getexif().get(_EXIF_ORIENTATION, 1)
    if turn != 1:
        raise refusal("picture-turned", file.where, fact=f"Exif Orientation {int(turn)}")


def _to_grey(image: Image.Image, file: InputFile) -> tuple[Float64[np.ndarray, "height width"], int]:
    if image.mode in _FULL_SCALE:
        full = _FULL_SCALE[image.mode]
        return np.asarray(image).astype(np.float64) / full, full
    if image.mode not in ("LA", "P", "PA", "RGB", "RGBA"):
        raise refusal("picture-colour", file.where, fact=f"mode {image.mode}")
    pixels = np.asarray(image.convert("RGBA"))
    if (pixels[..., 3] != 255).any():
        raise refusal("picture-colour", file.where, fact="transparent pixels")
    if not ((pixels[..., 0] == pixels[..., 1]) & (pixels[..., 1] == pixels[..., 2])).all():
        raise refusal("picture-colour", file.where, fact="red, green and blue differ")
    return pixels[..., 0].astype(np.float64) / 255, 255
