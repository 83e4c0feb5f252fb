"""How well two readers agree: Dice of regions; ICC(2,1) and Bland-Altman of areas."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

Interval = tuple[float, float]


@dataclass(frozen=True)
class Icc:
    """ICC(2,1) with its 95 % interval."""

    value: float
    ci95: Interval
    n: int
    """Subjects."""


@dataclass(frozen=True)
class BlandAltman:
    """Differences of two readers, in the unit of the values, each with its 95 % interval."""

    bias: float
    bias_ci95: Interval
    sd: float
    """Standard deviation of the differences."""
    lower: float
    lower_ci95: Interval
    upper: float
    upper_ci95: Interval
    n: int


def dice(a: Bool[np.ndarray, "..."], b: Bool[np.ndarray, "..."]) -> float:
    """Overlap 2 |A and B| / (|A| + |B|) of two regions; NaN when both are empty."""
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / total if total else float("nan")


def icc_2_1(values: Float[np.ndarray, "subject reader"]) -> Icc:
    """Two-way random effects, absolute agreement, single rater.

    ICC = (MSR - MSE) / (MSR + (k - 1) MSE + k (MSC - MSE) / n), n subjects, k readers, with the mean squares of
    subjects R, readers C and residual E of the two-way analysis of variance [1, 2]; interval by Satterthwaite's degrees
    of freedom [1, case 2A; 2].

    Args:
        values: complete; two subjects and two readers or more.

    Returns: NaN where nothing varies.

    [1] McGraw and Wong, Psychological Methods 1 (1996) 30-46. [2] Shrout and Fleiss, Psychological Bulletin 86 (1979)
    420-428.
    """
    n, k = values.shape
    if n < 2 or k < 2:
        return Icc(float("nan"), (float("nan"), float("nan")), n)
    x = np.asarray(values, np.float64)
    subjects, readers, grand = x.mean(axis=1), x.mean(axis=0), x.mean()
    msr = k * ((subjects - grand) ** 2).sum() / (n - 1)
    msc = n * ((readers - grand) ** 2).sum() / (k - 1)
    residual = x - subjects[:, None] - readers[None, :] + grand
    mse = (residual**2).sum() / ((n - 1) * (k - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float((msr - mse) / (msr + (k - 1) * mse + k * (msc - mse) / n))
        return Icc(value, _icc_interval(value, float(msr), float(msc), float(mse), n, k), n)


def _icc_interval(value: float, msr: float, msc: float, mse: float, n: int, k: int) -> Interval:
    if mse <= 0 or not np.isfinite(value):  # readers that differ by nothing but a constant leave no residual
        return float("nan"), float("nan")
    a, b = k * value / (n * (1 - value)), 1 + k * value * (n - 1) / (n * (1 - value))
    dof = (a * msc + b * mse) ** 2 / ((a * msc) ** 2 / (k - 1) + (b * mse) ** 2 / ((n - 1) * (k - 1)))
    f_low, f_high = stats.f.ppf(0.975, n - 1, dof), stats.f.ppf(0.975, dof, n - 1)
    spread = k * msc + (k * n - k - n) * mse
    low = n * (msr - f_low * mse) / (f_low * spread + n * msr)
    high = n * (f_high * msr - mse) / (spread + n * f_high * msr)
    return float(low), float(high)


def bland_altman(values: Float[np.ndarray, "subject 2"]) -> BlandAltman:
    """Bias and limits of agreement, first reader less second.

    bias +- 1.96 sd; the standard error of a limit is sd sqrt(1 / n + 1.96^2 / (2 (n - 1))); intervals by Student's t
    with n - 1 degrees of freedom. Bland and Altman, Statistical Methods in Medical Research 8 (1999) 135-160.

    Returns: NaN for fewer than two subjects.
    """
    differences = np.asarray(values[:, 0] - values[:, 1], np.float64)
    n = len(differences)
    if n < 2:
        nan, none = float("nan"), (float("nan"), float("nan"))
        return BlandAltman(float(differences[0]) if n else nan, none, nan, nan, none, nan, none, n)
    bias, sd, t = float(differences.mean()), float(differences.std(ddof=1)), float(stats.t.ppf(0.975, n - 1))
    lower, upper = bias - 1.96 * sd, bias + 1.96 * sd
    reach, reach_limit = t * sd / n**0.5, t * sd * (1 / n + 1.96**2 / (2 * (n - 1))) ** 0.5
    return BlandAltman(bias, (bias - reach, bias + reach), sd, lower, (lower - reach_limit, lower + reach_limit),
                       upper, (upper - reach_limit, upper + reach_limit), n)  # fmt: skip
