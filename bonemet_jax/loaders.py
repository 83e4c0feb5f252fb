"""Reads files that may be damaged or hostile: nothing in them is executed, and every fault is one CorruptFileError.

Sizes are limited and compared with what a file claims before memory is allocated. Formats: JSON (strict_json.py), JSON
lines, npz (npz_file.py), parquet.
"""

import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from bonemet_jax import strict_json
from bonemet_jax.errors import CorruptFileError
from bonemet_jax.strict_json import MakeObject

#: Bytes, unpacked, and rows of a table.
MAX_TABLE, MAX_ROWS = 1 << 30, 10_000_000
_AGAIN = "delete it and run the stage again"
_RUN = "run the stage that writes it again"


def load_json(path: Path | str, kind: Any = Any, make_object: MakeObject | None = None) -> Any:
    """Read JSON of at most 64 MiB, strictly (strict_json.py).

    Args:
        path: A regular file.
        kind: Type that the value must have, as `strict_json.find_mismatch` takes it.
        make_object: May refuse or count names that come twice; by default they are refused.

    Raises: CorruptFileError in one line for a file that is missing, damaged, or holds a value of another type.
    """
    value = parse_json_file(path, read_file(path, strict_json.MAX_BYTES), make_object)
    if mismatch := strict_json.find_mismatch(value, kind):
        raise CorruptFileError(f"not what this version writes ({mismatch})", path, _AGAIN)
    return value


def parse_json_file(path: Path | str, data: bytes, make_object: MakeObject | None = None) -> Any:
    """The JSON value of `path`, whose bytes were read. Raises: CorruptFileError."""
    try:
        return strict_json.parse_json(data, make_object)
    except ValueError as error:
        raise CorruptFileError(f"not valid JSON ({error})", path, _AGAIN) from error


def load_json_lines(path: Path | str, kind: Any = Any, may_end_early: bool = False) -> list[Any]:
    """Values of a JSON-lines file, blank lines left out; NaN and infinities are kept as floats.

    Args:
        path: A regular file.
        kind: Type of every value.
        may_end_early: Leave out a last line that a kill cut short.

    Raises: CorruptFileError naming file and line.
    """
    lines = [line for line in read_file(path, strict_json.MAX_BYTES).split(b"\n") if line.strip()]
    values: list[Any] = []
    for number, line in enumerate(lines, start=1):
        value = None
        try:
            value = strict_json.parse_json(line, allow_nan=True)
            mismatch = strict_json.find_mismatch(value, kind)
        except ValueError as error:
            if may_end_early and number == len(lines):
                break
            mismatch = f"not valid JSON, {error}"
        if mismatch:
            raise CorruptFileError(f"not what this version writes ({mismatch})", f"{path}, line {number}", _AGAIN)
        values.append(value)
    return values


def read_file(path: Path | str, max_bytes: int) -> bytes:
    """Bytes of a regular file. Raises: CorruptFileError when it is missing, larger, or a folder, pipe or device."""
    try:
        _check_regular(path)
        with open(path, "rb") as stream:
            data = stream.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise CorruptFileError("file is missing", path, _RUN) from error
    if len(data) > max_bytes:
        raise CorruptFileError(f"file larger than {max_bytes >> 20} MiB", path, _AGAIN)
    return data


def load_npz(
    path: Path | str, names: Collection[str] | None = None, layout: Mapping[str, tuple[str, int]] | None = None
) -> dict[str, Any]:
    """Read the arrays of an npz of at most 1 GiB; nothing in it is executed (npz_file.py).

    Args:
        path: A regular file.
        names: Arrays to read; None: all.
        layout: Arrays that must be among them: kinds of dtype (numpy's letters) and number of axes.

    Raises: CorruptFileError for a file that is missing or damaged, or whose arrays are others than `layout`.
    """
    from bonemet_jax import npz_file

    _check_regular(path)
    try:
        arrays = npz_file.read_npz(path, names)
        npz_file.check_layout(arrays, layout or {})
    except ValueError as error:
        raise CorruptFileError(f"not a readable npz ({error})", path, _AGAIN) from error
    return arrays


def load_table(path: Path | str) -> Any:
    """Read a parquet table of at most 1 GiB as a pandas frame.

    Raises: CorruptFileError when it is missing or damaged.
    """
    import pandas as pd
    from pyarrow import parquet

    _check_regular(path)
    try:
        with parquet.ParquetFile(path) as file:
            groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
            if sum(group.total_byte_size for group in groups) > MAX_TABLE or file.metadata.num_rows > MAX_ROWS:
                raise ValueError(f"more than {MAX_TABLE >> 20} MiB or {MAX_ROWS} rows")
        return pd.read_parquet(path)
    except Exception as error:  # pyarrow raises many kinds for a damaged file
        what = f"not a readable parquet table ({_shorten(error)})"
        raise CorruptFileError(what, path, "run its stage again") from error


def _check_regular(path: Path | str) -> None:
    """Raises: CorruptFileError when nothing is there, or a folder, a pipe or a device, whose reading may never end."""
    try:
        mode = Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CorruptFileError("file is missing", path, _RUN) from error
    if not stat.S_ISREG(mode):
        raise CorruptFileError("not a regular file", path, _AGAIN)


def _shorten(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:160]
