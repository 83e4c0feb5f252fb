"""Contact sheets: thirty pictures each, none lost, the rim coloured by the worst finding."""

from pathlib import Path

from PIL import Image

from data_pipelines.bodycomp.overlay import make_key
from data_pipelines.checks.sheet import COLUMNS, ROWS, Picture, draw_sheet, save_sheets

#: One line of 28 pixels and the margin.
FOOT = 34


def picture(colour: str) -> Image.Image:
    return Image.new("RGB", (900, 1200), colour)


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as sheet:
        return sheet.size


def test_sheets_hold_every_picture(tmp_path: Path) -> None:
    paths = save_sheets(tmp_path, (Picture(f"row {i}", picture("white")) for i in range(COLUMNS * ROWS + 1)))
    assert [path.name for path in paths] == ["contact_sheet_01.png", "contact_sheet_02.png"]
    sizes = [size_of(path) for path in paths]
    assert sizes[0] == (COLUMNS * 306 + 6, ROWS * 332 + 6 + FOOT) and sizes[1][0] == 312
    assert (sizes[1][1] - 338 - 6) % 28 == 0, "a narrow sheet has a foot of several lines"
    assert save_sheets(tmp_path / "none", []) == []


def test_worst_finding_colours_the_rim() -> None:
    sheet = draw_sheet([Picture("row 1", picture("blue")), Picture("row 2", picture("blue"), "warning"),
                        Picture("row 3", picture("blue"), "error")])
    colours = [sheet.getpixel((6 + i * 306, 156)) for i in range(3)]
    assert len(set(colours)) == 3
    assert colours[2] == (225, 50, 50)
    assert sheet.getpixel((156, 156)) == (0, 0, 255)


def test_a_refused_input_has_a_grey_tile_with_its_code() -> None:
    sheet = draw_sheet([Picture("input 1", None, "error", "dicom-no-spacing"), Picture("input 2", picture("blue"))])
    grey, text = sheet.getpixel((60, 60)), sheet.crop((40, 130, 280, 180)).getcolors()
    assert grey == (96, 96, 100) and text is not None and len(text) > 2
    assert sheet.getpixel((6, 156)) == (225, 50, 50)


def test_the_foot_tells_colours_and_what_all_share() -> None:
    one = Picture("row 1", picture("blue"))
    plain, shared = draw_sheet([one]), draw_sheet([one], ["slice-only", "a" * 30])
    assert shared.height > plain.height
    foot = plain.crop((0, 338, *plain.size)).getcolors(10_000)
    assert foot is not None
    assert {(225, 50, 50), (240, 180, 40), *(colour for colour, _ in make_key())} <= {colour for _, colour in foot}


def test_a_long_caption_is_cut_to_its_tile() -> None:
    """What stands between two tiles stays background."""
    long = Picture("input 1", picture("blue"), "error", "x" * 90)
    sheet = draw_sheet([long, long])
    gap = sheet.crop((308, 310, 311, 330)).getcolors()
    assert gap == [(60, (18, 18, 20))]
