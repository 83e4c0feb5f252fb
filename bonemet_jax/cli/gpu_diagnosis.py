"""An NVIDIA GPU and what is installed for it: the driver, jax's CUDA packages, XGBoost, TensorFlow, memory in use.

Oldest drivers: NVIDIA's CUDA compatibility table (525 for CUDA 12, 580 for CUDA 13).
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from bonemet_jax.cli.checked import Checked, Problem
from bonemet_jax.versions import find_versions

_DRIVER = Path("/proc/driver/nvidia/version")
#: CUDA's major version -> the oldest driver that runs it, and the oldest Python that our extra of it supports.
_CUDA: dict[int, tuple[int, tuple[int, int]]] = {13: (580, (3, 12)), 12: (525, (3, 11))}
#: More of a GPU's memory than this share in use by others stands in a run's way.
_TAKEN = 0.2
_PACKAGES = ("jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "tensorflow", "xgboost", "xgboost-cpu")


class GpuHost(NamedTuple):
    """What is known of a machine with NVIDIA GPUs."""

    driver: str
    """Version; empty: not known."""
    used_gb: float | None
    """Of the first GPU's memory, by every program, before this one takes its part."""
    total_gb: float | None
    packages: Mapping[str, str]
    """Installed, name -> version."""
    python: tuple[int, int]


def find_gpu_host() -> GpuHost | None:
    """This machine; None where there is no NVIDIA driver."""
    text = _DRIVER.read_text(encoding="utf-8", errors="replace") if _DRIVER.is_file() else ""
    if not text and shutil.which("nvidia-smi") is None:
        return None
    found = re.search(r"Kernel Module\s+(?:for \S+\s+)?([0-9.]+)", text)
    asked = ["nvidia-smi", "--query-gpu=driver_version,memory.used,memory.total", "--format=csv,noheader,nounits"]
    driver, used, total = found[1] if found else "", None, None
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, encoding="utf-8", timeout=20, check=True)
        driver, used, total = re.split(r",\s*", answer.stdout.splitlines()[0])
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        pass
    as_gb = [None if mib is None or not mib.isdigit() else int(mib) * 2**20 / 1e9 for mib in (used, total)]
    packages = {name: version for name, version in find_versions(_PACKAGES).items() if name in _PACKAGES}
    return GpuHost(driver, as_gb[0], as_gb[1], packages, sys.version_info[:2])


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
    """Why jax does not run on the GPU."""
    versions = {major: host.packages.get(f"jax-cuda{major}-plugin") for major in _CUDA}
    installed = [major for major, version in versions.items() if version is not None]
    jaxlib, install = host.packages.get("jaxlib", ""), _advise_install(host)
    if not installed:
        yield Problem("an NVIDIA GPU is here, but jax has only its CPU part", install)
    for major in installed:
        oldest = _CUDA[major][0]
        if host.driver and _major(host.driver) < oldest:
            remove = f"pip uninstall -y jax-cuda{major}-plugin jax-cuda{major}-pjrt"
            yield Problem(f"the driver {host.driver} is too old for CUDA {major}, which needs {oldest}",
                          f"update the driver, or: {remove}; {install}")
        elif versions[major] != jaxlib:
            yield Problem(f"jax-cuda{major}-plugin {versions[major]} beside jaxlib {jaxlib}: of two versions",
                          f"pip install \"jax[cuda{major}]=={jaxlib}\"")
        else:
            yield Problem(f"an NVIDIA GPU and jax's CUDA {major} packages are here, but jax runs on the CPU",
                          "python -c \"import jax; jax.devices('cuda')\" says why")
    if len(installed) > 1:
        yield Problem("jax's packages for CUDA 12 and CUDA 13 are both installed",
                      "pip uninstall -y jax-cuda12-plugin jax-cuda12-pjrt")


def _find_other_problems(host: GpuHost) -> Iterator[Problem]:
    if "tensorflow" in host.packages:
        yield Problem("this TensorFlow takes the GPU's memory when records are built; jax then finds none",
                      "pip uninstall -y tensorflow; pip install tensorflow-cpu")
    if host.used_gb is not None and host.total_gb and host.used_gb > _TAKEN * host.total_gb:
        yield Problem(f"other programs hold {host.used_gb:.1f} of {host.total_gb:.1f} GB of the GPU's memory",
                      "`nvidia-smi` names them; end them, or choose another GPU with CUDA_VISIBLE_DEVICES")


def _advise_install(host: GpuHost) -> str:
    """The command that installs jax for the newest CUDA that this driver and Python run."""
    for major, (driver, python) in _CUDA.items():
        if (not host.driver or _major(host.driver) >= driver) and host.python >= python:
            return f"pip install \"jax[cuda{major}]=={host.packages.get('jaxlib', '')}\""
    return f"update the driver {host.driver} to {_CUDA[12][0]} or newer first"


def _major(version: str) -> int:
    return int(version.partition(".")[0])
