"""Machines that a program can be compiled for with none of them present: names, devices, peaks."""

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import jax

from bonemet_jax.config import Network
from bonemet_jax.errors import DeviceError, UsageError
from bonemet_jax.missing_package import install_command
from bonemet_jax.telemetry.device import PEAKS, Peak

#: What XLA must know of a GPU, as its own protocol buffer's text; the device's public properties.
_DESCRIPTIONS = Path(__file__).parent / "targets"


@dataclass(frozen=True)
class Link:
    """What one device can send to the others."""

    gb_s: float
    """One way."""
    source: str


@dataclass(frozen=True)
class Target:
    """Devices of one kind that train together, and what is compiled for them unless something else is asked for."""

    name: str
    platform: Literal["cuda", "tpu", "cpu"]
    device_kind: str
    """As jax names it; empty: no peak is known."""
    n_devices: int
    topology: str
    network: Network
    height: int
    width: int
    local_batches: tuple[int, ...]
    """Images a device: what a run would take, which the tables show, and a larger number for what an image adds."""
    programs: tuple[str, ...] = ()
    """Which are compiled; all when empty."""
    plugins: tuple[str, ...] = ()
    """Modules of which one must be importable."""
    extra: str = ""
    """Of this project, which installs it."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Compiler options."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of the process that compiles."""
    link: Link | None = None

    @property
    def peak(self) -> Peak | None:
        """Of one device; None where it is not known."""
        return PEAKS.get(self.device_kind)

    def check(self) -> None:
        """Raises: DeviceError when what compiles for this target is not installed."""
        if self.plugins and not any(map(_is_there, self.plugins)):
            raise DeviceError(f"what compiles for {self.name} is not installed ({' or '.join(self.plugins)})", "",
                              install_command(f"'bonemet-jax[{self.extra}]'") + ", or use --target cpu8")

    def devices(self) -> list[jax.Device]:
        """Devices to compile for; in a process of this target's environment."""
        from jax.experimental import topologies

        if self.platform == "cpu":
            return jax.devices("cpu")[: self.n_devices]
        if self.platform == "tpu":
            found = topologies.get_topology_desc(platform="tpu", topology_name=self.topology)
        else:
            text = (_DESCRIPTIONS / f"{self.name.partition('x')[0]}_sxm.txt").read_text(encoding="utf-8")
            found = topologies.get_topology_desc(platform="cuda", target_config=text, topology=self.topology)
        return list(found.devices)


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


_CPU = {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
#: Level 0 gives the same HLO and compiles in half the time; AVX2, so that the HLO is the same on every x86-64.
_CPU8_FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 --xla_cpu_max_isa=AVX2"

_CUDA = ("jax_plugins.xla_cuda13", "jax_plugins.xla_cuda12")
_NVIDIA = "https://www.nvidia.com/en-us/data-center/"

TARGETS: dict[str, Target] = {target.name: target for target in (
    *(Target(
        name, "cuda", kind, 8, "1x1x8", "resnet101", 400, 500, (32, 64), plugins=_CUDA, extra="aot-cuda12",
        environment=_CPU, link=Link(gb_s, source),
    ) for name, kind, gb_s, source in (
        ("h100x8", "NVIDIA H100 80GB HBM3", 450, f"{_NVIDIA}h100/"),
        ("h200x8", "NVIDIA H200", 450, f"{_NVIDIA}h200/"),
        ("a100x8", "NVIDIA A100-SXM4-80GB", 300, f"{_NVIDIA}a100/"),
    )),
    Target(
        "v5e-4", "tpu", "TPU v5 lite", 4, "v5e:2x2", "tiny", 400, 500, (8, 16),
        programs=("train",), plugins=("libtpu",), extra="aot-tpu", environment={**_CPU, "TPU_SKIP_MDS_QUERY": "1"},
        link=Link(200, "https://cloud.google.com/tpu/docs/v5e"),
    ),
    Target(
        "cpu8", "cpu", "", 8, "", "tiny", 64, 80, (2, 4), environment={**_CPU, "XLA_FLAGS": _CPU8_FLAGS},
    ),
)}  # fmt: skip


def find_target(name: str) -> Target:
    """Raises: UsageError for a name that is none."""
    if name not in TARGETS:
        raise UsageError(f"no target {name}", "", f"use one of {', '.join(TARGETS)}")
    return TARGETS[name]


def make_environment(target: Target) -> dict[str, str]:
    """Environment of the process that compiles: flags meant for this machine's own runs do not reach it."""
    own = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    return own | {"BONEMET_CACHE_DIR": "off"} | dict(target.environment)
