"""Several devices: this machine's accelerators, or virtual ones on its CPU.

Virtual ones need a process of their own, since jax asks how many only once, as it starts. They share the host's cores:
what is seen is overhead and what devices say to each other, never a speed-up.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.harness import ROOT
from bonemet_jax.config import Config
from bonemet_jax.telemetry.device import describe_device


def has_accelerator() -> bool:
    """Whether jax runs on one."""
    return describe_device()["platform"] != "cpu"


class Sizes(NamedTuple):
    """What a benchmark of several devices trains."""

    cpu: Config
    quick: Config
    accelerators: Config

    def choose(self, quick: bool) -> Config:
        """The size for this machine."""
        return self.quick if quick else self.accelerators if has_accelerator() else self.cpu


def run_on_devices(run: Callable[[bool], dict[str, Any]], n_devices: int, quick: bool) -> dict[str, Any]:
    """What `run` finds on accelerators; without one what its module, run as a program, prints last, as JSON.

    Args:
        run: Called with `quick`; its module, run as a program, prints what it returns.
        n_devices: Virtual devices of that program.
        quick: Toy size.

    Raises:
        RuntimeError: the program fails.
    """
    if has_accelerator():
        return run(quick)
    flags = f"--xla_force_host_platform_device_count={n_devices}"
    if quick:  # its numbers mean nothing: it should compile fast
        flags += " --xla_backend_optimization_level=0"
    env = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", run.__module__, *(["--quick"] if quick else [])]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise RuntimeError(f"{run.__module__} failed: {done.stderr[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])
