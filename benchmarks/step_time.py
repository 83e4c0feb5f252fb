"""Seconds of one training step, channels included, on random records held on the device; beside PyTorch's.

Full size: at 400x500x4 ResNet101 with batch 4, then ResNet50 with batch 8. Quick: `tiny` at 64x80x4, batch 4. PyTorch
computes the same network, loss and Adam, channels last, on all cores; it is given its channels ready-made.
"""

import gc
import os
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from typing import Any, Literal

import jax

from benchmarks.harness import Measurement, Options, Timing, interleave, is_installed, ratio_interval
from benchmarks.training import Training
from bonemet_jax.config import Config, ModelConfig, RecordsConfig, TrainConfig
from bonemet_jax.models.flops import compute_train_gflop_per_image
from bonemet_jax.telemetry.device import describe_device, peak_tflops
from bonemet_jax.train.parallel import Engine

FULL = (
    Config("step_time", model=ModelConfig(network="resnet101"), train=TrainConfig(batch_size=4)),
    Config("step_time", model=ModelConfig(network="resnet50"), train=TrainConfig(batch_size=8)),
)
QUICK = (replace(FULL[0], model=ModelConfig(network="tiny"), records=RecordsConfig(height=64, width=80)),)

Step = Callable[[], float]
"""Takes one training step, waits for it, returns its mean loss."""
Better = Literal["lower", "higher"]


def measure(options: Options) -> list[Measurement]:
    """Step time, images/s, model FLOP utilisation where the device's peak is known, and the ratio to PyTorch's time."""
    configs, n, warm_up = (QUICK, 3, 1) if options.quick else (FULL, 10, 5)
    found = []
    for config in configs:
        found += measure_config(config, n, warm_up, options)
        gc.collect()  # the two networks together would not fit
        jax.clear_caches()
    return found


def measure_config(config: Config, n: int, warm_up: int, options: Options) -> list[Measurement]:
    """All figures of one network, steps of both sides in turn."""
    height, width, batch_size = config.records.height, config.records.width, config.train.batch_size
    gflop = compute_train_gflop_per_image(config.model, height, width)
    steps, peer = {"ours": Training(Engine(config), config).step}, find_peer(options)
    if peer is None:
        from benchmarks.peers.torch_resnet import make_step as make_torch_step

        steps["torch"] = make_torch_step(config)
        peer = metadata.version("torch")
    timings, losses = time_steps(steps, n, warm_up)
    parameters = {
        "network": config.model.network, "height": height, "width": width, "batch_size": batch_size,
        "compute_dtype": config.model.compute_dtype, "train_gflop_per_image": round(gflop, 4), "warm_up": warm_up,
        "peers": {"torch": peer}, "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", ""),
    }  # fmt: skip

    def measurement(metric: str, unit: str, better: Better, values: Any, side: str = "ours") -> Measurement:
        return Measurement("step_time", metric, unit, better, list(values), parameters, config, {"loss": losses[side]})

    ours = timings["ours"].wall_s
    found = [
        measurement("step_time_s", "s", "lower", ours),
        measurement("images_per_s", "images/s", "higher", batch_size / ours),
        measurement("step_core_s", "core-s", "lower", timings["ours"].cpu_s),
    ]
    device = describe_device()
    peak = peak_tflops(device["kind"], config.model.compute_dtype)
    if peak is not None:
        flops = batch_size * gflop * 1e9 / (peak * 1e12 * device["count"])
        found.append(measurement("mfu", "1", "higher", flops / ours))
    if "torch" in timings:
        theirs = timings["torch"]
        found.append(measurement("step_time_s_torch", "s", "lower", theirs.wall_s, "torch"))
        found.append(measurement("step_core_s_torch", "core-s", "lower", theirs.cpu_s, "torch"))
        for metric, name, their, own in (
            ("speedup_vs_torch", "step_time_s", theirs.wall_s, ours),
            ("speedup_per_core_vs_torch", "step_core_s", theirs.cpu_s, timings["ours"].cpu_s),
        ):
            found.append(replace(measurement(metric, "1", "higher", their / own), ratio=ratio_interval(their, own),
                                 compared=(name, f"{name}_torch")))  # fmt: skip
    return found


def find_peer(options: Options) -> str | None:
    """Why PyTorch is left out; None when it is compared with."""
    if describe_device()["platform"] != "cpu":
        return "skipped: compared on the CPU only"
    if options.has_peer("torch"):
        return None
    return "skipped: not asked for" if is_installed("torch") else "skipped: not installed (make peers)"


def time_steps(steps: dict[str, Step], n: int, warm_up: int) -> tuple[dict[str, Timing], dict[str, float]]:
    """Times of `n` steps of each side after `warm_up`, in turn, and each side's last loss."""
    losses: dict[str, float] = {}

    def keep_loss(name: str) -> Callable[[], None]:
        return lambda: losses.update({name: steps[name]()})

    return interleave({name: keep_loss(name) for name in steps}, n, warm_up), losses
