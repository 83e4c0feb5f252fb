"""Hostile files of each kind that a loader reads, and what the command line does with them."""

import contextlib
import hashlib
import io
import json
import resource
import struct
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

GIB = 1 << 30
#: Exit codes of a refusal.
REFUSED = {2, 4, 7, 8}


def mutate(data: bytes, random: np.random.Generator) -> bytes:
    """One random change: a bit, a cut, bytes put in or taken out, a block overwritten."""
    changed, at, n = bytearray(data), int(random.integers(len(data))), int(random.integers(1, 17))
    match int(random.integers(6)):
        case 0:
            changed[at] ^= 1 << int(random.integers(8))
        case 1:
            del changed[at:]
        case 2:
            changed[at:at] = random.bytes(n)
        case 3:
            del changed[at : at + n]
        case 4:
            changed[at : at + n] = b"\0" * n
        case _:
            changed[at : at + n] = random.bytes(n)
    return bytes(changed)


def json_templates(data: bytes) -> Iterator[bytes]:
    """A JSON object whose values become something else, one at a time; and texts that no parser should accept."""
    yield from (
        b"",
        b"[",
        b"[" * 100_000,
        b'{"a":' * 5_000,
        b"[" * 900 + b"]" * 900,
        b"null",
        b"3",
        b"[]",
        b'"x"',
        b"NaN",
        data.decode().encode("utf-16")[:-1],
        b"\xff" + data,
        data + b"x",
        data.replace(b":", b":\x00", 1),
        data.replace(b'"', b'"\\ud800', 1),
        b"1" * 10_000,
        b"[" + b"0," * 3_000_000 + b"0]",
    )
    value = json.loads(data)
    words = (
        "null",
        "true",
        "NaN",
        "-Infinity",
        "1e999",
        "9" * 400,
        "9" * 5000,
        '"x"',
        "[]",
        "{}",
        "-1",
        "1.5",
        "[" * 70 + "]" * 70,
    )
    for place in _places(value):
        for word in words:
            yield _replaced(value, place, word)


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if place:
        yield place
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in list(pairs)[:8]:
        yield from _places(child, (*place, key))


def _replaced(value: Any, place: tuple[Any, ...], word: str) -> bytes:
    copy = json.loads(json.dumps(value))
    parent = copy
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = "@@"
    return json.dumps(copy).replace('"@@"', word).encode()


def npy(descr: str, shape: str, data: bytes = b"", version: int = 1, extra: str = "") -> bytes:
    """A member of an npz, with any header."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, {extra}}}".encode() + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + data


def npz_templates(data: bytes) -> Iterator[bytes]:
    """An npz in which one member is another array."""
    members = _unzip(data)
    big = 10**12
    odd = [
        npy("'<f4'", f"({big},)"),
        npy("'<f4'", f"({big}, {big})"),
        npy("'<f4'", "(-1, -1)", b"0000"),
        npy("'|O'", "(1,)", b"x"),
        npy("'<U0'", f"({big},)"),
        npy("'|V0'", f"({big},)"),
        npy("'(1000000,)<f4'", "(1,)"),
        npy("'<f4'", "(True,)", b"0000"),
        npy("'<f4'", "(0,)"),
        npy("'<f4'", "()", b"0000"),
        npy("'<M8[s]'", "(1,)", b"0" * 8),
        npy("'<c8'", "(1,)", b"0" * 8),
        npy("[('a', '<f4')]", "(1,)", b"0000"),
        npy("'<f4'", "(" * 90 + ")" * 90),
        npy("'<f4'", "(1,)", b"0000", 9),
        npy("'<f4'", "(1,)", b"0000", 2),
        npy("'<f4'", "(1,)", b"0000", 3, "'x': " + "9" * 5000),
        b"",
        b"\x93NUMPY",
        b"x" * 99,
        b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b"{",
        npy("'<f4'", f"({','.join('1' * 40)},)", b"0000"),
        npy("'<f4'", "(1,)", struct.pack("<f", float("nan"))),
        npy("'<f8'", "(1,)", struct.pack("<d", float("inf"))),
    ]
    for name in members:
        for one in odd:
            yield _zip(members | {name: one})
        yield _zip({other: x for other, x in members.items() if other != name})
    yield _zip(members | {"bomb.npy": npy("'<f4'", f"({1 << 29},)", bytes(1 << 20))})
    yield _zip(members | {"deep/x.txt": b"text"})


def _unzip(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zip(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def safetensors_templates(data: bytes) -> Iterator[bytes]:
    """Other headers over the same data."""
    length = int.from_bytes(data[:8], "little")
    header, values = data[8 : 8 + length], data[8 + length :]
    for n in (0, 1, len(data), 2**32, 2**63, 2**64 - 1, 100 << 20):
        yield struct.pack("<Q", n) + data[8:]
    for text in [*json_templates(header)][:150]:
        yield struct.pack("<Q", len(text)) + text + values
    twice = header.rstrip()[:-1] + b"," + header.lstrip()[1:]
    yield struct.pack("<Q", len(twice)) + twice + values


def torch_templates(data: bytes) -> Iterator[bytes]:
    """Other programs over the same storages."""
    members = _unzip(data)
    name = next(one for one in members if one.endswith("data.pkl"))
    tuples, dicts = b"\x80\x02)" + b"\x85" * 500_000 + b".", b"\x80\x02}" + b"X\x01\0\0\0a}" * 1000 + b"s" * 1000 + b"."
    for program in (
        b"",
        b".",
        b"\x80\x02.",
        tuples,
        dicts,
        b"\x80\x02" + b"(" * 100_000,
        b"\x80\x02]" + b"q\0h\0a" * 1000 + b".",
        b"\x80\x02\x8a\xff" + b"\xff" * 255 + b".",
        b"\x80\x02\x8b\xff\xff\xff\x7f",
        b"cos\nsystem\n.",
    ):
        yield _zip(members | {name: program}, zipfile.ZIP_STORED)
    for seed in range(60):
        yield _zip(members | {name: mutate(members[name], np.random.default_rng(seed))}, zipfile.ZIP_STORED)
    yield _zip({one: x for one, x in members.items() if one == name}, zipfile.ZIP_STORED)


def yaml_templates(data: bytes) -> Iterator[bytes]:
    """Aliases, tags, depth, odd numbers and keys."""
    laughs = b"a: &a [x,x]\n" + b"".join(b"%c: &%c [*%c,*%c]\n" % (98 + i, 98 + i, 97 + i, 97 + i) for i in range(20))
    yield from (
        b"",
        b"\xff\xfe",
        b"a: b: c",
        b"[" * 50_000,
        b"{a: " * 5_000,
        b"- " * 50_000,
        b"? " * 20_000,
        laughs,
        b"a: &a [*a]\n",
        b"<<: &m {x: 1}\n<<: *m\n",
        b"x: !!python/object/apply:os.system [id]\n",
        b"x: !!int '1'\n",
        b"a: 1\n---\na: 2\n",
        b"%YAML 9.9\n---\na: 1\n",
        b'"' + b"x" * 500_000,
        b"a" * 900_000 + b": 1",
        b"\0",
        data * 3,
        b"#" * 900_000,
        b"'" * 400_000,
        b"&a " * 50_000,
        b"a: |\n" + b" x\n" * 200_000,
        b"x: 2026-01-01\n",
        b"x: 190:20:30\n",
        b"1: 2\n",
        b"[a]: 1\n",
        b"- 1\n",
        b"3\n",
        b"x" * 1_000_001,
    )
    lines = data.splitlines(keepends=True)
    for number in range(min(len(lines), 60)):
        for text in (
            b"x: {",
            b"groups: 3\n",
            b"groups: {no: 1e999, yes: .nan}\n",
            b"groups: {no: 9" + b"9" * 5000 + b"}\n",
        ):
            yield b"".join([*lines[:number], text, *lines[number + 1 :]])


def booster_templates(data: bytes) -> Iterator[bytes]:
    """Cyclic children, indices out of range, other counts, other formats."""
    yield from (
        b"",
        b"{",
        b"{}",
        b"binf" + data,
        b'{"learner": {}}',
        b"{L" + b"\xff" * 8,
        b"{L\0\0\0\0\0\0\0\x01a[$d#L\x7f" + b"\xff" * 7,
        b"{L\0\0\0\0\0\0\0\x01a" * 1000,
        b"[" * 10_000,
    )
    for name in (b"left_children", b"right_children", b"parents", b"split_indices", b"split_type", b"default_left"):
        start = 0
        for value in (0, 1, 2, 3, 5, 127, 10**6, 2**31 - 2, -2):
            at = data.find(name + b"[$", start) + len(name) + 2
            start = at
            size = 4 if data[at : at + 1] == b"l" else 1
            place = at + 11
            yield data[:place] + (value % (1 << 8 * size)).to_bytes(size, "big") + data[place + size :]
    for name in (
        b"num_nodes",
        b"num_feature",
        b"num_trees",
        b"num_class",
        b"num_target",
        b"base_score",
        b"scale_pos_weight",
    ):
        at = data.find(name) + len(name)
        n = int.from_bytes(data[at + 2 : at + 10], "big")
        for text in (b"-1", b"0", b"999999999", b"9" * 30, b"nan", b"1e999", b"x"):
            yield data[: at + 2] + struct.pack(">Q", len(text)) + text + data[at + 10 + n :]


TEMPLATES: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    ".json": json_templates,
    ".npz": npz_templates,
    ".safetensors": safetensors_templates,
    ".pth": torch_templates,
    ".yaml": yaml_templates,
    ".ubj": booster_templates,
    ".parquet": lambda data: iter([b"", b"PAR1", b"PAR1" * 50]),
}


def make_hostile(whole: Path, n: int, seed: int = 0) -> Iterator[bytes]:
    """`n` hostile versions of a file: its kind's templates, chosen at random, for the most half; random changes."""
    data, random = whole.read_bytes(), np.random.default_rng(seed)
    templates = list(TEMPLATES[whole.suffix](data))
    chosen = random.permutation(len(templates))[: n // 2]
    yield from (templates[i] for i in chosen)
    yield from (mutate(data, random) for _ in range(n - len(chosen)))


def attack(read: Callable[[], str], whole: Path, n: int) -> dict[str, Any]:
    """Put hostile versions in the place of a file and read each as the command line does; the file is restored.

    Args:
        read: Reads the file; returns a digest of what was understood.
        whole: The sound file.
        n: Number of versions.

    Returns: Exit codes with their counts, faults, longest time in seconds, peak memory of the process in MiB.
    """
    data, wanted = whole.read_bytes(), read()
    codes: Counter[str] = Counter()
    faults: list[str] = []
    longest = 0.0
    for number, hostile in enumerate(make_hostile(whole, n)):
        whole.write_bytes(hostile)
        start, stderr = time.perf_counter(), io.StringIO()
        code, got = _read(read, stderr)
        longest = max(longest, time.perf_counter() - start)
        lines = stderr.getvalue().splitlines()
        kind = str(code) if code else "equal" if got == wanted else "other values"
        codes[kind] += 1
        if (code and (code not in REFUSED or len(lines) != 1)) or "Traceback" in stderr.getvalue():
            faults.append(f"{number}: {code} {lines[-1:]}")
    whole.write_bytes(data)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return {
        "n": n,
        "codes": dict(sorted(codes.items())),
        "faults": faults[:5],
        "longest_s": round(longest, 2),
        "peak_mib": peak,
    }


def _read(read: Callable[[], str], stderr: io.StringIO) -> tuple[int, str]:
    """Exit code and digest, as `bonemet_jax.cli.main` has it."""
    from bonemet_jax.cli import _explain, _one_line

    try:
        with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(io.StringIO()):
            return 0, read()
    except SystemExit as stop:
        return int(stop.code or 0), ""
    except Exception as error:
        told, code = _explain(error, "")
        print(f"bonemet: {_one_line(told)}" if told else f"Traceback: {error!r:.200}", file=stderr)
        return code, ""


def call_main(argv: list[str], output: Path | None = None) -> str:
    """Run the command line; a digest of its output file, if any. Raises: SystemExit with its code unless 0."""
    from bonemet_jax.cli import main

    if output is not None:
        output.unlink(missing_ok=True)
    code = main(argv)
    if code:
        raise SystemExit(code)
    return hashlib.sha256(output.read_bytes()).hexdigest() if output else ""


def main() -> None:
    """Attack in a process of its own with limited memory: hostile.py LOADER FOLDER N."""
    from tests.loaders.entries import ENTRIES

    resource.setrlimit(resource.RLIMIT_AS, (12 * GIB, 12 * GIB))
    loader, folder, n = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    entry = ENTRIES[loader](folder)
    print(json.dumps(attack(entry.read, entry.file, n)))


if __name__ == "__main__":
    main()
