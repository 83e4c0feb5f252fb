"""One table says what may be told: docs/verdicts.md is made from it, and no code stands outside it."""

import re
from pathlib import Path

from data_pipelines.check_codes import VERDICTS
from data_pipelines.checks.verdicts import HEADINGS, make_page

ROOT = Path(__file__).parents[2]
SOURCES = {file: file.read_text() for room in ("bonemet_jax", "data_pipelines") for file in (ROOT / room).rglob("*.py")
           if file.name != "check_codes.py"}


def test_page_is_current() -> None:
    page = (ROOT / "docs" / "verdicts.md").read_text()
    assert page == make_page(), "run python -m data_pipelines.checks.verdicts > docs/verdicts.md"


def test_every_code_used_is_in_the_table() -> None:
    used = {(code, file.name) for file, text in SOURCES.items()
            for code in re.findall(r"\b(?:find|refusal|Finding)\(\s*\"([a-z0-9-]+)\"", text)}
    assert {(code, name) for code, name in used if code not in VERDICTS} == set()
    assert len(used) > 20


def test_every_code_of_the_table_is_used() -> None:
    text = "\n".join(SOURCES.values())
    assert {code for code in VERDICTS if f'"{code}"' not in text} == set()


def test_every_verdict_reads_as_a_line() -> None:
    for code, verdict in VERDICTS.items():
        assert verdict.meaning and verdict.mend, code
        assert not verdict.meaning.endswith(".") and not verdict.mend.endswith("."), code
        assert code == "input" or code.split("-")[0] in HEADINGS, f"{code}: a prefix with a heading in verdicts.py"
