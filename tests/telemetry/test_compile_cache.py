"""The compilation cache: where it lies, what happens where it cannot, and whether a program was read from it."""

from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from bonemet_jax.telemetry.compile_cache import VARIABLE, CacheWatch, choose_directory, enable_compile_cache

SETTINGS = (
    "jax_compilation_cache_dir", "jax_compilation_cache_max_size", "jax_persistent_cache_min_compile_time_secs",
)  # fmt: skip


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """jax's cache as it was: it is opened once a process."""
    before = {name: jax.config.values[name] for name in SETTINGS}
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def _compile_anew() -> CacheWatch:
    """Compile a function that jax has not seen, to the same program each time."""
    with CacheWatch() as watch:
        jax.jit(lambda x: jnp.sin(x) * 0.123456789).lower(jnp.ones(7)).compile()
    return watch


def test_directory_is_the_users_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.delenv(VARIABLE)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    assert choose_directory() == tmp_path / "home" / ".cache" / "bonemet_jax"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert choose_directory() == tmp_path / "xdg" / "bonemet_jax"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "jaxs"))
    assert choose_directory() == tmp_path / "jaxs"
    monkeypatch.setenv(VARIABLE, str(tmp_path / "named"))
    assert choose_directory() == tmp_path / "named"
    monkeypatch.setenv(VARIABLE, "off")
    assert choose_directory() is None


def test_off_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "off")
    before = jax.config.values["jax_compilation_cache_dir"]
    assert enable_compile_cache() is None
    assert jax.config.values["jax_compilation_cache_dir"] == before


def test_jaxs_own_choice_stays_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    before = jax.config.values["jax_compilation_cache_max_size"]
    assert enable_compile_cache() == tmp_path
    assert jax.config.values["jax_compilation_cache_max_size"] == before


def test_missed_then_hit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "new" / "cache"))
    assert enable_compile_cache() == tmp_path / "new" / "cache"
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    assert _compile_anew().found == "miss"
    assert list((tmp_path / "new" / "cache").iterdir())
    assert _compile_anew().found == "hit"


def test_hits_behind_the_block_are_not_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    enable_compile_cache()
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    first = _compile_anew()
    assert _compile_anew().found == "hit" and first.found == "miss"


def test_without_a_cache_it_is_off() -> None:
    jax.config.update("jax_compilation_cache_dir", None)
    assert _compile_anew().found == "off"


def test_quick_programs_leave_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    enable_compile_cache()
    assert _compile_anew().found == "miss"
    assert not [path for path in tmp_path.iterdir() if path.name.endswith("-cache")]


def test_a_folder_that_cannot_be_written_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    directory = tmp_path / "file" / "cache"
    monkeypatch.setenv(VARIABLE, str(directory))
    before = jax.config.values["jax_compilation_cache_dir"]
    assert enable_compile_cache() is None
    told = capsys.readouterr().err
    assert told.startswith(f"note: no compilation cache, {directory} cannot be written; set {VARIABLE}")
    assert len(told.splitlines()) == 1
    assert jax.config.values["jax_compilation_cache_dir"] == before
