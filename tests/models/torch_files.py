"""Files in PyTorch's zip format made by hand, without PyTorch, so that each part can be wrong."""

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

KINDS = {"float32": b"FloatStorage", "float64": b"DoubleStorage", "float16": b"HalfStorage", "int64": b"LongStorage",
         "bfloat16": b"BFloat16Storage"}  # fmt: skip
HEAD, DICT = b"\x80\x02", b"ccollections\nOrderedDict\n)R"


def text(value: str) -> bytes:
    """BINUNICODE."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    """BININT."""
    return b"J" + struct.pack("<i", value)


def numbers(values: tuple[int, ...]) -> bytes:
    """A tuple of BININTs."""
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(key: str, kind: bytes, n: int) -> bytes:
    """A persistent id as torch writes it."""
    return b"(" + text("storage") + b"ctorch\n" + kind + b"\n" + text(key) + text("cpu") + number(n) + b"tQ"


def tensor(part: bytes, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> bytes:
    """A rebuild record over a storage."""
    given = part + number(offset) + numbers(shape) + numbers(strides) + b"\x89" + DICT
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + given + b"tR"


def program(tensors: Mapping[str, np.ndarray], more: bytes = b"") -> bytes:
    """The pickle of a state_dict; `more` is put among its items."""
    items = b"".join(
        text(name) + tensor(storage(str(i), KINDS[x.dtype.name], x.size), x.shape, _strides(x))
        for i, (name, x) in enumerate(tensors.items())
    )
    return HEAD + DICT + b"(" + items + more + b"u" + b"}" + text("_metadata") + DICT + b"sb."


def save(path: Path, pickled: bytes, parts: Mapping[str, bytes], root: str = "archive",
         compression: int = zipfile.ZIP_STORED) -> Path:
    """The zip around a pickle and its storages."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{root}/data.pkl", pickled)
        for key, data in parts.items():
            archive.writestr(f"{root}/{key}", data)
    return path


def save_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> Path:
    """As torch.save(state_dict, path)."""
    return save(path, program(tensors), {f"data/{i}": x.tobytes() for i, x in enumerate(tensors.values())})


def _strides(x: np.ndarray) -> tuple[int, ...]:
    return tuple(step // x.itemsize for step in x.strides)
