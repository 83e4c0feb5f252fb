"""Fits sent to processes and to a dask cluster: the same numbers, and one line where there is none."""

import os

import pytest

from bonemet_jax.config import FusionConfig
from bonemet_jax.errors import DeviceError, TryAgainError, UsageError
from bonemet_jax.fusion.device import choose_device
from bonemet_jax.fusion.workers import run_all

pytestmark = pytest.mark.every_change


def _square(value: int) -> tuple[int, int]:
    return value**2, os.getpid()


def _die(value: int) -> int:
    os._exit(value)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order(workers: int) -> None:
    found = list(run_all(_square, [(i,) for i in range(20)], FusionConfig(workers=workers)))
    assert [square for square, _ in found] == [i**2 for i in range(20)]
    assert ({pid for _, pid in found} == {os.getpid()}) == (workers == 1)


def test_a_worker_that_dies_is_told() -> None:
    with pytest.raises(TryAgainError, match=r"a fitting process died; one of 2; .*--fusion\.workers 1"):
        list(run_all(_die, [(1,), (1,)], FusionConfig(workers=2)))


def test_dask_cluster_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed", reason="the extra `distributed` is not installed")
    # Any free port: with None the scheduler asks for 8787 all the same, and warns where that is taken.
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)
        found = list(run_all(_square, [(i,) for i in range(20)], FusionConfig(backend="dask")))
    assert [square for square, _ in found] == [i**2 for i in range(20)]
    assert os.getpid() not in {pid for _, pid in found}


def test_dask_without_a_cluster_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="the extra `distributed` is not installed")
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    with pytest.raises(UsageError, match="no dask cluster given"):
        list(run_all(_square, [(1,)], FusionConfig(backend="dask")))


def test_cuda_is_a_requirement(monkeypatch: pytest.MonkeyPatch) -> None:
    import xgboost

    monkeypatch.setattr(xgboost, "build_info", lambda: {"USE_CUDA": False})
    assert choose_device("auto", 10**9) == choose_device("cpu", 10**9) == "cpu"
    with pytest.raises(DeviceError, match="no CUDA"):
        choose_device("cuda", 10)
    monkeypatch.setattr(xgboost, "build_info", lambda: {"USE_CUDA": True})
    monkeypatch.setattr("bonemet_jax.fusion.device.CROSSOVER_PATIENTS", 1000)
    assert [choose_device("auto", n) for n in (999, 1000)] == ["cpu", "cuda"]
    assert choose_device("cuda", 10) == "cuda"
