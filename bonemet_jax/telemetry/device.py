"""Which device, what peak: for reports and benchmark records."""

import platform
from pathlib import Path
from typing import Any

import jax

#: Dense peak, TFLOP/s: (bfloat16 or float16, float32 through the matrix units where they have it).
#: Device kinds as jax names them; sources: vendors' data sheets (NVIDIA H100 SXM and PCIe, H200, A100; Google Cloud TPU
#: v4, v5e, v5p, v6e). Sparsity figures are not used.
PEAK_TFLOPS: dict[str, tuple[float, float | None]] = {
    "NVIDIA H100 80GB HBM3": (989.4, 494.7),
    "NVIDIA H100 PCIe": (756.0, 378.0),
    "NVIDIA H200": (989.4, 494.7),
    "NVIDIA A100-SXM4-80GB": (312.0, 156.0),
    "NVIDIA A100-SXM4-40GB": (312.0, 156.0),
    "TPU v4": (275.0, None),
    "TPU v5 lite": (197.0, None),
    "TPU v5p": (459.0, None),
    "TPU v6 lite": (918.0, None),
}


def describe_device() -> dict[str, Any]:
    """Kind, platform and number of the devices jax uses."""
    devices = jax.devices()
    return {"kind": devices[0].device_kind, "platform": devices[0].platform, "count": len(devices)}


def cpu_model() -> str:
    """The CPU's name, as the kernel tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def peak_tflops(device_kind: str, compute_dtype: str) -> float | None:
    """Dense peak of one device, TFLOP/s; None when it is not known."""
    peaks = PEAK_TFLOPS.get(device_kind)
    return None if peaks is None else peaks[0 if compute_dtype == "bfloat16" else 1]
