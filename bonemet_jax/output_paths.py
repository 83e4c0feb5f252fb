"""Checks of output paths: an output replaces nothing but an earlier output of the same kind, and never an input.

The rules are in docs/decisions/0029-outputs-replace-only-outputs.md. Every check raises UsageError (exit code 2) before
anything is written.
"""

import json
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from bonemet_jax import artifacts
from bonemet_jax.errors import BonemetError, UsageError

#: Also the form that pathlib makes of a URL (`gs:/bucket`). One letter is a Windows drive.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:(/|$)")
#: A larger JSON file is not one of ours.
_MAX_JSON_BYTES = 1 << 28
_OTHER_OUTPUT = "give another path"
_PRINTED = "results are printed on standard output in any case"
#: Entries of a run folder that a stage writes; a folder with one of them and no config.json of ours is not a run.
RUN_ENTRIES = (
    "config.json", "cohort", "tfds", "near_duplicates.json", "folds.json", "fold_*", "stages", "embeddings.npz",
    "gradcam.*", "cross", "scores.parquet", "paper_scores.parquet", "models", "shap.json", "stats", "report.html",
    "report.json", "figures", "variants", "profile", "tensorboard",
)  # fmt: skip


class FileKind(NamedTuple):
    """A kind of output file that a later command of the same kind may replace."""

    noun: str
    """What the file is, for messages: "the report"."""
    is_ours: Callable[[Path], bool]
    """Whether an existing file is an earlier output of this kind."""


class FolderKind(NamedTuple):
    """A kind of output folder whose files are written one by one; other files in it are left alone."""

    noun: str
    entries: tuple[str, ...]
    """Patterns of the names that are written."""
    is_ours: Callable[[Path], bool]
    """Whether the folder holds an earlier output of this kind, so that those names may be replaced."""
    may_be_link: bool = False
    """Whether the folder may be a symbolic link to one."""


# --- Paths with a scheme --------------------------------------------------------------------------------


def has_scheme(path: Path | str) -> bool:
    """Whether `path` is a URL such as gs://bucket/x, also as pathlib collapses it (gs:/bucket/x)."""
    return _SCHEME.match(str(path)) is not None


def check_local(path: Path | str, flag: str) -> None:
    """Raises: UsageError for a path with a scheme: only local and mounted file systems are read and written."""
    if has_scheme(path):
        scheme, _, rest = str(path).partition(":")
        raise UsageError(f"{flag}: paths with a scheme are not supported", f"{scheme}://{rest.lstrip('/')}",
                         "copy to a local or mounted folder; a local folder of that name is given by its absolute path")


# --- Where a path leads ---------------------------------------------------------------------------------


def is_within(path: Path, folder: Path) -> bool:
    """Whether `path` is `folder` or below it, links resolved; existing files are compared by device and inode."""
    path, folder = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    if path.is_relative_to(folder):
        return True
    wanted = _stat(folder)
    if wanted is None:
        return False
    found = (_stat(one) for one in (path, *path.parents))
    return any(one is not None and os.path.samestat(one, wanted) for one in found)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def find_own_folder(path: Path) -> Path | None:
    """Closest folder above `path` that this program wrote: a run, or a folder with a manifest."""
    parents = Path(os.path.realpath(path)).parents
    return next((folder for folder in parents if has_manifest(folder) or is_run(folder)), None)


def has_manifest(folder: Path) -> bool:
    """Whether `folder` has a manifest.json of ours."""
    return has_json_keys(folder / artifacts.MANIFEST, ("files", "facts"))


def is_run(folder: Path) -> bool:
    """Whether `folder` has the config.json of a run."""
    return has_json_keys(folder / "config.json", ("config", "fingerprint"))


def has_json_keys(path: Path, names: Collection[str]) -> bool:
    """Whether `path` is a JSON object with all of these keys."""
    value = load_json_or_none(path)
    return isinstance(value, dict) and set(names) <= value.keys()


def load_json_or_none(path: Path) -> Any:
    """The JSON value of a file; None where it cannot be read or is none."""
    try:
        if not path.is_file() or path.stat().st_size > _MAX_JSON_BYTES:
            return None
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _check_entry(path: Path, flag: str, may_be_link: bool = False) -> int | None:
    """File type bits of an existing output path; None where it does not exist.

    Raises: UsageError for a link, a device, a pipe or a socket, and where no folder can be made above it.
    """
    check_local(path, flag)
    above = next((parent for parent in path.absolute().parents if os.path.lexists(parent)), path.absolute())
    if not above.is_dir():
        raise UsageError(f"{flag}: not a folder", above, _OTHER_OUTPUT)
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{flag}: {error.strerror}", path, _OTHER_OUTPUT) from error
    if stat.S_ISLNK(mode):
        if not may_be_link or not path.is_dir():
            raise UsageError(f"{flag} is a symbolic link", path, f"give the path it points to; {_PRINTED}")
        mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UsageError(f"{flag} is a device, a pipe or a socket", path, f"give a regular file; {_PRINTED}")
    return stat.S_IFMT(mode)


# --- Files ----------------------------------------------------------------------------------------------


def check_output_file(path: Path, kind: FileKind | None, inputs: Iterable[Path] = (), flag: str = "--report") -> None:
    """Check that a file can be written to `path` without loss.

    Args:
        kind: What is written; an earlier one may be replaced. None: no existing file is replaced.
        inputs: Files and folders that are read; also other outputs of the command.
        flag: The option that names `path`, for messages.

    Raises: UsageError.
    """
    if _check_entry(path, flag) == stat.S_IFDIR:
        raise UsageError(f"{flag} is a folder", path, "give a file name in it")
    for given in inputs:
        if is_within(path, given):
            raise UsageError(f"{flag} is an input or output of this command, or in one", path, _OTHER_OUTPUT)
    own = find_own_folder(path)
    if own is not None:
        raise UsageError(f"{flag} is in a folder that bonemet wrote ({own})", path, "give a path outside of it")
    if path.exists() and kind is None:
        raise UsageError(f"{flag}: this file exists", path, f"{_OTHER_OUTPUT}: nothing is replaced")
    if path.exists() and kind is not None and not kind.is_ours(path):
        raise UsageError(f"{flag}: this file exists and is not an earlier output of this kind ({kind.noun})", path,
                         f"move it, or {_OTHER_OUTPUT}")


# --- Folders --------------------------------------------------------------------------------------------


def check_folder_place(path: Path, inputs: Iterable[Path], flag: str = "-o", may_be_link: bool = False) -> None:
    """Check where an output folder is, not what it holds.

    Raises: UsageError when it is no folder, an input or in one, or in a folder that this program wrote.
    """
    if _check_entry(path, flag, may_be_link) == stat.S_IFREG:
        raise UsageError(f"{flag} is a file", path, "give a new or empty folder")
    for given in inputs:
        if is_within(path, given):
            raise UsageError(f"{flag} is an input or in an input", path, _OTHER_OUTPUT)
    own = find_own_folder(path)
    if own is not None and (has_manifest(own) or _is_run_entry(path, own)):
        raise UsageError(f"{flag} is in a folder that bonemet wrote ({own})", path, "give a path outside of it")


def _is_run_entry(path: Path, run: Path) -> bool:
    name = Path(os.path.realpath(path)).relative_to(run).parts[0]
    return any(fnmatch(name, pattern) for pattern in RUN_ENTRIES)


def check_folder_entries(path: Path, kind: FolderKind, inputs: Iterable[Path], flag: str = "-o") -> None:
    """Check a folder whose files are written one by one.

    Raises: UsageError as check_folder_place; when a name to be written exists and the folder is no earlier output; when
        such a name is an input.
    """
    inputs = list(inputs)
    check_folder_place(path, inputs, flag, kind.may_be_link)
    if has_manifest(path):
        raise UsageError(f"{flag} is a folder of another kind that bonemet wrote", path, _OTHER_OUTPUT)
    names = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    found = [name for name in names if any(fnmatch(name, pattern) for pattern in kind.entries)]
    if found and not kind.is_ours(path):
        raise UsageError(f"{flag}: {found[0]} exists there and is not an earlier output of this kind ({kind.noun})",
                         path, _OTHER_OUTPUT)
    for given, name in ((given, name) for given in inputs for name in found):
        if is_within(given, path / name):
            raise UsageError(f"{flag}: an input would be replaced", given, f"copy it, or {_OTHER_OUTPUT}")


def check_output_folder(
    out: Path | str, kind: str, inputs: Iterable[Path | None], beside: Collection[str] = ()
) -> bool:
    """Check a folder that is replaced as a whole.

    Args:
        kind: facts.kind of its manifest.
        inputs: what is read: neither may hold the other.
        beside: names of ours that the manifest leaves out.

    Returns: whether something is replaced.

    Raises: UsageError when it holds anything but an earlier, unchanged output of the same kind.
    """
    out, remedy = Path(out), "give another -o"
    given = [Path(path) for path in inputs if path is not None]
    if _check_entry(out, "-o") == stat.S_IFREG:
        raise UsageError("output directory exists and is a file", out, remedy)
    if not out.resolve().name:
        raise UsageError("output directory is the root of the file system", out, remedy)
    for path in given:
        if any(is_within(path, one) for one in (out, artifacts.partial_name(out), artifacts.old_name(out))):
            raise UsageError("output directory holds an input and would be replaced", out, remedy)
        if path.is_dir() and is_within(out, path):
            raise UsageError("output directory is in an input and would be read next time", out, remedy)
    if not out.exists() or not any(out.iterdir()):
        return False
    _check_unchanged(out, kind, beside, remedy)
    return True


def _check_unchanged(out: Path, kind: str, beside: Collection[str], remedy: str) -> None:
    try:
        manifest = artifacts.load_json(out / artifacts.MANIFEST, artifacts.Manifest)
        known, found_kind = manifest["files"], manifest["facts"].get("kind", "")
    except (BonemetError, OSError):
        known, found_kind = {}, ""
    if found_kind != kind:
        raise UsageError("output directory exists and is not an earlier output of this verb", out, remedy)
    for file in artifacts.list_files(out):
        name = str(file.relative_to(out))
        if name not in beside and (name not in known or artifacts.sha256_file(file) != known[name]["sha256"]):
            what = "was changed since it was written" if name in known else "was not written by this verb"
            raise UsageError(f"a file there {what} and would be lost", file, f"move it, or {remedy}")


def check_distinct(outputs: Sequence[tuple[str, Path]]) -> None:
    """Check that no output of one command is another one, or in it. Raises: UsageError."""
    for i, (flag, path) in enumerate(outputs):
        for other, folder in (*outputs[:i], *outputs[i + 1:]):
            if is_within(path, folder):
                raise UsageError(f"{flag} is the path of {other}, or in it", path, "give each its own path")
