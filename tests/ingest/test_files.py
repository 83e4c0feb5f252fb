"""Folders and archives: what a zip may not do is refused with a code, and nothing is ever unpacked."""

import io
import os
import struct
import zipfile
from pathlib import Path

import pytest

from bonemet_jax.errors import InputDataError
from data_pipelines.ingest import files
from data_pipelines.ingest.files import find_files


def _names(path: Path) -> list[str]:
    return [file.name for file in find_files(path)]


def _zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def _check_refused(path: Path, code: str, fact: str = "") -> None:
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(InputDataError) as refusal:
        for file in find_files(path):
            with file.open() as stream:
                stream.read()
    assert (refusal.value.code, fact in refusal.value.fact) == (code, True), str(refusal.value)
    assert refusal.value.mend and "\n" not in str(refusal.value)
    assert sorted(path.parent.rglob("*")) == before, "something was written"


def test_folder_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b", "a/c", ".DS_Store", ".git/x", "__MACOSX/b", "a/.hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12")
    assert _names(tmp_path) == ["c", "b"]
    assert [(f.name, f.n_bytes) for f in find_files(tmp_path / "b")] == [("b", 2)]
    with pytest.raises(InputDataError) as refusal:
        find_files(tmp_path / "absent")
    assert refusal.value.code == "file-missing"


def test_special_files_are_not_opened(tmp_path: Path) -> None:
    """A pipe would block for ever."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "x").write_bytes(b"")
    assert _names(tmp_path) == ["x"]


def test_zip_in_memory(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.ZIP", {"z/1": b"one", "2": b"two", "__MACOSX/2": b"", ".hidden": b"", "s\\3": b"three"})
    found = find_files(path)
    assert [(f.name, f.n_bytes) for f in found] == [("2", 3), ("3", 5), ("1", 3)]
    assert found[-1].where == f"{path}:z/1"
    assert [f.open().read() for f in found] == [b"two", b"three", b"one"]
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", [
    "../x", "a/../../x", "/etc/x", "..\\x", "C:\\x", "C:x", "\\\\host\\x", "a\\..\\..\\x",
])
def test_zip_slip_is_refused(tmp_path: Path, name: str) -> None:
    info = zipfile.ZipInfo("safe")
    info.filename = info.orig_filename = name
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("good", b"")
        archive.writestr(info, b"x")
    _check_refused(tmp_path / "a.zip", "file-archive-path", "member 2")


def test_symbolic_link_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = 0xA1FF << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, b"/etc/passwd")
    _check_refused(tmp_path / "a.zip", "file-archive-link", "member 1")


def _patch_flags(path: Path, flags: int) -> None:
    """Set general purpose flags in the local and the central header."""
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.index(signature) + offset
        data[at:at + 2] = struct.pack("<H", flags)
    path.write_bytes(data)


def test_encrypted_member_is_refused(tmp_path: Path) -> None:
    _patch_flags(_zip(tmp_path / "a.zip", {"x": b"1"}), 0x1)
    _check_refused(tmp_path / "a.zip", "file-archive-encrypted", "member 1")


@pytest.mark.parametrize("name", ["x.zip", "x.ZIP", "x.tar.gz", "x.gz", "x.7z", "x.rar"])
def test_archive_inside_is_refused(tmp_path: Path, name: str) -> None:
    _check_refused(_zip(tmp_path / "a.zip", {"a/" + name: b"1"}), "file-archive-nested", "member 1")


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_unusual_method_is_refused(tmp_path: Path, method: int) -> None:
    """LZMA takes the dictionary it asks for: up to 4 GiB."""
    _check_refused(_zip(tmp_path / "a.zip", {"x": b"1" * 100}, method), "file-archive-method", f"method {method}")


def test_bombs_are_refused_before_anything_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("unpacked"))
    _check_refused(_zip(tmp_path / "one.zip", {"x": bytes(30 << 20)}), "file-archive-bomb", "member 1")
    many = _zip(tmp_path / "many.zip", {str(n): bytes(4 << 20) for n in range(5)})
    _check_refused(many, "file-archive-bomb", "unpacked from")


def test_a_slice_of_nothing_but_air_is_no_bomb(tmp_path: Path) -> None:
    assert _names(_zip(tmp_path / "a.zip", {"x": bytes(1 << 20)})) == ["x"]


def test_a_size_that_lies_is_refused(tmp_path: Path) -> None:
    """The directory claims 10 bytes of a member that unpacks to 30 MB: no more than claimed is read."""
    path = _zip(tmp_path / "a.zip", {"x": bytes(30 << 20)})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = data.index(signature) + offset
        data[at:at + 4] = struct.pack("<I", 10)
    path.write_bytes(data)
    _check_refused(path, "file-archive-damaged")


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILES", 3)
    folder = tmp_path / "folder"
    folder.mkdir()
    for n in range(4):
        (folder / str(n)).write_bytes(b"")
    _check_refused(folder, "file-too-many", "4 files, limit 3")
    _check_refused(_zip(tmp_path / "a.zip", {str(n): b"" for n in range(4)}), "file-too-many", "4 members, limit 3")


def test_too_large_a_file_is_refused_unopened(tmp_path: Path) -> None:
    with open(tmp_path / "x", "wb") as file:
        file.truncate(files.MAX_FILE_BYTES + 1)  # a hole: takes no disk
    _check_refused(tmp_path / "x", "file-large", "limit")


@pytest.mark.parametrize("keep", [0, 10, 60, -1])
def test_damaged_archives_are_refused(tmp_path: Path, keep: int) -> None:
    path = _zip(tmp_path / "a.zip", {"x": bytes(range(256)) * 4})
    path.write_bytes(path.read_bytes()[:keep])
    _check_refused(path, "file-archive-damaged")


def test_changed_bytes_of_a_member_are_found_by_its_checksum(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.zip", {"x": bytes(range(256)) * 4})
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)
    _check_refused(path, "file-archive-damaged")


def test_a_reader_gets_a_stream_of_its_own_each_time(tmp_path: Path) -> None:
    file, = find_files(_zip(tmp_path / "a.zip", {"x": b"abc"}))
    first, second = file.open(), file.open()
    assert isinstance(first, io.BytesIO) and first is not second
    assert first.read() == second.read() == b"abc"
