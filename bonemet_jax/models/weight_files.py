"""Named tensors of a file of weights that someone else wrote; nothing in it is run, whatever its kind."""

import math
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, deserialize

from bonemet_jax import artifacts
from bonemet_jax.errors import CorruptFileError, InputDataError
from bonemet_jax.models.torch_file import load_torch_file

#: Bytes of all arrays of an npz together; a ResNet152 in float64 takes 0.5 GB.
_MAX_ARRAYS = 1 << 30
_DTYPES = {
    "F64": np.dtype(np.float64), "F32": np.dtype(np.float32), "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16), "I64": np.dtype(np.int64), "I32": np.dtype(np.int32),
}  # fmt: skip


def load_tensors(path: Path) -> dict[str, np.ndarray]:
    """Tensors by name from a .safetensors, .npz or .pth file, in the dtype they are stored in.

    Raises: InputDataError when there is no such file, its kind is not known, or it is damaged, over-long or holds
        anything but tensors.
    """
    if not path.is_file():
        raise InputDataError("no such file of weights", path, "name a .safetensors, .npz or .pth file")
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise InputDataError(f"weights of unknown kind, {path.suffix or 'no suffix'!r}", path,
                             f"use one of {', '.join(_READERS)}")
    return read(path)


def _load_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        entries = deserialize(path.read_bytes())
    except SafetensorError as error:
        raise InputDataError(f"damaged .safetensors ({str(error)[:80]})", path, "fetch it again") from None
    odd = sorted({entry["dtype"] for _, entry in entries} - set(_DTYPES))
    if odd:
        raise InputDataError(f"tensors of dtype {', '.join(odd)}", path, f"use {', '.join(_DTYPES)}")
    return {name: np.frombuffer(entry["data"], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
            for name, entry in entries}


def _load_npz(path: Path) -> dict[str, np.ndarray]:
    """Headers are held against the archive's own sizes before anything is allocated."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > _MAX_ARRAYS:
                raise InputDataError(f"arrays of more than {_MAX_ARRAYS >> 20} MiB", path, "save the weights alone")
            for entry in entries:
                _check_header(archive, entry)
        return artifacts.load_npz(path)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError,
            CorruptFileError) as error:  # fmt: skip
        told = error.what if isinstance(error, CorruptFileError) else str(error)
        raise InputDataError(f"damaged .npz ({told[:80]})", path, "fetch it again") from None


def _check_header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Raises: ValueError when an array is of Python objects or not as long as its shape says."""
    with archive.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        if dtype.hasobject:
            raise ValueError(f"{entry.filename[:40]} holds Python objects")
        if stream.tell() + math.prod(shape) * dtype.itemsize != entry.file_size:
            raise ValueError(f"{entry.filename[:40]} is not as long as its shape says")


_READERS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    ".safetensors": _load_safetensors, ".npz": _load_npz, ".pth": load_torch_file, ".pt": load_torch_file,
    ".bin": load_torch_file,
}  # fmt: skip
