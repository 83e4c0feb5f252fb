"""Which source: what is asked for, else what fits."""

from types import SimpleNamespace
from typing import Any

import jax
import pytest

from bonemet_jax import host_memory
from bonemet_jax.config import InputConfig
from bonemet_jax.input_pipeline import choose
from bonemet_jax.input_pipeline.choose import RESIDENT_SHARE, pick_mode

MB = 10**6


def _device(limit: int | None) -> Any:
    return SimpleNamespace(memory_stats=lambda: None if limit is None else {"bytes_limit": limit})


@pytest.mark.parametrize(("n", "mode"), [(431, "resident"), (1000, "resident"), (1001, "stream"), (10**6, "stream")])
def test_auto_is_what_fits(n: int, mode: str) -> None:
    limit = round(1000 * MB / RESIDENT_SHARE)
    choice = pick_mode(InputConfig(), n, MB, _device(limit))
    assert choice.mode == mode
    assert choice.reason == f"{mode}: {n} patients, {n / 1000:.2f} GB; up to 1.00 GB stay on a device"


def test_what_is_asked_for_stands() -> None:
    for mode in ("resident", "stream"):
        choice = pick_mode(InputConfig(mode=mode), 10**9, MB, _device(MB))
        assert choice.mode == mode and choice.reason.endswith("as asked")


def test_devices_without_memory_of_their_own_share_the_hosts(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(host_memory, "_CGROUP_LIMITS", (tmp_path / "memory.max",))
    (tmp_path / "memory.max").write_text("max\n")
    host = choose._memory_bytes(_device(None))
    assert host * jax.local_device_count() > 1e8
    (tmp_path / "memory.max").write_text(f"{64 * MB}\n")
    assert choose._memory_bytes(_device(None)) == 64 * MB / jax.local_device_count()
    assert choose._memory_bytes(_device(None)) < host
