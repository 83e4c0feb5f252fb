"""LBP and HOG images per core-second beside scikit-image, parity, distance from bandwidth, growth to 10,000 images.

The images are phantom slices in the CT window, rendered once; scikit-image's time depends little on content. A round
times every program, scikit-image and a memory copy once, in core-seconds; off the CPU in seconds of the device.
Full size: 32 slices at 400x500, 15 rounds. Quick: 12 at 112x144, 2 rounds.
"""

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64, UInt8

from benchmarks.harness import Measurement, Options, Ratio, Timing, interleave, ratio_interval, time_once
from benchmarks.processes import PeakMemory
from bonemet_jax import schema
from bonemet_jax.channels import hog, local_binary_pattern
from bonemet_jax.channels.window import window_ct
from bonemet_jax.config import Config, PhantomConfig
from bonemet_jax.telemetry.device import describe_device
from data_pipelines.canonical import load_slice
from data_pipelines.phantom import make_cohort

Images = UInt8[np.ndarray, "image height width"]
PerImage = Float64[np.ndarray, " round"]
"""Seconds an image took in each round."""
Program = Callable[[Any], dict[str, Any]]

Mode = Literal["fast", "exact"]
Per = Literal["core", "device"]

_CELL = (schema.HOG_CELL, schema.HOG_CELL)
_PARTS = {"lbp": ("lbp",), "hog": ("hog",), "both": ("lbp", "hog")}
_MODES: tuple[Mode, ...] = ("fast", "exact")


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    phantom: PhantomConfig
    n_rounds: int
    batch_size: int
    other_batch_sizes: tuple[int, ...]
    """Batch sizes at which `both_fast` is timed too."""
    peer_images: int
    """Images that scikit-image takes a round; ours takes all."""
    copy_mib: int
    growth: tuple[int, ...]
    """Numbers of images streamed, ascending; scikit-image takes part in the first only."""


FULL = Size(PhantomConfig(n=32), 15, 8, (1, 32), 8, 256, (100, 1000, 10_000))
QUICK = Size(PhantomConfig(n=12, height=112, width=144, spacing_mm=3.0), 2, 4, (1,), 2, 8, (8, 16))


def measure(options: Options) -> list[Measurement]:
    """Every record carries the parity of what it timed."""
    size = QUICK if options.quick else FULL
    images = make_images(size.phantom)
    programs = {f"{part}_{mode}": make_program(_PARTS[part], mode) for part in _PARTS for mode in _MODES}
    parity: dict[str, dict[str, float]] = {
        mode: compute_parity(programs[f"both_{mode}"], images, size.batch_size) for mode in _MODES
    }
    per: Per = "core" if describe_device()["platform"] == "cpu" else "device"
    parameters = {
        "images": len(images), "content": "phantom", "height": images.shape[1], "width": images.shape[2],
        "batch_size": size.batch_size, "per": per, "warm_up": 2,
        "peers": {"scikit-image": metadata.version("scikit-image")},
    }  # fmt: skip
    sheet = _Sheet(Config("channels", phantom=size.phantom), parameters, parity, per)
    beside = options.has_peer("scikit-image")
    found = _compare(size, images, programs, sheet, beside)
    return found + _grow(size, images, programs["both_fast"], sheet, beside)


@dataclass(frozen=True)
class _Sheet:
    """What all records of a run share."""

    config: Config
    parameters: dict[str, Any]
    parity: Mapping[str, dict[str, float]]
    per: Per

    def seconds(self, timing: Timing) -> PerImage:
        """What a number is divided by: core-seconds, or seconds of the device."""
        return timing.cpu_s if self.per == "core" else timing.wall_s

    def add(
        self, name: str, metric: str, unit: str, samples: PerImage, *, better: Literal["lower", "higher"] = "higher",
        ratio: Ratio | None = None, compared: tuple[str, str] | None = None, **parameters: Any,
    ) -> Measurement:
        """The record of program `name` (part_mode), or of scikit-image's (part), with the parity of its parts."""
        part, _, mode = name.partition("_")
        quality = {key: value for key, value in self.parity.get(mode.partition("_")[0], {}).items()
                   if key.startswith(_PARTS[part])}  # fmt: skip
        return Measurement("channels", metric, unit, better, samples.tolist(), self.parameters | parameters,
                           self.config, quality, ratio, compared)


def _compare(
    size: Size, images: Images, programs: Mapping[str, Program], sheet: _Sheet, beside: bool
) -> list[Measurement]:
    """Every program, and beside it, if asked, scikit-image; then how far the fastest is from a copy."""
    few, copied = images[: size.peer_images], np.ones(size.copy_mib * 2**20, np.uint8)
    sweep = {f"both_fast_batch_{b}": b for b in size.other_batch_sizes}
    calls = {name: partial(run_batches, program, images, size.batch_size) for name, program in programs.items()}
    calls |= {name: partial(run_batches, programs["both_fast"], images, b) for name, b in sweep.items()}
    peers = {part: partial(run_reference, (part,), few) for part in ("lbp", "hog")} if beside else {}
    timings = interleave({**calls, **peers, "copy": make_copy(copied, sheet.per)}, size.n_rounds, 2)
    cost = {name: sheet.seconds(timing) for name, timing in timings.items()}
    peer = {part: cost[part] / len(few) for part in peers}
    if beside:
        peer["both"] = peer["lbp"] + peer["hog"]

    found = []
    for name in calls:
        own, part = cost[name] / len(images), name.partition("_")[0]
        add = partial(sheet.add, name, batch_size=sweep.get(name, size.batch_size))
        found.append(add(f"images_per_{sheet.per}_s_{name}", f"images/{sheet.per}-s", 1 / own))
        if part in peer:
            compared = found[-1].metric, f"images_per_core_s_scikit_image_{part}"
            found.append(add(f"speedup_vs_scikit_image_{name}", "1", peer[part] / own,
                             ratio=ratio_interval(peer[part], own), compared=compared))  # fmt: skip
    for part, seconds in peer.items():
        found.append(sheet.add(part, f"images_per_core_s_scikit_image_{part}", "images/core-s", 1 / seconds,
                               images=len(few), batch_size=1))  # fmt: skip
    return [*found, _compare_with_copy(size, images, programs["both_fast"], cost, copied.nbytes, sheet)]


def _compare_with_copy(
    size: Size, images: Images, program: Program, cost: Mapping[str, PerImage], copied: int, sheet: _Sheet
) -> Measurement:
    """Time over that of moving images in and outputs out at the speed of a copy, which reads and writes each byte."""
    n_bytes = count_bytes(program, images[:1])
    own, least = cost["both_fast"] / len(images), cost["copy"] / (2 * copied) * n_bytes
    ratio = ratio_interval(own, least)
    return sheet.add(
        "both_fast", "times_copy_time_both_fast", "1", own / least, better="lower", ratio=ratio,
        bytes_per_image=n_bytes, copy_gb_per_s=round(2 * copied / float(np.median(cost["copy"])) / 1e9, 3),
        limited_by="memory traffic" if ratio.value < 2 else "arithmetic",
    )  # fmt: skip


def _grow(size: Size, images: Images, program: Program, sheet: _Sheet, beside: bool) -> list[Measurement]:
    """Stream more and more images, the slices over and over, every output fetched and dropped."""
    found = []
    for n in size.growth:
        done = -(-n // size.batch_size) * size.batch_size
        memory = PeakMemory(os.getpid())
        run = partial(run_batches, program, images, size.batch_size, done, fetch=True)
        timing = Timing(*np.array([time_once(run)]).T)
        memory.stop()
        add = partial(sheet.add, "both_fast", better="lower", images=done, warm_up=0)
        found += [
            add(f"ms_per_image_both_fast_{n}", f"{sheet.per}-ms", sheet.seconds(timing) * 1e3 / done),
            add(f"peak_memory_both_fast_{n}", "MiB", np.array([memory.mib])),
        ]
    if not beside:
        return found
    n = size.growth[0]
    _, core_s = time_once(partial(run_reference, _PARTS["both"], images[np.arange(n) % len(images)]))
    peer = sheet.add("both", f"ms_per_image_scikit_image_{n}", "core-ms", np.array([core_s * 1e3 / n]), better="lower",
                     images=n, batch_size=1, warm_up=0)  # fmt: skip
    return [*found, peer]


def make_images(phantom: PhantomConfig) -> Images:
    """Slices of the synthetic cohort in the CT window."""
    with tempfile.TemporaryDirectory() as folder:
        make_cohort(phantom, Path(folder) / "cohort", workers=1)
        files = sorted((Path(folder) / "cohort" / "slices").iterdir())
        return np.stack([window_ct(load_slice(file).hu) for file in files])


def make_program(parts: tuple[str, ...], mode: Mode) -> Program:
    """One compiled function of a batch: LBP code, HOG features and picture, as `parts` asks."""

    def program(batch: jax.Array) -> dict[str, jax.Array]:
        found = {}
        if "lbp" in parts:
            found["lbp"] = local_binary_pattern(batch, schema.LBP_POINTS, schema.LBP_RADIUS, mode=mode)
        if "hog" in parts:
            found["hog_features"], found["hog_picture"] = hog(
                batch, schema.HOG_ORIENTATIONS, _CELL, (1, 1), visualize=True, mode=mode
            )
        return found

    return jax.jit(program)


def run_batches(program: Program, images: Images, batch_size: int, n: int | None = None, fetch: bool = False) -> None:
    """Send `n` images (default: each once) through in whole batches from host memory, waiting for every batch.

    The images come round again as often as needed.
    """
    for start in range(0, n or len(images), batch_size):
        batch = images[np.arange(start, start + batch_size) % len(images)]
        out = jax.block_until_ready(program(batch))
        if fetch:
            jax.device_get(out)


def run_reference(parts: tuple[str, ...], images: Images) -> dict[str, np.ndarray]:
    """The same by scikit-image, one image after the other."""
    from skimage import feature

    found: dict[str, list[np.ndarray]] = {}
    for image in images:
        if "lbp" in parts:
            code = feature.local_binary_pattern(image, schema.LBP_POINTS, schema.LBP_RADIUS)
            found.setdefault("lbp", []).append(code)
        if "hog" in parts:
            features, picture = feature.hog(image, schema.HOG_ORIENTATIONS, _CELL, (1, 1), visualize=True)
            found.setdefault("hog_features", []).append(features)
            found.setdefault("hog_picture", []).append(picture)
    return {name: np.stack(values) for name, values in found.items()}


def compute_parity(program: Program, images: Images, batch_size: int) -> dict[str, float]:
    """LBP pixels equal to scikit-image's, percent; HOG's largest difference over its largest value."""
    wanted = run_reference(_PARTS["both"], images)
    batches = [program(images[i : i + batch_size]) for i in range(0, len(images), batch_size)]
    got = {name: np.concatenate([np.asarray(batch[name]) for batch in batches]) for name in wanted}
    parity = {"lbp_equal_percent": 100 * float(np.mean(got["lbp"] == wanted["lbp"]))}
    for name in ("hog_features", "hog_picture"):
        difference = np.abs(got[name].reshape(wanted[name].shape) - wanted[name]).max()
        parity[f"{name}_difference_over_max"] = float(difference / np.abs(wanted[name]).max())
    return parity


def count_bytes(program: Program, image: Images) -> int:
    """Bytes of one image and of all that the program returns for it: what must move at the least."""
    return image.nbytes + sum(leaf.nbytes for leaf in jax.tree.leaves(program(image)))


def make_copy(source: UInt8[np.ndarray, " byte"], per: Per) -> Callable[[], Any]:
    """A copy of `source`: the C library's on the CPU, one pass on a device."""
    if per == "core":
        return partial(np.copyto, np.empty_like(source), source)
    on_device, add = jax.device_put(source), jax.jit(lambda x: x + jnp.uint8(1))
    return lambda: jax.block_until_ready(add(on_device))
