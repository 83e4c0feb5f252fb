"""Peaks and what is made of them: utilisation where the peak is known, None where not."""

import platform
from pathlib import Path

import jax
import pytest

from bonemet_jax.telemetry import device
from bonemet_jax.telemetry.device import PEAKS, compute_mbu, compute_mfu, cpu_model, describe_device, peak_tflops

H100 = "NVIDIA H100 80GB HBM3"


def test_device_is_jaxs_own() -> None:
    assert describe_device() == {
        "kind": jax.devices()[0].device_kind, "platform": jax.default_backend(), "count": jax.device_count(),
    }  # fmt: skip


@pytest.mark.parametrize("kind", PEAKS)
def test_peaks_are_plausible_and_have_a_source(kind: str) -> None:
    peak = PEAKS[kind]
    assert peak.source.startswith("https://")
    assert 100 < peak.bfloat16_tflops < 3000 and 500 < peak.bandwidth_gb_s < 10_000
    assert kind.startswith(("NVIDIA", "TPU")) and (peak.float32_tflops is None) == kind.startswith("TPU")
    if peak.float32_tflops is not None:  # TF32 runs at half the rate of bfloat16
        assert peak.float32_tflops == pytest.approx(peak.bfloat16_tflops / 2)


def test_mfu_is_needed_over_possible() -> None:
    # 1000 images of 191.7 GFLOP a second are 191.7 TFLOP/s, of 989.4 and 494.7
    assert compute_mfu(H100, "bfloat16", 191.7, 1000) == pytest.approx(191.7 / 989.4)
    assert compute_mfu(H100, "float32", 191.7, 1000) == pytest.approx(191.7 / 494.7)
    assert compute_mfu("TPU v4", "bfloat16", 191.7, 0) == 0


def test_mbu_is_moved_over_possible() -> None:
    assert compute_mbu(H100, 335.0, 0.5) == pytest.approx(335 / 0.5 / 3350)
    assert compute_mbu("TPU v5p", 2765.0, 1.0) == pytest.approx(1)


def test_unknown_stays_unknown() -> None:
    assert peak_tflops("TPU v4", "float32") is None
    assert compute_mfu("TPU v4", "float32", 1.0, 1.0) is None
    assert compute_mfu("cpu", "bfloat16", 1.0, 1.0) is None
    assert compute_mbu("cpu", 1.0, 1.0) is None
    assert compute_mbu(H100, None, 1.0) is None


def test_cpu_has_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(device, "Path", lambda _: info)
    assert cpu_model() == (platform.processor() or platform.machine())
    info.write_text("processor\t: 0\nmodel name\t: Some CPU: 3 GHz\nmodel name\t: Other\n")
    assert cpu_model() == "Some CPU: 3 GHz"
