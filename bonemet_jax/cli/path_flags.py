"""Every flag that names a path: what is read, what is written, and the check of each output before any work."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from bonemet_jax import artifacts
from bonemet_jax.config_files import list_configs
from bonemet_jax.errors import BonemetError
from bonemet_jax.output_paths import (
    RUN_ENTRIES,
    FileKind,
    FolderKind,
    check_distinct,
    check_folder_entries,
    check_folder_place,
    check_local,
    check_output_file,
    has_json_keys,
    is_run,
    load_json_or_none,
)

REPORT_SCHEMA = "bonemet-report/1"
#: Fields of the flags' dataclasses that are read; of a config, those that hold a path as text.
CONFIG_PATHS = ("config.cohort_dir", "config.folds.file", "config.model.weights")
READS = ("input", "paths", "masks", "rois", "clinical", "label_table", "csv", "file", "run", "runs", *CONFIG_PATHS)
_SHORT = {"-i": "--input", "-o": "--output"}
#: Fields of positional arguments that are paths, some in one dataclass alone.
_POSITIONAL = ("paths", "file", "ExportArgs.run", "CopyArgs.output")
#: Positional arguments that are not paths.
_WORDS = ("import", "roc", "cox", "lasso-cox", "km", "table1", "list", "show", "copy")

Check = Callable[[Path, Sequence[Path], str], None]


def is_report(path: Path) -> bool:
    """Whether a file is a report of `--report`."""
    value = load_json_or_none(path)
    return isinstance(value, dict) and value.get("schema") == REPORT_SCHEMA


def is_weights(path: Path) -> bool:
    """Whether a file was written by `bonemet weights import`."""
    try:
        return "source_sha256" in str(artifacts.load_npz(path, ("facts",))["facts"])
    except (BonemetError, OSError, ValueError):
        return False


def is_dump(folder: Path) -> bool:
    """Whether every program's text in a folder has its memory analysis of ours next to it."""
    names = {file.name.split(".")[0] for pattern in DUMP.entries for file in folder.glob(pattern)}
    return all(has_json_keys(folder / f"{name}.memory.json", ("temp_size_in_bytes",)) for name in names)


REPORT = FileKind("a report of --report", is_report)
WEIGHTS = FileKind("weights of `bonemet weights import`", is_weights)
RUN = FolderKind("a run", RUN_ENTRIES, is_run, may_be_link=True)
DUMP = FolderKind("texts of --dump-hlo", ("*.stablehlo.mlir", "*.optimized.hlo.txt", "*.memory.json"), is_dump)
JOINED = FolderKind(
    "a report of several runs", ("joined.html", "joined.json"),
    lambda folder: has_json_keys(folder / "joined.json", ("runs",)),
)  # fmt: skip


def _check_file(kind: FileKind | None) -> Check:
    return lambda path, inputs, flag: check_output_file(path, kind, inputs, flag)


def _check_entries(kind: FolderKind) -> Check:
    return lambda path, inputs, flag: check_folder_entries(path, kind, inputs, flag)


#: (dataclass, field) -> check of an output. A folder that is replaced as a whole is also checked by what writes it.
WRITES: dict[tuple[str, str], Check] = {
    ("CommonArgs", "report"): _check_file(REPORT),
    ("PlaceArgs", "output"): check_folder_place,
    ("CheckedArgs", "output"): check_folder_place,
    ("BuildArgs", "output"): check_folder_place,
    ("CopyArgs", "output"): _check_file(None),
    ("ExportArgs", "output"): check_folder_place,
    ("PhantomArgs", "output"): check_folder_place,
    ("PhantomArgs", "dicom"): check_folder_place,
    ("PredictArgs", "output"): check_folder_place,
    ("JoinedArgs", "output"): _check_entries(JOINED),
    ("StageArgs", "output"): _check_entries(RUN),
    ("TrainArgs", "dump_hlo"): _check_entries(DUMP),
    ("WeightsArgs", "output"): _check_file(WEIGHTS),
}


def find_paths(args: Any, prefix: str = "") -> Iterator[tuple[str, Path]]:
    """(dotted name, path) of every path in parsed flags, those that a config holds as text too."""
    for one in fields(args):
        name, value = f"{prefix}{one.name}", getattr(args, one.name)
        if is_dataclass(value):
            yield from find_paths(value, f"{name}.")
        elif isinstance(value, str) and name in CONFIG_PATHS:
            yield name, Path(value)
        else:
            values = value if isinstance(value, tuple) else (value,)
            yield from ((name, path) for path in values if isinstance(path, Path))


def find_check(kind: type[Any], name: str) -> Check | None:
    """The check of a field that is written, the closest class of `kind` first; None for one that is read."""
    return next((WRITES[one.__name__, name] for one in kind.__mro__ if (one.__name__, name) in WRITES), None)


def check_paths(args: Any) -> None:
    """Check every output in parsed flags against every path that is read, and the outputs against each other.

    Raises: UsageError; nothing was written.
    """
    paths = list(find_paths(args))
    for name, path in paths:
        check_local(path, name_flag(name, type(args).__name__))
    checks = [(name, path, find_check(type(args), name)) for name, path in paths]
    outputs = [(name_flag(name, type(args).__name__), path, check) for name, path, check in checks if check is not None]
    for flag, path, check in outputs:
        # A run reads its own folder `cohort` when that is the cohort given, and does not write it then.
        inputs = [given for name, given, is_output in checks
                  if is_output is None and not (name == "config.cohort_dir" and given == path / "cohort")]
        check(path, inputs, flag)
    check_distinct([(flag, path) for flag, path, _ in outputs if flag != "--dump-hlo"])


def name_flag(name: str, kind: str = "") -> str:
    """The option of a dotted field name, or PATH for a positional argument; `kind` names the flags' dataclass."""
    if name in _POSITIONAL or f"{kind}.{name}" in _POSITIONAL:
        return "PATH"
    return "--" + name.removeprefix("config.").replace("_", "-")


def find_named_paths(argv: Sequence[str]) -> list[Path]:
    """Values in `argv`, parsed or not, of the options and arguments that are paths, but for the report's own."""
    known = {name_flag(name) for name in (*READS, *(field for _, field in WRITES))}
    found, flag, words = [], "", {*_WORDS, *list_configs()}
    for word in argv:
        name, has_value, value = word.partition("=")
        if word.startswith("-"):
            flag = _SHORT.get(name, name)
            found += [value] if has_value and flag in known and flag != "--report" else []
        elif flag == "--report":
            flag = ""  # it takes one value
        elif flag in known or (not flag and word not in words):
            found.append(word)
    return [Path(word) for word in found if word]
