"""Rounding, by table."""

import pytest

from bonemet_jax.report import formats


@pytest.mark.parametrize(("value", "decimals", "text"), [
    (0.9224, 3, "0.922"), (0.92251, 3, "0.923"), (-1.0255, 4, "−1.0255"), (-0.0001, 3, "0.000"), (0.0, 1, "0.0"),
    (None, 3, "–"), (27.7, 0, "28"),
])
def test_number(value: float | None, decimals: int, text: str) -> None:
    assert formats.format_number(value, decimals) == text


@pytest.mark.parametrize(("p", "text"), [
    (0.028, "0.028"), (0.0009999, "<0.001"), (0.001, "0.001"), (0.0, "<0.001"), (1.0, "1.000"), (None, "–"),
])
def test_p(p: float | None, text: str) -> None:
    assert formats.format_p(p) == text


@pytest.mark.parametrize(("interval", "text"), [
    ([0.8431, 0.9642], "[0.843, 0.964]"), ([12.0, None], "[12.000, –]"), (None, ""),
])
def test_interval(interval: list[float | None] | None, text: str) -> None:
    assert formats.format_interval(interval) == text


@pytest.mark.parametrize(("share", "text"), [(0.8314, "83.1"), (1.0, "100.0"), (0.0, "0.0"), (None, "–")])
def test_percent(share: float | None, text: str) -> None:
    assert formats.format_percent(share) == text


def test_percent_interval_mean_and_count() -> None:
    assert formats.format_percent_interval([0.752, 0.8951]) == "[75.2, 89.5]"
    assert formats.format_mean_sd(50.04, 8.36) == "50.0 ± 8.4"
    assert formats.format_mean_sd(None, None) == "–"
    assert formats.format_count(36, 69.23) == "36 (69.2)"
    assert formats.format_count(0, None) == "0 (–)"


@pytest.mark.parametrize(("seconds", "text"), [
    (0.04, "0.0 s"), (12.34, "12.3 s"), (59.96, "1 min 00 s"), (250.2, "4 min 10 s"), (3599.6, "1 h 00 min"),
    (7500, "2 h 05 min"),
])
def test_seconds(seconds: float, text: str) -> None:
    assert formats.format_seconds(seconds) == text


@pytest.mark.parametrize(("value", "text"), [
    (None, "none"), (True, "yes"), (1e-6, "1e-06"), (400, "400"), (["ct", "lbp"], "ct, lbp"), ((), "none"), ("x", "x"),
])
def test_plain(value: object, text: str) -> None:
    assert formats.format_plain(value) == text


@pytest.mark.parametrize(("timing", "text"), [
    ({}, "–"), ({"device": {"count": 1, "kind": "cpu", "platform": "cpu"}}, "1 × cpu"),
    ({"device": {"count": 8, "kind": "NVIDIA H100", "platform": "gpu"}}, "8 × NVIDIA H100 (gpu)"),
])
def test_device(timing: dict, text: str) -> None:
    assert formats.format_device(timing) == text


def test_label() -> None:
    assert formats.format_label("SFI (cm2/m2) >= 27.7") == "SFI (cm²/m²) ≥ 27.7"
    assert formats.format_label("BMI (kg/m2)") == "BMI (kg/m²)"
