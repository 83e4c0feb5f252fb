"""Timers and device facts."""

import numpy as np
import pytest

from bonemet_jax.telemetry.device import cpu_model, describe_device, peak_tflops
from bonemet_jax.telemetry.step_timer import summarize


def test_summary_is_numpys() -> None:
    samples = [3.0, 1.0, 2.0, 10.0]
    assert summarize(samples) == (2.5, pytest.approx(np.percentile(samples, 90)), 4)


def test_facts_are_named() -> None:
    assert describe_device()["count"] >= 1
    assert cpu_model()


def test_unknown_peak_is_missing() -> None:
    assert peak_tflops("cpu", "float32") is None
    assert peak_tflops("NVIDIA H100 80GB HBM3", "bfloat16") == 989.4
    assert peak_tflops("TPU v5 lite", "float32") is None
