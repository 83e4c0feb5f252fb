"""Images/s of the embedding program, features and score of every slice, resident and streamed; beside PyTorch's.

Full size: ResNet101 at 400x500x4, batches of 1, 8 and 32. Quick: `tiny` at 64x80x4, batches of 1 and 4. resident: the
records lie on the device; stream: they are read from the host's memory while the device computes. Channels are made in
the compiled program; PyTorch (evaluation mode, channels last, all cores, the same weights) is given its own ready-made.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float32

from benchmarks.harness import Measurement, Options, Timing, interleave, ratio_interval
from benchmarks.step_time import find_peer
from bonemet_jax.config import Config, ModelConfig, RecordsConfig
from bonemet_jax.input_pipeline.choose import make_source
from bonemet_jax.input_pipeline.order import eval_batches
from bonemet_jax.input_pipeline.records import RecordArrays
from bonemet_jax.input_pipeline.source import Mode
from bonemet_jax.telemetry.device import describe_device
from bonemet_jax.train.dry_run import make_random_records
from bonemet_jax.train.epoch import evaluate
from bonemet_jax.train.parallel import Engine
from bonemet_jax.train.step import make_batch_channels, needed_arrays

FULL = Config("embed", model=ModelConfig(network="resnet101"))
QUICK = Config("embed", model=ModelConfig(network="tiny"), records=RecordsConfig(height=64, width=80))
_MODES: tuple[Mode, ...] = ("resident", "stream")
#: Of every normalisation: untrained statistics normalise nothing, and with gains of 1 values would grow at each block.
_GAIN = 0.5


class Size(NamedTuple):
    """What is scored."""

    batch_sizes: tuple[int, ...]
    n_images: int
    """Of a sample, but at least a batch."""
    n_rounds: int


class Scored(NamedTuple):
    """What a way made of its images."""

    embedding: Float32[np.ndarray, "image feature"]
    score: Float32[np.ndarray, " image"]


Embed = Callable[[], Scored]


def measure(options: Options) -> list[Measurement]:
    """Images/s of each mode and batch size, PyTorch's, and PyTorch's time over ours, round by round in turn."""
    config, size = (QUICK, Size((1, 4), 8, 3)) if options.quick else (FULL, _choose_size())
    records = make_random_records(max(size.n_images, *size.batch_sizes), config.records.height, config.records.width)
    variables = make_variables(config)
    ways: dict[str, Embed] = {
        f"{mode}_{batch_size}": make_ours(config, records, variables, mode, batch_size, size)
        for batch_size in size.batch_sizes for mode in _MODES
    }  # fmt: skip
    if (peer := find_peer(options)) is None:
        ways |= make_torch_ways(config, records, variables, size)
        peer = metadata.version("torch")
    found: dict[str, Scored] = {}

    def keep(name: str) -> Callable[[], None]:
        return lambda: found.update({name: ways[name]()})

    timings = interleave({name: keep(name) for name in ways}, size.n_rounds)
    parameters = {
        "network": config.model.network, "height": config.records.height, "width": config.records.width,
        "compute_dtype": config.model.compute_dtype, "n_features": config.model.n_features, "warm_up": 1,
        "peers": {"torch": peer}, "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", ""),
    }  # fmt: skip
    return describe(config, size, parameters, timings, found)


def describe(
    config: Config, size: Size, parameters: dict[str, Any], timings: dict[str, Timing], found: dict[str, Scored]
) -> list[Measurement]:
    """Every way's figures; quality: mean score, and how far its embeddings are from those of batches of 1."""
    first = found[f"resident_{size.batch_sizes[0]}"].embedding
    made = []
    for name, timing in timings.items():
        side, batch_size = name.rsplit("_", 1)
        n, scored = count_images(size, int(batch_size)), found[name]
        n_both = min(len(first), n)
        difference = np.abs(scored.embedding[:n_both] - first[:n_both]).max() / np.abs(first[:n_both]).max()
        own = parameters | {"batch_size": int(batch_size), "images": n, "mode": side}
        quality = {"mean_score": float(scored.score.mean()), "embedding_difference_over_max": float(difference)}
        made.append(Measurement("embed", f"images_per_s_{name}", "images/s", "higher", list(n / timing.wall_s), own,
                                config, quality))  # fmt: skip
        theirs = timings.get(f"torch_{batch_size}")
        if theirs is None or side == "torch":
            continue
        for per_core, a, b in (("", theirs.wall_s, timing.wall_s), ("_per_core", theirs.cpu_s, timing.cpu_s)):
            compared = None if per_core else (f"images_per_s_{name}", f"images_per_s_torch_{batch_size}")
            made.append(Measurement("embed", f"speedup{per_core}_vs_torch_{name}", "1", "higher", list(a / b), own,
                                    config, quality, ratio_interval(a, b), compared))  # fmt: skip
    return made


def count_images(size: Size, batch_size: int) -> int:
    """Images of one sample."""
    return max(size.n_images, batch_size)


def make_variables(config: Config) -> Any:
    """Weights and statistics of one member, on the host."""
    engine = Engine(config)
    drawn = engine.fetch_states(engine.make_state([(0, 0)]))[0].variables
    return jax.tree.map_with_path(lambda path, x: x * np.float32(_GAIN) if path[-1].key == "scale" else x, drawn)


def make_ours(
    config: Config, records: RecordArrays, variables: Any, mode: Mode, batch_size: int, size: Size
) -> Embed:
    """The program that embeds and validates, over the first images of these records."""
    config = replace(config, train=replace(config.train, batch_size=batch_size))
    engine, n = Engine(config), count_images(size, batch_size)
    source = make_source(mode, records, engine.split, needed_arrays(config))
    plan = engine.arrange([eval_batches(n, batch_size)])
    placed, hyper = engine.put(jax.tree.map(lambda x: x[None], variables)), engine.plain_hyper()

    def embed() -> Scored:
        with source.feeds([plan]) as feeds:
            parts, _ = evaluate(engine, placed, source, feeds, len(plan.index), hyper)
        rows = engine.fetch_rows(parts)
        return Scored(rows.embedding[0, :n], rows.score[0, :n])

    return embed


def make_torch_ways(config: Config, records: RecordArrays, variables: Any, size: Size) -> dict[str, Embed]:
    """PyTorch at each batch size, from the channels that our program makes."""
    from benchmarks.peers.torch_embed import make_embed

    n = len(records)
    stored = records.read(range(n), needed_arrays(config)) | {"flip": np.zeros((n, 2), bool)}
    embed = make_embed(config, variables, np.asarray(make_batch_channels(jax.device_put(stored), config)))

    def of_batch(batch_size: int) -> Embed:
        return lambda: Scored(*embed(count_images(size, batch_size), batch_size))

    return {f"torch_{batch_size}": of_batch(batch_size) for batch_size in size.batch_sizes}


def _choose_size() -> Size:
    """Few images on the CPU, which scores one or two a second."""
    if describe_device()["platform"] == "cpu":
        return Size((1, 8, 32), 8, 4)
    return Size((1, 8, 32), 512, 10)
