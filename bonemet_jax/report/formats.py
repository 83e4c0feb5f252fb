"""How numbers are printed: the one place that rounds. A number that is not there prints as a dash."""

from collections.abc import Mapping, Sequence
from typing import Any

DASH = "–"
_SECONDS_PER_MINUTE, _SECONDS_PER_HOUR = 60, 3600


def format_number(value: float | None, decimals: int = 3) -> str:
    """Fixed decimals with a true minus sign: 0.922, −1.026."""
    if value is None:
        return DASH
    text = f"{value:.{decimals}f}"
    return text.replace("-", "−") if float(text) != 0 else text.lstrip("-")


def format_interval(interval: Sequence[float | None] | None, decimals: int = 3) -> str:
    """Bounds in brackets: [0.843, 0.964]; a bound that is not reached prints as a dash."""
    if interval is None:
        return ""
    return f"[{', '.join(format_number(bound, decimals) for bound in interval)}]"


def format_share(risk: Mapping[str, Any]) -> str:
    """Observed share among held-out patients of a similar risk, with its interval; where there is none, the reason.

    Args:
        risk: of one patient in predictions.json (docs/contracts.md).
    """
    if risk["observed"] is None or risk["ci95"] is None:
        return f"{DASH} ({risk['reason']})" if risk["reason"] else DASH
    low, high = (format_number(bound) for bound in risk["ci95"])
    return f"{format_number(risk['observed'])} (95 % interval {low} to {high})"


def format_p(p: float | None) -> str:
    """Three decimals; below a thousandth as <0.001, never as 0.000."""
    if p is None:
        return DASH
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def format_percent(share: float | None) -> str:
    """A share as per cent with one decimal, without the sign: 83.1."""
    return DASH if share is None else format_number(100 * share, 1)


def format_percent_interval(interval: Sequence[float] | None) -> str:
    """An interval of shares as per cent: [75.2, 89.5]."""
    return "" if interval is None else format_interval([100 * bound for bound in interval], 1)


def format_mean_sd(mean: float | None, sd: float | None, decimals: int = 1) -> str:
    """Mean ± standard deviation."""
    if mean is None:
        return DASH
    return f"{format_number(mean, decimals)} ± {format_number(sd, decimals)}"


def format_count(count: int, percent: float | None) -> str:
    """n (%)."""
    return f"{count} ({format_number(percent, 1)})"


def format_seconds(seconds: float) -> str:
    """Wall time in the two largest units: 12.3 s, 4 min 10 s, 2 h 05 min."""
    if round(seconds, 1) < _SECONDS_PER_MINUTE:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _SECONDS_PER_HOUR:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // _SECONDS_PER_HOUR} h {whole % _SECONDS_PER_HOUR // 60:02d} min"


def format_plain(value: Any) -> str:
    """A setting or fact as a reader writes it: yes, no, none, 1e-06, 400."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(format_plain(item) for item in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def format_device(timing: Mapping[str, Any]) -> str:
    """What a fold was trained on, from its timing.json: 1 x cpu, 8 x NVIDIA H100 (gpu)."""
    device = timing.get("device")
    if device is None:
        return DASH
    platform = f" ({device['platform']})" if device["platform"] != device["kind"] else ""
    return f"{device['count']} × {device['kind']}{platform}"


def format_label(text: str) -> str:
    """A label as it is printed: cm²/m² for cm2/m2, ≥ for >=."""
    return text.replace("cm2", "cm²").replace("/m2", "/m²").replace(">=", "≥")


def format_stage(name: str) -> str:
    """A residual stage as it is printed: Stage 1 for stage1; CT, stage 1 for ct/stage1."""
    channel, _, stage = name.rpartition("/")
    told = stage.replace("stage", "stage ")
    return f"{channel.upper()}, {told}" if channel else told.capitalize()
