"""Seconds of one training step, channels included, on random records held on the device.

Full size: ResNet101 at 400x500x4, batch 4. Quick: `tiny` at 64x80x4, batch 4.
"""

from dataclasses import replace

import jax

from benchmarks.harness import Measurement, Options
from bonemet_jax.config import Config, ModelConfig, RecordsConfig, TrainConfig
from bonemet_jax.input_pipeline.choose import make_source
from bonemet_jax.input_pipeline.order import epoch_batches
from bonemet_jax.models.flops import compute_train_gflop_per_image
from bonemet_jax.telemetry.device import describe_device, peak_tflops
from bonemet_jax.telemetry.step_timer import time_calls
from bonemet_jax.train.dry_run import make_random_records
from bonemet_jax.train.parallel import Engine
from bonemet_jax.train.step import needed_arrays

FULL = Config("step_time", model=ModelConfig(network="resnet101"), train=TrainConfig(batch_size=4))
QUICK = replace(FULL, model=ModelConfig(network="tiny"), records=RecordsConfig(height=64, width=80))


def measure(options: Options) -> list[Measurement]:
    """Step time, images/s and (where the device's peak is known) model FLOP utilisation of the same samples."""
    config, n, warm_up = (QUICK, 3, 1) if options.quick else (FULL, 10, 5)
    samples, loss = time_steps(config, n, warm_up)
    height, width, batch_size = config.records.height, config.records.width, config.train.batch_size
    gflop = compute_train_gflop_per_image(config.model, height, width)
    parameters = {
        "network": config.model.network, "height": height, "width": width, "batch_size": batch_size,
        "compute_dtype": config.model.compute_dtype, "train_gflop_per_image": round(gflop, 4), "warm_up": warm_up,
    }  # fmt: skip
    device = describe_device()
    peak = peak_tflops(device["kind"], config.model.compute_dtype)

    def measurement(metric: str, unit: str, better: str, values: list[float]) -> Measurement:
        return Measurement("step_time", metric, unit, better, values, parameters, config, {"loss": loss})  # type: ignore[arg-type]

    found = [
        measurement("step_time_s", "s", "lower", samples),
        measurement("images_per_s", "images/s", "higher", [batch_size / s for s in samples]),
    ]
    if peak is not None:
        flops = batch_size * gflop * 1e9 / (peak * 1e12 * device["count"])
        found.append(measurement("mfu", "1", "higher", [flops / s for s in samples]))
    return found


def time_steps(config: Config, n: int, warm_up: int) -> tuple[list[float], float]:
    """Seconds of each of `n` training steps after `warm_up`, and the last step's mean loss."""
    batch_size = config.train.batch_size
    engine = Engine(config)
    records = make_random_records(batch_size, config.records.height, config.records.width)
    source = make_source("resident", records, engine.split, needed_arrays(config))
    feed = next(source.feeds([engine.arrange([epoch_batches(batch_size, batch_size, 0, 0, 1)])]))
    hyper = engine.plain_hyper()
    state, loss = engine.make_state([(0, 0)]), float("nan")

    def step() -> None:
        nonlocal state, loss
        state, metrics = jax.block_until_ready(engine.train(state, source.resident, feed, hyper))
        loss = float(metrics.loss_sum[0]) / batch_size

    return time_calls(step, n, warm_up), loss
