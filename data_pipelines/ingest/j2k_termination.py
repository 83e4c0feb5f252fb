"""Whether the code-blocks of a JPEG 2000 frame end where their coded bits end (ISO/IEC 15444-1, annex C and D).

JPEG 2000 stores no checksum, and decoders decode damaged code-blocks to other values without a warning. But the
coding passes use up an intact arithmetic codeword to within a byte or two, and hardly ever a damaged one. OpenJPEG
compares the two where a codestream declares predictable termination, and reports the difference as a warning. So the
frame is decoded once more with that declaration set, by the OpenJPEG library that GDCM brings. See decision 0024.
"""

import ctypes
import functools
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

_START, _COD, _SOT = b"\xff\x4f\xff\x51", b"\xff\x52", b"\xff\x90"
#: Position of the code-block style behind the marker, and its bits.
_STYLE, _PREDICTABLE, _HIGH_THROUGHPUT = 12, 0x10, 0x40
#: Bytes left over in, or missing from, an intact code-block: at most 1 and 14 in 190 files of a dozen encoders.
MAX_LEFT_BYTES, MAX_MISSING_BYTES = 4, 32
_LEFT, _MISSING = re.compile(rb"(\d+) remaining bytes"), re.compile(rb"(\d+) synthesized")
_PREFIX = "gdcmopenjp2_opj_"

_Message = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_void_p)
_Read = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
_Skip = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
_Seek = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int64, ctypes.c_void_p)
_POINTER, _INT = ctypes.c_void_p, ctypes.c_int
#: Function of OpenJPEG -> result and arguments.
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "create_decompress": (_POINTER, (_INT,)),
    "destroy_codec": (None, (_POINTER,)),
    "set_warning_handler": (_INT, (_POINTER, _Message, _POINTER)),
    "set_default_decoder_parameters": (None, (_POINTER,)),
    "setup_decoder": (_INT, (_POINTER, _POINTER)),
    "stream_create": (_POINTER, (ctypes.c_size_t, _INT)),
    "stream_destroy": (None, (_POINTER,)),
    "stream_set_read_function": (None, (_POINTER, _Read)),
    "stream_set_skip_function": (None, (_POINTER, _Skip)),
    "stream_set_seek_function": (None, (_POINTER, _Seek)),
    "stream_set_user_data": (None, (_POINTER, _POINTER, _POINTER)),
    "stream_set_user_data_length": (None, (_POINTER, ctypes.c_uint64)),
    "read_header": (_INT, (_POINTER, _POINTER, ctypes.POINTER(_POINTER))),
    "decode": (_INT, (_POINTER, _POINTER, _POINTER)),
    "image_destroy": (None, (_POINTER,)),
}
#: Larger than opj_dparameters_t of any version.
_PARAMETER_BYTES = 1 << 15


def find_j2k_damage(data: bytes) -> str:
    """What is wrong with a JPEG 2000 frame; empty: nothing, or not checked (no such library, or another block coder).

    Args:
        data: a frame whose size was compared with the header's: memory is taken for it.
    """
    library, declared = _load_library(), _declare_termination(data)
    if library is None or not declared:
        return ""
    warnings = _decode(library, declared)
    n_left = sum(int(found[1]) > MAX_LEFT_BYTES for text in warnings if (found := _LEFT.search(text)))
    n_missing = sum(int(found[1]) > MAX_MISSING_BYTES for text in warnings if (found := _MISSING.search(text)))
    n = n_left + n_missing
    return f"coded bits of {n} code-block{'s' * (n > 1)} end at the wrong byte" if n else ""


def _declare_termination(data: bytes) -> bytes:
    """The codestream with predictable termination declared; empty where there is nothing to check."""
    start = data.find(_START)
    at = data.find(_COD, start, data.find(_SOT, start))
    if start < 0 or at < 0 or data[at + _STYLE] & _HIGH_THROUGHPUT:
        return b""
    declared = bytearray(data[start:])
    declared[at - start + _STYLE] |= _PREDICTABLE
    return bytes(declared)


@functools.cache
def _load_library() -> dict[str, Callable[..., Any]] | None:
    """OpenJPEG's functions by name; None where GDCM does not bring the library as a file of its own."""
    package = importlib.util.find_spec("_gdcm")
    folders = (package.submodule_search_locations if package else None) or []
    for file in sorted(file for folder in folders for file in Path(folder).glob("libgdcmopenjp2.*")):
        try:
            library = ctypes.CDLL(str(file))
            functions = {name: getattr(library, _PREFIX + name) for name in _FUNCTIONS}
        except (OSError, AttributeError):
            continue
        for name, (result, arguments) in _FUNCTIONS.items():
            functions[name].restype, functions[name].argtypes = result, arguments
        return functions
    return None


def _decode(library: dict[str, Callable[..., Any]], data: bytes) -> list[bytes]:
    """Decode and drop the image; what was warned."""
    warnings: list[bytes] = []
    at = 0

    def read(buffer: int, n: int, _: object) -> int:
        nonlocal at
        part = data[at:at + n]
        at += len(part)
        ctypes.memmove(buffer, part, len(part))
        return len(part) or ctypes.c_size_t(-1).value

    def skip(n: int, _: object) -> int:
        nonlocal at
        at = min(max(0, at + n), len(data))
        return n

    def seek(position: int, _: object) -> int:
        nonlocal at
        at = position
        return 1

    callbacks = _Message(lambda text, _: warnings.append(text)), _Read(read), _Skip(skip), _Seek(seek)
    codec, stream, image = library["create_decompress"](0), library["stream_create"](1 << 16, 1), _POINTER()
    parameters = ctypes.create_string_buffer(_PARAMETER_BYTES)
    try:
        library["set_warning_handler"](codec, callbacks[0], None)
        library["set_default_decoder_parameters"](parameters)
        library["setup_decoder"](codec, parameters)
        for name, callback in zip(("read", "skip", "seek"), callbacks[1:], strict=True):
            library[f"stream_set_{name}_function"](stream, callback)
        library["stream_set_user_data_length"](stream, len(data))
        library["stream_set_user_data"](stream, 1, None)
        if library["read_header"](stream, codec, ctypes.byref(image)):
            library["decode"](codec, stream, image)
    finally:
        if image:
            library["image_destroy"](image)
        library["stream_destroy"](stream)
        library["destroy_codec"](codec)
    return warnings
