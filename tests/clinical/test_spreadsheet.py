"""From bytes to cells: what spreadsheets and text editors write is read, what is no table is refused."""

import csv
import gzip
import io
import zipfile
from pathlib import Path

import pytest

from bonemet_jax.errors import InputDataError
from data_pipelines.clinical.spreadsheet import MAX_BYTES, MAX_COLUMNS, MAX_ROWS, Sheet, decode, load_sheet
from data_pipelines.clinical.table import load_clinical


def _sheet(tmp_path: Path, data: str | bytes) -> Sheet:
    path = tmp_path / "table.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return load_sheet(path, lambda header: sum(name in ("id", "a", "b") for name in header))


TEXT = "id,a\n1,é年\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gb18030"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path: Path, encoding: str, end: str) -> None:
    bom = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    sheet = _sheet(tmp_path, bom + TEXT.replace("\n", end).encode(encoding))
    assert sheet.header == ("id", "a")
    assert sheet.rows == ((2, ("1", "é年")),)
    assert [finding.code for finding in sheet.findings] == (["csv-gb18030"] if encoding == "gb18030" else [])


@pytest.mark.parametrize(("sign", "name"), [(";", "semicolon"), ("\t", "tab"), ("|", "bar")])
def test_separators_are_found_and_told(tmp_path: Path, sign: str, name: str) -> None:
    sheet = _sheet(tmp_path, f"id{sign}a,x{sign}b\n1{sign}2{sign}3\n")
    assert sheet.rows == ((2, ("1", "2", "3")),)
    assert [finding.code for finding in sheet.findings] == ["csv-separator"]
    assert name in sheet.findings[0].what


def test_the_line_that_only_excel_reads(tmp_path: Path) -> None:
    sheet = _sheet(tmp_path, "sep=;\r\nid;a\r\n1;2\r\n")
    assert (sheet.header_row, sheet.header, sheet.rows) == (1, ("id", "a"), ((2, ("1", "2")),))


def test_trailing_separators_and_empty_lines(tmp_path: Path) -> None:
    sheet = _sheet(tmp_path, "\n ,,\nid,a\n1,2,,,\n\n3,4, ,\n")
    assert sheet.header_row == 3
    assert sheet.rows == ((4, ("1", "2")), (6, ("3", "4")))


def test_quotes_hold_separators_quotes_and_line_breaks(tmp_path: Path) -> None:
    sheet = _sheet(tmp_path, 'id,a\n1,"x, ""y""\nz"\n2,b\n')
    assert sheet.rows == ((2, ("1", 'x, "y"\nz')), (3, ("2", "b")))


def _workbook() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return data.getvalue()


REFUSED: dict[str, tuple[bytes, str, str]] = {
    "xlsx": (_workbook(), "csv-workbook", "save it as CSV UTF-8"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "csv-workbook", "save it as CSV UTF-8"),
    "gzip": (gzip.compress(b"id,a\n1,2\n"), "csv-workbook", "CSV"),
    "empty": (b"", "csv-empty", "header"),
    "blank lines only": (b"\n\n , ,\n", "csv-empty", "header"),
    "byte-order mark only": (b"\xef\xbb\xbf", "csv-empty", "header"),
    "UTF-16 without a mark": ("id,a\n1,2\n".encode("utf-16-le"), "csv-encoding", "row 1 holds NUL"),
    "UTF-16 cut in two": (b"\xff\xfei", "csv-encoding", "UTF-8"),
    "UTF-32": ("id,a\n".encode("utf-32"), "csv-encoding", "UTF-8"),
    "noise": (bytes(range(128, 256)), "csv-encoding", "UTF-8"),
    "open quote": (b'id,a\n1,2\n3,"4\n5,6\n', "csv-quote", "row 3 (line 3): a quoted cell begins here"),
    "open quote below a cell of two lines": (b'id,a\n1,"2\n2"\n3,"4\n', "csv-quote", "row 3 (line 4)"),
    "open quote in the header": (b'id,"a\n1,2\n', "csv-quote", "row 1 (line 1)"),
    "text behind a quote": (b'id,a\n1,"2"3\n', "csv-quote", "row 2 (line 2): text follows"),
    "endless cell": (b'id,a\n1,"' + b"x" * 140_000 + b'"\n', "csv-quote", "longer than"),
    "too large": (b"id,a\n" + b"1,2\n" * (MAX_BYTES // 4), "csv-too-large", "16 MiB"),
    "too many rows": (b"id\n" + b"1\n" * (MAX_ROWS + 1), "csv-too-large", f"more than {MAX_ROWS} rows"),
    "too many columns": (b"id" + b"," * MAX_COLUMNS + b"\n1\n", "csv-too-large", f"more than {MAX_COLUMNS} columns"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str) -> None:
    data, code, words = REFUSED[name]
    with pytest.raises(InputDataError) as refusal:
        _sheet(tmp_path, data)
    assert refusal.value.code == code
    assert words in str(refusal.value)
    assert "table.csv" in str(refusal.value)


def test_an_endless_cell_is_refused_whatever_limit_others_set(tmp_path: Path) -> None:
    """The csv module has one limit for the whole process, and libraries raise it."""
    before = csv.field_size_limit(10**9)
    try:
        test_what_is_no_table_is_refused(tmp_path, "endless cell")
    finally:
        csv.field_size_limit(before)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match="no such file"):
        load_clinical(tmp_path / "absent.csv")
    with pytest.raises(InputDataError, match="not a file"):
        load_clinical(tmp_path)


@pytest.mark.parametrize("text", ["id,age_years\n", "1,2\n3,4\n", "patient_id\n", "patient_id,patient_id\n1,1\n"])
def test_a_table_without_ids_or_rows_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(InputDataError) as refusal:
        load_clinical(path)
    assert refusal.value.code in ("csv-no-id", "csv-empty", "csv-column-twice")


def test_latin_1_is_not_taken_for_utf_8(tmp_path: Path) -> None:
    """Bytes that gb18030 reads too: told, so that a clinic finds its umlauts wrong before it finds its ids wrong."""
    _, findings = decode("id,a\nMüller,1\n".encode("latin-1"), "table.csv")
    assert [finding.code for finding in findings] == ["csv-gb18030"]
