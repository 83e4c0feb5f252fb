"""The one style of all figures: colours, dashes, sizes; SVG bytes.

Lines differ in colour (Okabe and Ito's palette, safe for colour-blind readers) and in dash, so a grey print keeps them
apart. Text becomes outlines: the page needs no font and loads nothing.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib.figure import Figure

#: Colour and dash of the first, second, third ... line of a figure.
LINES: tuple[tuple[str, str], ...] = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#444444", ":"))
#: Resolution of the pictures inside a drawing, pixels per inch; lines and text have none.
_RASTER_DPI = 200
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "legend.fontsize": 7.0,
    "legend.handlelength": 2.8,
    "text.parse_math": False,  # a dollar sign in a label is a dollar sign
    "svg.hashsalt": "bonemet",
    "svg.fonttype": "path",
}


@contextmanager
def open_figure(width_in: float, height_in: float) -> Iterator[Figure]:
    """A figure in the page's style, laid out so that nothing overlaps. No display and no global state is touched."""
    with mpl.rc_context(_STYLE):
        yield Figure(figsize=(width_in, height_in), layout="constrained")


def to_png(figure: Figure) -> bytes:
    """The drawing as pixels."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_RASTER_DPI)
    return buffer.getvalue()


def to_svg(figure: Figure) -> bytes:
    """The drawing; equal numbers give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", dpi=_RASTER_DPI, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
