"""Formats that are no CSV, by the first bytes of a file: a closed list."""

#: First bytes -> format.
NOT_CSV: dict[bytes, str] = {
    b"PK\x03\x04": "an Excel (xlsx) or OpenDocument (ods) workbook, or another zip archive",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old Excel (xls) workbook",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "a gzip archive",
    b"PAR1": "a Parquet table",
    b"{\\rtf": "an RTF document",
    b"<?xml": "an XML document",
    b"<html": "an HTML page",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ\0": "an xz archive",
    b"$FL2": "an SPSS file (sav)",
    b"<stata_dta>": "a Stata file (dta)",
    b"ARROW1": "a Feather table",
    b"SQLite format 3\0": "an SQLite database",
    bytes(12) + b"\xc2\xea\x81\x60": "a SAS file (sas7bdat)",
}


def find_other_format(data: bytes) -> str:
    """The format of a file that is no CSV, with its article, as `a Parquet table`; empty where none is known."""
    return next((kind for magic, kind in NOT_CSV.items() if data.startswith(magic)), "")
