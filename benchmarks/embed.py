"""Images a second of scoring: X1..Xn and the score of many slices, from the device's memory and streamed.

Full size: ResNet101 at 400x500x4, 16 random records in batches of 1, 4 and 16. Quick: `tiny` at 64x80x4, 16 in batches
of 2 and 8. Channels included; the peer, PyTorch in inference mode, channels last, is given its channels ready-made.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32

from benchmarks.harness import Measurement, Options, Timing, interleave, ratio_interval
from benchmarks.step_time import find_peer
from bonemet_jax.config import Config, ModelConfig, RecordsConfig, TrainConfig
from bonemet_jax.input_pipeline.choose import make_source
from bonemet_jax.input_pipeline.order import eval_batches
from bonemet_jax.train.dry_run import make_random_records
from bonemet_jax.train.epoch import evaluate
from bonemet_jax.train.parallel import Engine
from bonemet_jax.train.step import needed_arrays

Mode = Literal["resident", "stream"]
Score = Callable[[], Float32[np.ndarray, "image feature"]]
"""Scores every image once, waits, returns the embeddings on the host."""


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    config: Config
    n_images: int
    batch_sizes: tuple[int, ...]
    n_rounds: int


FULL = Size(Config("embed", model=ModelConfig(network="resnet101")), 16, (1, 4, 16), 6)
QUICK = Size(Config("embed", model=ModelConfig(network="tiny"), records=RecordsConfig(height=64, width=80)),
             16, (2, 8), 6)  # fmt: skip


def measure(options: Options) -> list[Measurement]:
    """Throughput of each way and batch size, and its ratio to PyTorch's where that runs."""
    size = QUICK if options.quick else FULL
    ways: dict[str, Callable[[], Any]] = {}
    found: dict[str, np.ndarray] = {}
    for batch_size in size.batch_sizes:
        for mode in ("resident", "stream"):
            ways[f"{mode}_{batch_size}"] = make_score(size, mode, batch_size)
    calls = {name: partial(_keep, found, name, call) for name, call in ways.items()}
    peer = find_peer(options)
    if peer is None:
        from benchmarks.peers.torch_resnet import make_score as make_torch_score

        for batch_size in size.batch_sizes:
            calls[f"torch_{batch_size}"] = make_torch_score(size.config, size.n_images, batch_size)
    timings = interleave(calls, size.n_rounds)
    return [m for batch_size in size.batch_sizes for m in _describe(size, batch_size, timings, found, peer)]


def make_score(size: Size, mode: Mode, batch_size: int) -> Score:
    """This project's scoring, of random records and random weights."""
    config = replace(size.config, train=TrainConfig(batch_size=batch_size))
    engine = Engine(config)
    records = make_random_records(size.n_images, config.records.height, config.records.width)
    source = make_source(mode, records, engine.split, needed_arrays(config))
    variables, hyper = engine.make_state([(0, 0)]).variables, engine.plain_hyper()
    plan = engine.arrange([eval_batches(size.n_images, batch_size)])

    def score() -> Float32[np.ndarray, "image feature"]:
        with source.feeds([plan]) as feeds:
            parts, _ = evaluate(engine, variables, source, feeds, len(plan.index), hyper)
        return np.asarray(engine.fetch_rows(parts).embedding[0])

    return score


def _keep(found: dict[str, np.ndarray], name: str, score: Score) -> None:
    found[name] = score()


def _describe(
    size: Size, batch_size: int, timings: dict[str, Timing], found: dict[str, np.ndarray], peer: str | None
) -> list[Measurement]:
    records = size.config.records
    parameters: dict[str, Any] = {
        "network": size.config.model.network, "height": records.height, "width": records.width,
        "images": size.n_images, "batch_size": batch_size, "warm_up": 1,
        "peers": {"torch": peer or "measured"},
    }  # fmt: skip
    first = next(iter(found.values()))
    made = []
    for mode in ("resident", "stream"):
        name = f"{mode}_{batch_size}"
        off = float(np.abs(found[name] - first).max() / np.abs(first).max())
        made.append(Measurement(
            "embed", f"images_per_s_{name}", "images/s", "higher", list(size.n_images / timings[name].wall_s),
            parameters, size.config, {"difference_over_max": off},
        ))  # fmt: skip
    if peer is None:
        theirs, ours = timings[f"torch_{batch_size}"].wall_s, timings[f"resident_{batch_size}"].wall_s
        made += [
            Measurement("embed", f"images_per_s_torch_{batch_size}", "images/s", "higher",
                        list(size.n_images / theirs), parameters, size.config),
            Measurement("embed", f"speedup_vs_torch_{batch_size}", "1", "higher", list(theirs / ours), parameters,
                        size.config, ratio=ratio_interval(theirs, ours),
                        compared=(f"images_per_s_resident_{batch_size}", f"images_per_s_torch_{batch_size}")),
        ]  # fmt: skip
    return made
