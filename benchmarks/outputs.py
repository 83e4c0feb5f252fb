"""Kinds of files that benchmarks write, and the check of their paths: nothing else is replaced or appended to."""

import argparse
import json
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from bonemet_jax.config_files import list_configs
from bonemet_jax.errors import UsageError
from bonemet_jax.output_paths import FileKind, FolderKind, check_local, check_output_file, has_json_keys

_HEAD_BYTES = 4096


def local_path(text: str) -> Path:
    """Type of an argument that is a path. Raises: ArgumentTypeError for one with a scheme."""
    try:
        check_local(Path(text), "path")
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return Path(text)


def config_path(text: str) -> Path:
    """Type of an argument that is a config: the name of a packaged one, or a file. Raises: as local_path."""
    return list_configs().get(text) or local_path(text)


def has_lines_of(names: Collection[str]) -> Callable[[Path], bool]:
    """A test of a file: empty, or its first line is a JSON object with these keys."""

    def test(path: Path) -> bool:
        try:
            with open(path, encoding="utf-8") as stream:
                line = stream.readline(1 << 24)
            return not line or set(names) <= json.loads(line).keys()
        except (OSError, ValueError, AttributeError):
            return False

    return test


def starts_with(*texts: str) -> Callable[[Path], bool]:
    """A test of a file: one of these texts is in its first 4096 bytes, the first of them at the start."""

    def test(path: Path) -> bool:
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                head = stream.read(_HEAD_BYTES)
        except OSError:
            return False
        return head.startswith(texts[0]) and all(text in head for text in texts)

    return test


def _is_list_of_numbers(path: Path) -> bool:
    try:
        value = json.loads(path.read_bytes())
        return isinstance(value, list) and {"name", "unit", "value", "extra"} <= value[0].keys()
    except (OSError, ValueError, AttributeError, IndexError):
        return False


RECORDS = FileKind("records of --json", has_lines_of(("schema", "benchmark", "metric", "samples")))
VERDICTS = FileKind("verdicts of compare --json", has_lines_of(("verdict", "design", "effect")))
RUNNERS = FileKind("combinations of sweep --json", has_lines_of(("values", "images_per_s", "reason")))
FIGURES = FileKind("figures of aot --json", lambda path: has_json_keys(path, ("target", "programs", "fingerprint")))
CONFIG = FileKind("a config of sweep", starts_with('"""The fastest of '))
DRAWING = FileKind("a drawing", starts_with("<?xml", "<svg"))
EXPORTS = {
    "github": FileKind("an export --to github", _is_list_of_numbers),
    "markdown": FileKind("an export --to markdown", starts_with("### Benchmarks")),
    "pyperf": FileKind("an export --to pyperf", lambda path: has_json_keys(path, ("version", "benchmarks"))),
}
DRAWINGS = FolderKind(
    "drawings", ("history_*.svg", "scaling*.svg"),
    lambda folder: all(DRAWING.is_ours(file) for name in DRAWINGS.entries for file in folder.glob(name)),
)  # fmt: skip
HLO = FolderKind(
    "programs of aot --dump", ("*.hlo.txt",),
    lambda folder: all(starts_with("HloModule")(file) for file in folder.glob("*.hlo.txt")),
)  # fmt: skip


def check_file(path: Path | None, kind: FileKind, flag: str, inputs: Iterable[Path] = ()) -> None:
    """As output_paths.check_output_file; a path that is not given is right. Raises: UsageError."""
    if path is not None:
        check_output_file(path, kind, inputs, flag)
