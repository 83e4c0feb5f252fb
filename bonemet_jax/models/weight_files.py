"""Named tensors of a file of weights that someone else wrote; nothing in it is run, whatever its kind."""

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, deserialize

from bonemet_jax.errors import InputDataError
from bonemet_jax.models.torch_file import load_torch_file
from bonemet_jax.npz_file import read_npz
from bonemet_jax.strict_json import parse_json

#: Bytes of a file, and of its tensors together; a ResNet152 in float64 takes 0.5 GB.
MAX_FILE = 640 << 20
_MAX_HEADER = 8 << 20
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
    if path.stat().st_size > MAX_FILE:
        raise InputDataError(f"a file of more than {MAX_FILE >> 20} MiB", path, "save the weights alone")
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise InputDataError(f"weights of unknown kind, {path.suffix or 'no suffix'!r}", path,
                             f"use one of {', '.join(_READERS)}")
    return read(path)


def _load_safetensors(path: Path) -> dict[str, np.ndarray]:
    data = path.read_bytes()
    try:
        _check_names(data)
        entries = deserialize(data)
    except (SafetensorError, ValueError) as error:
        raise InputDataError(f"damaged .safetensors ({str(error)[:80]})", path, "fetch it again") from None
    odd = sorted({entry["dtype"] for _, entry in entries} - set(_DTYPES))
    if odd:
        raise InputDataError(f"tensors of dtype {', '.join(odd)}", path, f"use {', '.join(_DTYPES)}")
    return {name: np.frombuffer(entry["data"], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
            for name, entry in entries}


def _check_names(data: bytes) -> None:
    """Raises: ValueError for a header in which a name comes twice: the library keeps the last alone."""
    length = int.from_bytes(data[:8], "little")
    if not 0 < length <= min(len(data) - 8, _MAX_HEADER):
        raise ValueError("a header longer than the file or 8 MiB")
    parse_json(data[8 : 8 + length])


def _load_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        arrays = read_npz(path)
    except ValueError as error:
        raise InputDataError(f"damaged .npz ({str(error)[:80]})", path, "fetch it again") from None
    if sum(array.nbytes for array in arrays.values()) > MAX_FILE:
        raise InputDataError(f"arrays of more than {MAX_FILE >> 20} MiB", path, "save the weights alone")
    return arrays


_READERS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    ".safetensors": _load_safetensors, ".npz": _load_npz, ".pth": load_torch_file, ".pt": load_torch_file,
    ".bin": load_torch_file,
}  # fmt: skip
