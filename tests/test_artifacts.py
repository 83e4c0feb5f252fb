"""The write door: nothing half-written, damage named, disk-full told with path and bytes."""

import errno
from pathlib import Path

import numpy as np
import pytest

from bonemet_jax import artifacts, output_paths
from bonemet_jax.errors import CorruptFileError, DiskError, UsageError


def test_output_of_others_or_changed_by_hand_is_never_replaced(tmp_path: Path) -> None:
    out, inside = tmp_path / "out", tmp_path / "out" / "input"
    assert not output_paths.check_output_folder(out, "areas", [tmp_path / "elsewhere", None])
    artifacts.write_text(out / "a.txt", "a")
    with pytest.raises(UsageError, match="not an earlier output"):
        output_paths.check_output_folder(out, "areas", [])
    artifacts.write_json(out / "manifest.json", [])
    with pytest.raises(UsageError, match="not an earlier output"):
        output_paths.check_output_folder(out, "areas", [])
    artifacts.write_manifest(out, {"kind": "areas"})
    assert output_paths.check_output_folder(out, "areas", [])
    for path, wanted in ((inside, "holds an input"), (tmp_path, "is in an input")):
        with pytest.raises(UsageError, match=wanted):
            output_paths.check_output_folder(out, "areas", [path])
    artifacts.write_text(out / "mine.zip", "drawn for hours")
    with pytest.raises(UsageError, match="was not written by this verb"):
        output_paths.check_output_folder(out, "areas", [])
    assert output_paths.check_output_folder(out, "areas", [], beside=["mine.zip"])
    (out / "mine.zip").unlink()
    artifacts.write_text(out / "a.txt", "corrected")
    with pytest.raises(UsageError, match="changed since it was written"):
        output_paths.check_output_folder(out, "areas", [])


def test_write_is_atomic_when_the_writer_fails(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    artifacts.write_json(target, {"x": 1})
    with pytest.raises(RuntimeError), artifacts.atomic_path(target) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert artifacts.load_json(target) == {"x": 1}
    assert [f.name for f in tmp_path.iterdir()] == ["a.json"]


def test_atomic_dir_replaces_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "d"
    with artifacts.atomic_dir(target) as partial:
        (partial / "one").write_text("1")
    with pytest.raises(RuntimeError), artifacts.atomic_dir(target) as partial:
        (partial / "two").write_text("2")
        raise RuntimeError
    assert [f.name for f in target.iterdir()] == ["one"]
    with artifacts.atomic_dir(target) as partial:
        (partial / "three").write_text("3")
    assert [f.name for f in target.iterdir()] == ["three"]
    assert [f.name for f in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_disk_errors_name_path_and_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(self: Path, data: bytes) -> int:
        raise OSError(code, "refused")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(DiskError) as caught:
        artifacts.write_bytes(tmp_path / "f.bin", b"12345")
    assert str(tmp_path / "f.bin") in str(caught.value)
    assert "5 bytes" in str(caught.value)
    assert caught.value.exit_code == 5
    assert list(tmp_path.iterdir()) == []


def test_disk_error_seen_through_a_library_wrapper(tmp_path: Path) -> None:
    with pytest.raises(DiskError), artifacts.disk_errors(tmp_path):
        try:
            raise OSError(errno.ENOSPC, "full")
        except OSError as error:
            raise ValueError("wrapped") from error


@pytest.mark.parametrize("text", ["worker said: Disk quota exceeded [while writing]", "RESOURCE: File too large"])
def test_disk_error_seen_in_the_text_of_a_library_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(DiskError), artifacts.disk_errors(tmp_path):
        raise RuntimeError(text)


def test_other_errors_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="plain"), artifacts.disk_errors(tmp_path):
        raise ValueError("plain")


def test_manifest_finds_every_bit_flip_and_truncation(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(3):
        (tmp_path / f"f{i}").write_bytes(rng.bytes(200))
    artifacts.write_manifest(tmp_path, {"n": 3})
    assert artifacts.check_manifest(tmp_path)["facts"] == {"n": 3}
    for _ in range(40):
        victim = tmp_path / f"f{rng.integers(3)}"
        sound = victim.read_bytes()
        if rng.random() < 0.5:
            damaged = bytearray(sound)
            damaged[rng.integers(len(sound))] ^= 1 << int(rng.integers(8))
            victim.write_bytes(bytes(damaged))
        else:
            victim.write_bytes(sound[: rng.integers(len(sound))])
        with pytest.raises(CorruptFileError, match=victim.name):
            artifacts.check_manifest(tmp_path)
        victim.write_bytes(sound)
    artifacts.check_manifest(tmp_path)


def test_npz_has_equal_bytes_for_equal_arrays_and_never_unpickles(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        artifacts.save_npz(tmp_path / name, {"x": np.arange(5)})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    np.savez(tmp_path / "evil.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(CorruptFileError):
        artifacts.load_npz(tmp_path / "evil.npz")


@pytest.mark.parametrize("loader", [artifacts.load_json, artifacts.load_npz, artifacts.load_table])
def test_missing_and_damaged_files_are_one_line(tmp_path: Path, loader) -> None:
    with pytest.raises(CorruptFileError, match="missing"):
        loader(tmp_path / "absent")
    (tmp_path / "broken").write_bytes(b"\x00not it")
    with pytest.raises(CorruptFileError) as caught:
        loader(tmp_path / "broken")
    assert "broken" in str(caught.value)


def test_append_line_makes_the_folder(tmp_path: Path) -> None:
    for line in ("a", "b"):
        artifacts.append_line(tmp_path / "new" / "log.jsonl", line)
    assert (tmp_path / "new" / "log.jsonl").read_text() == "a\nb\n"


def test_a_write_that_cannot_fit_is_refused_before_it_begins(tmp_path: Path) -> None:
    artifacts.check_space(tmp_path / "not" / "yet", 1)
    with pytest.raises(DiskError, match=r"not/yet, 1152921504606846976 bytes, \d+ free"):
        artifacts.check_space(tmp_path / "not" / "yet", 1 << 60)


def test_files_behind_links_are_listed_once(tmp_path: Path) -> None:
    """Records may lie on another disk; a link back to a folder above must not make the list endless."""
    other, folder = tmp_path / "other", tmp_path / "run"
    (other / "inner").mkdir(parents=True)
    folder.mkdir()
    for name in ("a", "inner/b", f"c{artifacts.partial_name(Path('x')).name}"):
        (other / name).touch()
    (folder / "own").touch()
    (folder / "link").symlink_to(other)
    (other / "back").symlink_to(folder)
    (folder / "gone").symlink_to(tmp_path / "nothing")
    listed = artifacts.list_files(folder)
    assert [str(file.relative_to(folder)) for file in listed] == ["link/a", "link/inner/b", "own"]


def test_more_space_is_no_remedy_for_a_read_only_disk(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="read-only") as caught, artifacts.disk_errors(tmp_path):
        raise OSError(errno.EROFS, "Read-only file system")
    assert "free some space" not in str(caught.value)
