"""Contact sheets: thirty pictures each, none lost, the rim coloured by the worst finding."""

from pathlib import Path

from PIL import Image

from data_pipelines.checks.sheet import COLUMNS, ROWS, Picture, draw_sheet, save_sheets


def picture(colour: str) -> Image.Image:
    return Image.new("RGB", (900, 1200), colour)


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as sheet:
        return sheet.size


def test_sheets_hold_every_picture(tmp_path: Path) -> None:
    paths = save_sheets(tmp_path, (Picture(f"row {i}", picture("white")) for i in range(COLUMNS * ROWS + 1)))
    assert [path.name for path in paths] == ["contact_sheet_01.png", "contact_sheet_02.png"]
    sizes = [size_of(path) for path in paths]
    assert sizes[0] == (COLUMNS * 306 + 6, ROWS * 332 + 6) and sizes[1] == (312, 338)
    assert save_sheets(tmp_path / "none", []) == []


def test_worst_finding_colours_the_rim() -> None:
    sheet = draw_sheet([Picture("row 1", picture("blue")), Picture("row 2", picture("blue"), "warning"),
                        Picture("row 3", picture("blue"), "error")])
    colours = [sheet.getpixel((6 + i * 306, 156)) for i in range(3)]
    assert len(set(colours)) == 3
    assert colours[2] == (225, 50, 50)
    assert sheet.getpixel((156, 156)) == (0, 0, 255)
