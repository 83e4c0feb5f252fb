from pathlib import Path

from bonemet_jax import artifacts
from bonemet_jax.study.stage_cache import find_damage, is_current, load_stamp, write_stamp


def _write(run: Path, name: str, key: str, text: str, needs: tuple[str, ...] = (), seconds: float = 0.5) -> Path:
    """A stage with one file."""
    artifacts.write_text(run / f"{name}.txt", text)
    write_stamp(run, name, key, needs, [run / f"{name}.txt"], seconds)
    return run / f"{name}.txt"


def test_a_stage_is_done_for_its_key_and_whole_files_only(tmp_path: Path) -> None:
    assert not is_current(tmp_path, "s", "key1", ())
    file = _write(tmp_path, "s", "key1", "1")
    assert is_current(tmp_path, "s", "key1", ()) and find_damage(tmp_path, "s") is None
    assert not is_current(tmp_path, "s", "key2", ())
    file.write_text("2")
    assert find_damage(tmp_path, "s") == file
    file.unlink()
    assert find_damage(tmp_path, "s") == file


def test_a_stage_belongs_to_the_results_that_it_read(tmp_path: Path) -> None:
    """Same keys, other results of the stage before: that it was done again, or copied from another run, is noticed."""
    _write(tmp_path, "before", "k", "1")
    _write(tmp_path, "after", "k", "2", ("before",))
    assert is_current(tmp_path, "after", "k", ("before",))
    _write(tmp_path, "before", "k", "1", seconds=9)
    assert is_current(tmp_path, "after", "k", ("before",))  # the same result, made in another time
    _write(tmp_path, "before", "k", "3")
    assert not is_current(tmp_path, "after", "k", ("before",))
    (tmp_path / "stages" / "before.json").unlink()
    assert not is_current(tmp_path, "after", "k", ("before",))


def test_manifests_are_files_as_well(tmp_path: Path) -> None:
    artifacts.write_text(tmp_path / "records" / "shard", "1")
    artifacts.write_manifest(tmp_path / "records", {"n": 1})
    write_stamp(tmp_path, "build", "k", (), [tmp_path / "records"], 0)
    stamp = load_stamp(tmp_path, "build")
    assert stamp is not None and set(stamp["outputs"]) == {"records/shard", "records/manifest.json"}
    artifacts.write_manifest(tmp_path / "records", {"n": 2})
    assert find_damage(tmp_path, "build") == tmp_path / "records" / "manifest.json"


def test_files_behind_a_link_belong_to_the_stage(tmp_path: Path) -> None:
    run, disk = tmp_path / "run", tmp_path / "disk"
    (run / "tfds").mkdir(parents=True)
    (disk / "smoke").mkdir(parents=True)
    (disk / "smoke" / "shard").write_text("1")
    (run / "tfds" / "bonemet_ct").symlink_to(disk)
    write_stamp(run, "build", "key", (), [run / "tfds"], 0)
    assert find_damage(run, "build") is None
    (disk / "smoke" / "shard").write_text("2")
    assert find_damage(run, "build") == run / "tfds" / "bonemet_ct" / "smoke" / "shard"
