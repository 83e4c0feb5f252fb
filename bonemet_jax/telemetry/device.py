"""Which device, what it could do at most: for reports and benchmark records."""

import platform
from pathlib import Path
from typing import Any, NamedTuple

import jax


class Peak(NamedTuple):
    """What one device can do at most, dense; None: not known, or not offered."""

    bfloat16_tflops: float
    float32_tflops: float | None
    """Through the matrix units, where they take float32 (TF32)."""
    bandwidth_gb_s: float
    """Of its memory."""
    source: str


_H100 = "https://resources.nvidia.com/en-us-tensor-core/nvidia-tensor-core-gpu-datasheet"
_H200 = "https://www.nvidia.com/en-us/data-center/h200/"
_A100 = "https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a100/pdf/nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf"
_TPU = "https://cloud.google.com/tpu/docs/"

#: By device kind as jax names it, from vendors' data sheets; half of what those print with sparsity.
PEAKS: dict[str, Peak] = {
    "NVIDIA H100 80GB HBM3": Peak(989.4, 494.7, 3350, _H100),
    "NVIDIA H100 PCIe": Peak(756.0, 378.0, 2000, _H100),
    "NVIDIA H200": Peak(989.4, 494.7, 4800, _H200),
    "NVIDIA A100-SXM4-80GB": Peak(312.0, 156.0, 2039, _A100),
    "NVIDIA A100-SXM4-40GB": Peak(312.0, 156.0, 1555, _A100),
    "TPU v4": Peak(275.0, None, 1228, f"{_TPU}v4"),
    "TPU v5 lite": Peak(197.0, None, 819, f"{_TPU}v5e"),
    "TPU v5": Peak(459.0, None, 2765, f"{_TPU}v5p"),
    "TPU v5p": Peak(459.0, None, 2765, f"{_TPU}v5p"),
    "TPU v6 lite": Peak(918.0, None, 1640, f"{_TPU}v6e"),
}


def describe_device() -> dict[str, Any]:
    """Kind, platform and number of the devices jax uses."""
    devices = jax.devices()
    return {"kind": devices[0].device_kind, "platform": devices[0].platform, "count": len(devices)}


def cpu_model() -> str:
    """The CPU's name, as the kernel tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def peak_tflops(device_kind: str, compute_dtype: str) -> float | None:
    """Dense peak of one device, TFLOP/s; None when it is not known."""
    peak = PEAKS.get(device_kind)
    if peak is None:
        return None
    return peak.bfloat16_tflops if compute_dtype == "bfloat16" else peak.float32_tflops


def compute_mfu(device_kind: str, compute_dtype: str, gflop_per_image: float, images_per_s: float) -> float | None:
    """Model FLOP utilisation: what the network needs over what the device could do; None when that is not known.

    Args:
        device_kind: As jax names it.
        compute_dtype: Of the activations.
        gflop_per_image: Counted from the network's shape, not from the program: recomputing earns nothing.
        images_per_s: Of one device.
    """
    peak = peak_tflops(device_kind, compute_dtype)
    return None if peak is None else gflop_per_image * images_per_s / (peak * 1e3)


def compute_mbu(device_kind: str, gb_per_step: float | None, step_time_s: float) -> float | None:
    """Memory bandwidth utilisation of one device: the compiled program's bytes over what could have moved meanwhile."""
    peak = PEAKS.get(device_kind)
    return None if peak is None or gb_per_step is None else gb_per_step / step_time_s / peak.bandwidth_gb_s
