"""An NVIDIA GPU and what is installed for it: the driver, jax's CUDA packages, XGBoost, TensorFlow, memory in use.

Oldest drivers: NVIDIA's CUDA compatibility table (525 for CUDA 12, 580 for CUDA 13).
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from bonemet_jax.cli.checked import Checked, Problem
from bonemet_jax.missing_package import PACKAGES, install_command
from bonemet_jax.versions import find_versions

_DRIVER = Path("/proc/driver/nvidia/version")
#: CUDA's major version -> the oldest driver that runs it, and the oldest Python that our extra of it supports.
_CUDA: dict[int, tuple[int, tuple[int, int]]] = {13: (580, (3, 12)), 12: (525, (3, 11))}
#: More of a GPU's memory than this share in use by others stands in a run's way.
_TAKEN = 0.2
#: Packages of one CUDA, and XGBoost's versions that bring the same one's NCCL along (pyproject.toml).
_OF_CUDA = ("jax-cuda{}-plugin", "jax-cuda{}-pjrt", "nvidia-nccl-cu{}")
_XGBOOST = {12: "<3.4", 13: ">=3.4"}
_PACKAGES = ("jax", "jaxlib", *(name.format(major) for major in _CUDA for name in _OF_CUDA), "tensorflow", "xgboost")


class GpuHost(NamedTuple):
    """What is known of a machine with NVIDIA GPUs."""

    driver: str
    """Version; empty: not known."""
    used_gb: float | None
    """Of the memory of the first visible GPU, by every program, before this one takes its part."""
    total_gb: float | None
    packages: Mapping[str, str]
    """Installed, name -> version."""
    python: tuple[int, int]
    has_tensorflow_cpu: bool = True
    """Whether there is a TensorFlow without CUDA for this platform, as a package of its own."""
    is_hidden: bool = False
    """Whether CUDA_VISIBLE_DEVICES hides every GPU."""
    has_driver: bool = True
    """False: nvidia-smi is installed, but finds no driver."""


def find_gpu_host() -> GpuHost | None:
    """This machine; None where there is no NVIDIA driver."""
    text = _DRIVER.read_text(encoding="utf-8", errors="replace") if _DRIVER.is_file() else ""
    if not text and shutil.which("nvidia-smi") is None:
        return None
    found = re.search(r"Kernel Module\s+(?:for \S+\s+)?([0-9.]+)", text)
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = (chosen or "").partition(",")[0].strip()
    asked = ["nvidia-smi", *(["-i", visible] if visible else []),
             "--query-gpu=driver_version,memory.used,memory.total", "--format=csv,noheader,nounits"]  # fmt: skip
    driver, used, total = found[1] if found else "", None, None
    has_driver = True
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, encoding="utf-8", timeout=20, check=True)
        told, used, total = re.split(r",\s*", answer.stdout.splitlines()[0])
        driver = told if re.fullmatch(r"[0-9]+(\.[0-9]+)*", told) else driver
    except subprocess.CalledProcessError:
        has_driver = bool(text)
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        pass
    as_gb = [int(mib) * 2**20 / 1e9 if mib and re.fullmatch(r"[0-9]+", mib) else None for mib in (used, total)]
    packages = {name: version for name, version in find_versions(_PACKAGES).items() if name in _PACKAGES}
    is_hidden = chosen is not None and chosen.strip() in ("", "-1", "NoDevFiles")
    return GpuHost(driver, as_gb[0], as_gb[1], packages, sys.version_info[:2],
                   PACKAGES["tensorflow"] == "tensorflow-cpu", is_hidden, has_driver)  # fmt: skip


def check_gpu(host: GpuHost | None, platform: str, is_chosen: bool) -> Checked:
    """Facts and problems, each with the command that repairs it.

    Args:
        host: None where there is no GPU.
        platform: that jax runs on.
        is_chosen: whether the user chose the platform (JAX_PLATFORMS).
    """
    if host is None:
        return Checked({"driver": None}, [])
    facts = {"driver": host.driver or None, "used_gb": host.used_gb, "total_gb": host.total_gb,
             **{name: host.packages.get(name) for name in ("jax-cuda12-plugin", "jax-cuda13-plugin")}}
    problems = [] if platform != "cpu" or is_chosen else [*_find_cuda_problems(host)]
    return Checked(facts, [*problems, *_find_other_problems(host)])


def _find_cuda_problems(host: GpuHost) -> Iterator[Problem]:
    """Why jax does not run on the GPU, with every command that repairs it."""
    if host.is_hidden:
        yield Problem("CUDA_VISIBLE_DEVICES hides every NVIDIA GPU", "unset it, or name a GPU in it")
        return
    if not host.has_driver:
        yield Problem("nvidia-smi finds no NVIDIA driver", "if this machine has a GPU, install its driver or reload it")
        return
    versions = {major: host.packages[f"jax-cuda{major}-plugin"] for major in _CUDA
                if f"jax-cuda{major}-plugin" in host.packages}  # fmt: skip
    supported = _list_supported(host)
    if not supported:
        yield Problem(f"the driver {host.driver} is too old for jax, whose CUDA 12 needs {_CUDA[12][0]}",
                      f"update the driver to {_CUDA[12][0]} or newer")
        return
    kept = next((major for major in supported if major in versions), supported[0])
    if not versions:
        what = "NVIDIA GPU found, but no jax CUDA plugin is installed"
    elif len(versions) > 1:
        what = "jax's packages for CUDA 12 and CUDA 13 are both installed"
    elif kept not in versions:
        (major,) = versions
        what = (f"the driver {host.driver} is too old for CUDA {major}, which needs {_CUDA[major][0]}"
                if _is_old(host, major) else f"CUDA {major} needs Python {'.'.join(map(str, _CUDA[major][1]))}")
    elif versions[kept] != host.packages.get("jaxlib"):
        what = f"jax-cuda{kept}-plugin {versions[kept]} does not match jaxlib {host.packages.get('jaxlib')}"
    else:
        yield Problem(f"NVIDIA GPU found and jax's CUDA {kept} packages are installed, but jax runs on the CPU",
                      "python -c \"import jax; jax.devices('cuda')\" says why")
        return
    yield Problem(what, _make_command(host, kept))


def _list_supported(host: GpuHost) -> list[int]:
    """CUDA's major versions that this driver and Python run, newest first; all where the driver is not known."""
    return [major for major, (_, python) in _CUDA.items() if not _is_old(host, major) and host.python >= python]


def _is_old(host: GpuHost, major: int) -> bool:
    return bool(host.driver) and int(host.driver.partition(".")[0]) < _CUDA[major][0]


def _make_command(host: GpuHost, major: int) -> str:
    """What removes the packages of other CUDAs and installs this one's. XGBoost's NCCL and jax's are one folder."""
    strangers = [name.format(other) for other in _CUDA if other != major for name in _OF_CUDA
                 if name.format(other) in host.packages]  # fmt: skip
    xgboost = f' "xgboost{_XGBOOST[major]}"' if "xgboost" in host.packages else ""
    return install_command(f"\"jax[cuda{major}]=={host.packages.get('jax', '')}\"{xgboost}", remove=" ".join(strangers))


def _find_other_problems(host: GpuHost) -> Iterator[Problem]:
    if host.has_tensorflow_cpu and "tensorflow" in host.packages:
        yield Problem("this TensorFlow takes the GPU's memory when records are built; jax then finds none",
                      install_command("tensorflow-cpu", remove="tensorflow"))
    if host.used_gb is not None and host.total_gb and host.used_gb > _TAKEN * host.total_gb:
        yield Problem(f"other programs hold {host.used_gb:.1f} of {host.total_gb:.1f} GB of the GPU's memory",
                      "`nvidia-smi` names them; end them, or choose another GPU with CUDA_VISIBLE_DEVICES")
