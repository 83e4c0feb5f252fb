"""Text is read and written in an encoding that the code names, never in that of the user's locale."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_METHODS = {"read_text", "write_text"}


def _is_text_mode(call: ast.Call, position: int) -> bool:
    """Whether a call that opens a file names a text mode; the mode is the argument at `position`, `r` by default."""
    given = call.args[position : position + 1] + [word.value for word in call.keywords if word.arg == "mode"]
    mode = given[0].value if given and isinstance(given[0], ast.Constant) else "r"
    return isinstance(mode, str) and set(mode) <= set("rwaxt+") and "b" not in mode


def _depends_on_locale(call: ast.Call) -> bool:
    words = {word.arg for word in call.keywords}
    if "encoding" in words or None in words:
        return False
    match call.func:
        case ast.Name("open"):
            return _is_text_mode(call, 1)
        case ast.Attribute(ast.Name("os"), "open"):  # a descriptor
            return False
        case ast.Attribute(ast.Name("os" | "io"), "fdopen" | "open"):
            return _is_text_mode(call, 1)
        case ast.Attribute(ast.Name("artifacts" | "self"), _):
            return False
        case ast.Attribute(_, name) if name in _METHODS:
            return True
        case ast.Attribute(_, "open"):  # of a path; of other kinds of files where the first argument is no mode
            return bool(call.args) and isinstance(call.args[0], ast.Constant) and _is_text_mode(call, 0)
        case ast.Attribute(ast.Name("subprocess"), _):
            return bool(words & {"text", "universal_newlines"})
    return False


def find_calls(source: str) -> Iterator[int]:
    """Lines of calls that take the locale's encoding."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _depends_on_locale(node):
            yield node.lineno


@pytest.mark.parametrize("package", ["bonemet_jax", "data_pipelines", "benchmarks", "configs"])
def test_every_text_file_names_its_encoding(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    found = [f"{file.relative_to(ROOT)}:{line}" for file in files
             for line in find_calls(file.read_text(encoding="utf-8"))]
    assert files and not found, "\n".join(found)


@pytest.mark.parametrize(("call", "is_found"), [
    ("open(path)", True), ("open(path, 'w')", True), ("open(path, 'rb')", False),
    ("open(path, encoding='utf-8')", False),
    ("path.read_text()", True), ("path.write_text(text)", True), ("path.read_text(encoding='utf-8')", False),
    ("path.open('w')", True), ("path.open('rb')", False), ("archive.open(name)", False),
    ("subprocess.run(command, text=True)", True), ("subprocess.run(command, encoding='utf-8')", False),
])  # fmt: skip
def test_what_is_found(call: str, is_found: bool) -> None:
    assert bool(list(find_calls(call))) == is_found
