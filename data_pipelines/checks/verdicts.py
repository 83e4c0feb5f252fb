"""docs/verdicts.md from the table of verdicts: `python -m data_pipelines.checks.verdicts > docs/verdicts.md`."""

import itertools

from data_pipelines.check_codes import VERDICTS

#: Prefix of a code -> heading.
HEADINGS = {
    "file": "Files, archives and the reader that opens them", "dicom": "DICOM", "nifti": "NIfTI",
    "picture": "PNG and JPEG", "level": "The level", "mask": "Masks", "roi": "Regions drawn by readers",
    "slice": "The slice", "field": "Field of view", "fat": "Fat", "muscle": "Muscle", "csv": "The clinical table",
    "cohort": "Cohorts",
}  # fmt: skip
_HEAD = """# What intake may say of your data

Made from the table in `data_pipelines/check_codes.py`; do not edit by hand.

An **error** refuses the file, the row or the patient; `ingest` and `measure` go on with the others and end with exit
code 8. A **warning** stays with the number: `ingest.json` and `areas.csv` hold it; the overlay shows those of the slice
and its reading, not those of the clinical table and of the joining (`csv-*`, `cohort-*`). `bonemet verify` lists both
and changes nothing.
"""


def make_page() -> str:
    """The page: one table a room, a code a row."""
    parts = [_HEAD]
    by_prefix = sorted(VERDICTS, key=lambda code: list(HEADINGS).index(_prefix(code)))
    for prefix, codes in itertools.groupby(by_prefix, _prefix):
        parts.append(f"## {HEADINGS[prefix]}\n\n| code | | meaning | what to do |\n| --- | --- | --- | --- |")
        parts += [f"| `{code}` | {VERDICTS[code].severity} | {_cell(VERDICTS[code].meaning)} | "
                  f"{_cell(VERDICTS[code].mend)} |" for code in sorted(codes)]
        parts.append("")
    return "\n".join(parts)


def _prefix(code: str) -> str:
    """Room of a code; what has none is about files."""
    prefix = code.split("-")[0]
    return prefix if prefix in HEADINGS else "file"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(make_page(), end="")
