"""Tensors of a .pth file, read without running anything that is in it.

`torch.save` writes a zip: one pickle that says which tensor is which part of which storage, and the storages as raw
bytes. The pickle is a program. Here its instructions are only parsed (`pickletools.genops`) and those that a
dictionary of tensors needs are acted on, by this file's own functions: no name in it is ever imported or called, and
every other instruction or name is refused. Sizes are held against the bytes there are before anything is allocated.
"""

import math
import pickletools
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from bonemet_jax.errors import InputDataError
from bonemet_jax.npz_file import DAMAGE, open_zip

#: Bytes of the pickle; that of a ResNet101 takes 70 kB.
_MAX_PROGRAM = 2 << 20
#: Bytes of all tensors together; a ResNet152 in float64 takes 0.5 GB.
_MAX_TENSORS = 640 << 20
_STORAGES = {
    "torch DoubleStorage": np.dtype(np.float64), "torch FloatStorage": np.dtype(np.float32),
    "torch HalfStorage": np.dtype(np.float16), "torch BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch LongStorage": np.dtype(np.int64), "torch IntStorage": np.dtype(np.int32),
    "torch ShortStorage": np.dtype(np.int16), "torch CharStorage": np.dtype(np.int8),
    "torch ByteStorage": np.dtype(np.uint8), "torch BoolStorage": np.dtype(np.bool_),
}  # fmt: skip
_DICT = "collections OrderedDict"
_TENSOR, _PARAMETER = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"
_NAMES = {*_STORAGES, _DICT, _TENSOR, _PARAMETER}
_RESAVE = "save it anew in PyTorch: torch.save(model.state_dict(), FILE), or as .safetensors"


class _Name(NamedTuple):
    """A name that the pickle mentions: a word, nothing that could be called."""

    text: str


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype
    n: int


class _Refused(Exception):
    """What stands in the pickle that no tensors need."""


def load_torch_file(path: Path) -> dict[str, np.ndarray]:
    """Tensors by name of a file written by `torch.save(state_dict, path)`; other entries of the dictionary are dropped.

    A checkpoint that keeps its tensors under `state_dict` is understood. Tensors are views of their storages.

    Raises: InputDataError, in one line, when the file is of the legacy kind, damaged, larger than it says, or holds
        anything else than dictionaries of tensors and plain values.
    """
    if not zipfile.is_zipfile(path):
        raise InputDataError("not a zip of tensors: PyTorch's legacy format, or no .pth at all", path, _RESAVE)
    try:
        with open(path, "rb") as stream, open_zip(stream) as archive:
            root = _check_archive(archive, path.stat().st_size)
            return _find_tensors(_Machine(archive, root).run(archive.read(f"{root}/data.pkl")))
    except _Refused as error:
        raise InputDataError(f"refused: {error}", path, _RESAVE) from None
    except (*DAMAGE, AttributeError) as error:
        told = f"{type(error).__name__}: {str(error)[:80]}"
        raise InputDataError(f"damaged .pth ({told})", path, "fetch it again") from None


def _check_archive(archive: zipfile.ZipFile, n_bytes: int) -> str:
    """Name of the folder inside; every entry is as torch writes it: plain, stored, inside that folder, once."""
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    for entry in entries:
        if entry.filename.startswith("/") or "\\" in entry.filename or ".." in PurePosixPath(entry.filename).parts:
            raise _Refused(f"an entry that leaves the archive, {entry.filename[:60]!r}")
        if entry.flag_bits & 1 or entry.compress_type != zipfile.ZIP_STORED:
            raise _Refused(f"a compressed or encrypted entry, {entry.filename[:60]!r}")
    if len(set(names)) < len(names) or sum(entry.file_size for entry in entries) > n_bytes:
        raise _Refused("entries that overlap: together larger than the file")
    programs = [entry for entry in entries if PurePosixPath(entry.filename).name == "data.pkl"]
    if len(programs) != 1 or programs[0].file_size > _MAX_PROGRAM:
        raise _Refused(f"no data.pkl, several, or one over {_MAX_PROGRAM >> 20} MiB")
    root = str(PurePosixPath(programs[0].filename).parent)
    order = f"{root}/byteorder"
    if order in names and archive.read(order) != b"little":
        raise _Refused("bytes in big-endian order")
    return root


def _find_tensors(value: Any) -> dict[str, np.ndarray]:
    inner = value.get("state_dict") if isinstance(value, dict) else None
    entries = inner if isinstance(inner, dict) else value
    if not isinstance(entries, dict):
        raise _Refused(f"a {type(entries).__name__.lstrip('_')} where a dictionary of tensors should be")
    return {name: x for name, x in entries.items() if isinstance(name, str) and isinstance(x, np.ndarray)}


@dataclass
class _Machine:
    """Stack and memo of the few pickle instructions that make dictionaries of tensors."""

    archive: zipfile.ZipFile
    root: str
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    storages: dict[str, bytes] = field(default_factory=dict)
    n_bytes: int = 0
    """Of all tensors so far, which may share their storages."""

    def run(self, program: bytes) -> Any:
        """What the pickle describes. Raises: _Refused; others when it is damaged."""
        for opcode, argument, _ in pickletools.genops(program):
            if opcode.name == "STOP":
                return self.stack.pop()
            act = _ACTS.get(opcode.name)
            if act is None:
                raise _Refused(f"pickle instruction {opcode.name}")
            act(self, argument)
        raise ValueError("no end")

    def pop_marked(self) -> list[Any]:
        """What was pushed since the last mark."""
        start = self.marks.pop()
        if start > len(self.stack):
            raise IndexError("mark above the stack")
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def pop_tuple(self, n: int) -> None:
        """Put the last `n` values into a tuple."""
        if n > len(self.stack):
            raise IndexError("too few values")
        self.stack[len(self.stack) - n :] = [tuple(self.stack[len(self.stack) - n :])]

    def set_items(self, pairs: list[Any]) -> None:
        """Keys and values in turn into the dictionary below."""
        target = self.stack[-1]
        if type(target) is not dict or not all(type(key) in (str, int) for key in pairs[::2]):
            raise _Refused("items set on something else than a dictionary, or with odd keys")
        target.update(zip(pairs[::2], pairs[1::2], strict=True))

    def append(self, values: list[Any]) -> None:
        """Values to the list below."""
        if type(self.stack[-1]) is not list:
            raise _Refused("values appended to something else than a list")
        self.stack[-1].extend(values)

    def name(self, text: str) -> None:
        """Push a name, one of those that tensors need."""
        if text not in _NAMES:
            raise _Refused(f"the name {text[:60]!r}")
        self.stack.append(_Name(text))

    def reduce(self) -> None:
        """The three 'calls' that tensors need, by functions of ours."""
        given, called = self.stack.pop(), self.stack.pop()
        if type(given) is not tuple or type(called) is not _Name:
            raise _Refused("a call of something that is no name")
        if called.text == _DICT and given == ():
            self.stack.append({})
        elif called.text == _TENSOR:
            self.stack.append(self.make_tensor(*given[:4]))
        elif called.text == _PARAMETER and isinstance(given[0], np.ndarray):
            self.stack.append(given[0])
        else:
            raise _Refused(f"a call of {called.text!r} with odd arguments")

    def build(self) -> None:
        """Attributes of a dictionary (its format's version) are dropped; nothing else may have any."""
        self.stack.pop()
        if type(self.stack[-1]) is not dict:
            raise _Refused("attributes set on something else than a dictionary")

    def make_storage(self) -> None:
        """('storage', kind, key, device, length) -> a named part of the archive."""
        given = self.stack.pop()
        kinds = (str, _Name, str, str, int)
        if type(given) is not tuple or tuple(map(type, given)) != kinds or given[0] != "storage":
            raise _Refused("a persistent id that is no storage")
        _, kind, key, _, n = given
        if kind.text not in _STORAGES or not (key.isascii() and key.isdecimal()) or n < 0:
            raise _Refused("a storage of odd kind, name or length")
        self.stack.append(_Storage(key, _STORAGES[kind.text], n))

    def make_tensor(self, storage: Any, offset: Any, shape: Any, strides: Any) -> np.ndarray:
        """A view of the storage; one that reaches outside it, or repeats its values, is refused."""
        if type(storage) is not _Storage or type(shape) is not tuple or type(strides) is not tuple:
            raise _Refused("a tensor of odd parts")
        if not all(type(x) is int and x >= 0 for x in (offset, *shape, *strides)) or len(shape) != len(strides):
            raise _Refused("a tensor of odd shape")
        last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
        if math.prod(shape) and (last >= storage.n or math.prod(shape) > storage.n):
            raise _Refused("a tensor larger than its storage")
        if not math.prod(shape):
            return np.empty(0, storage.dtype)
        self.n_bytes += math.prod(shape) * storage.dtype.itemsize
        if self.n_bytes > _MAX_TENSORS:
            raise _Refused(f"tensors of more than {_MAX_TENSORS >> 20} MiB together")
        values = np.frombuffer(self.load_storage(storage), storage.dtype)[offset:]
        steps = [step * values.itemsize if size > 1 else 0 for size, step in zip(shape, strides, strict=True)]
        return np.lib.stride_tricks.as_strided(values, shape, steps, writeable=False)

    def load_storage(self, storage: _Storage) -> bytes:
        """The bytes of a storage, read once."""
        entry = self.archive.getinfo(f"{self.root}/data/{storage.key}")
        if entry.file_size != storage.n * storage.dtype.itemsize:
            raise _Refused(f"storage {storage.key} of another length than its pickle says")
        if storage.key not in self.storages:
            self.storages[storage.key] = self.archive.read(entry)
        return self.storages[storage.key]


_Act = Callable[[_Machine, Any], Any]


def _push(machine: _Machine, value: Any) -> None:
    machine.stack.append(value)


def _put(machine: _Machine, index: int) -> None:
    machine.memo[index] = machine.stack[-1]


_ACTS: dict[str, _Act] = {
    "PROTO": lambda m, _: None,
    **dict.fromkeys(("BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), _push),
    "NONE": lambda m, _: m.stack.append(None),
    "NEWTRUE": lambda m, _: m.stack.append(True),
    "NEWFALSE": lambda m, _: m.stack.append(False),
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "EMPTY_TUPLE": lambda m, _: m.stack.append(()),
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.pop_marked())),
    "TUPLE1": lambda m, _: m.pop_tuple(1),
    "TUPLE2": lambda m, _: m.pop_tuple(2),
    "TUPLE3": lambda m, _: m.pop_tuple(3),
    "SETITEM": lambda m, _: m.set_items([m.stack.pop(), m.stack.pop()][::-1]),
    "SETITEMS": lambda m, _: m.set_items(m.pop_marked()),
    "APPEND": lambda m, _: m.append([m.stack.pop()]),
    "APPENDS": lambda m, _: m.append(m.pop_marked()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda m, index: m.stack.append(m.memo[index])),
    "GLOBAL": lambda m, text: m.name(text),
    "REDUCE": lambda m, _: m.reduce(),
    "BUILD": lambda m, _: m.build(),
    "BINPERSID": lambda m, _: m.make_storage(),
}
