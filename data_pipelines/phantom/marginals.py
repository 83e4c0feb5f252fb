"""Table 1 as data (row H1), and the distributions drawn from it.

Source of every number: the paper's Table 1, columns "no" (379) and "yes" (52) of bone metastasis.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy.optimize import root
from scipy.special import ndtr, ndtri

Family = Literal["normal", "lognormal"]
Group = Literal["no", "yes"]
GROUP_SIZE: dict[Group, int] = {"no": 379, "yes": 52}
EVENT_SHARE = GROUP_SIZE["yes"] / sum(GROUP_SIZE.values())


@dataclass(frozen=True)
class Printed:
    """Mean, SD, minimum and maximum of one column in the two outcome groups; the family is our choice."""

    family: Family
    no: tuple[float, float, float, float]
    yes: tuple[float, float, float, float]


# PAPER: the family follows the printed quartiles: symmetric ones normal, skewed ones log-normal.
CONTINUOUS: dict[str, Printed] = {
    "age_years": Printed("normal", (50.0, 8.4, 29.0, 73.0), (52.1, 8.6, 35.0, 72.0)),
    "bmi_kg_m2": Printed("lognormal", (24.0, 3.4, 9.2, 36.3), (24.7, 5.5, 17.6, 56.9)),
    # PAPER: printed maximum 72.2; no log-normal cut there has the printed SD, so the cut is 150.
    "cea_ng_ml": Printed("lognormal", (2.1, 2.2, 0.2, 20.3), (6.5, 13.2, 0.4, 150.0)),
    "tumour_size_cm": Printed("lognormal", (2.4, 1.3, 0.5, 11.5), (3.3, 1.8, 1.0, 11.0)),
    "esma_cm2": Printed("normal", (28.5, 9.9, 8.2, 56.9), (30.1, 7.5, 13.2, 44.9)),
    "esmi_cm2_m2": Printed("normal", (11.0, 3.8, 3.1, 23.4), (11.8, 3.2, 5.1, 19.5)),
    "sfa_cm2": Printed("lognormal", (159.8, 59.0, 15.3, 338.7), (140.4, 82.7, 27.9, 529.1)),
    "sfi_cm2_m2": Printed("lognormal", (60.2, 23.6, 6.1, 128.2), (20.9, 5.6, 9.4, 34.7)),
    "vfa_cm2": Printed("lognormal", (71.4, 47.0, 5.1, 236.4), (44.5, 38.8, 1.1, 189.3)),
    "vfi_cm2_m2": Printed("lognormal", (27.6, 18.4, 1.9, 97.1), (17.6, 16.2, 0.4, 87.6)),
}

#: Patients with the second level (or 1) of each two-level column, no | yes.
# PAPER: chemotherapy prints 356 + 32 > 379 in group "no"; the treated count and its 93.9 % agree and are used.
COUNTS: dict[str, tuple[int, int]] = {
    "menopause": (190, 30),
    "n_stage": (203, 35),
    "lvi": (109, 36),
    "ki67_high": (218, 36),
    "multifocal": (11, 15),
    "er": (234, 29),
    "pr": (219, 30),
    "her2": (142, 29),
    "endocrine": (166, 13),
    "radiotherapy": (104, 13),
    "chemotherapy": (356, 52),
    "histology": (304, 36),
}

#: Patients of each molecular subtype, no | yes. The printed rows sum to 303 and 43.
# PAPER: the missing 76 and 9 are taken as the level the table leaves out, triple_negative.
SUBTYPE_COUNTS: dict[str, tuple[int, int]] = {
    "luminal_A": (139, 8),
    "luminal_B": (43, 6),
    "HER2-enriched": (121, 29),
    "triple_negative": (76, 9),
}

# PAPER: Table 1 has no height and no CA15-3. Height is that of Chinese women; CA15-3 as ruled: median 12 U/ml.
HEIGHT_M = (1.60, 0.06, 1.42, 1.80)
CA153_MEDIAN_U_ML, CA153_LOG_SD = 12.0, 0.5


@dataclass(frozen=True)
class Marginal:
    """A normal or log-normal distribution cut to `low`..`high`; `mu`, `sigma` on the normal's scale before the cut."""

    family: Family
    mu: float
    sigma: float
    low: float
    high: float

    def _forward(self, x: np.ndarray | float) -> np.ndarray:
        value = np.log(x) if self.family == "lognormal" else np.asarray(x, float)
        return (value - self.mu) / self.sigma

    def _cuts(self) -> tuple[float, float]:
        return float(ndtr(self._forward(self.low))), float(ndtr(self._forward(self.high)))

    def quantile(self, latent: np.ndarray) -> np.ndarray:
        """Value at a standard-normal latent."""
        low, high = self._cuts()
        value = self.mu + self.sigma * ndtri(low + ndtr(latent) * (high - low))
        return np.clip(np.exp(value) if self.family == "lognormal" else value, self.low, self.high)

    def latent(self, x: np.ndarray) -> np.ndarray:
        """Standard-normal latent of a value: the inverse of `quantile`."""
        low, high = self._cuts()
        share = (ndtr(self._forward(x)) - low) / (high - low)
        return ndtri(np.clip(share, 1e-12, 1 - 1e-12))

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Log density at `x`; -inf outside the range."""
        low, high = self._cuts()
        z = self._forward(x)
        jacobian = np.log(x) if self.family == "lognormal" else 0.0
        inside = (x >= self.low) & (x <= self.high)
        log = -0.5 * z**2 - 0.5 * np.log(2 * np.pi) - np.log(self.sigma) - jacobian - np.log(high - low)
        return np.where(inside, log, -np.inf)


_MIDPOINTS = ndtri((np.arange(4000) + 0.5) / 4000)


@lru_cache(maxsize=64)
def fit_marginal(family: Family, mean: float, sd: float, low: float, high: float) -> Marginal:
    """The cut distribution whose mean and SD, after the cut, are those given.

    Raises: ArithmeticError when no such distribution exists.
    """
    ratio = 1 + (sd / mean) ** 2
    start = (np.log(mean / np.sqrt(ratio)), np.sqrt(np.log(ratio))) if family == "lognormal" else (mean, sd)

    def miss(parameters: np.ndarray) -> list[float]:
        values = Marginal(family, parameters[0], float(np.exp(parameters[1])), low, high).quantile(_MIDPOINTS)
        return [values.mean() / mean - 1, values.std() / sd - 1]

    found = root(miss, [start[0], np.log(start[1])], tol=1e-9)
    if not found.success or max(map(abs, found.fun)) > 1e-3:
        raise ArithmeticError(f"no {family} on {low}..{high} has mean {mean} and SD {sd}")
    return Marginal(family, float(found.x[0]), float(np.exp(found.x[1])), low, high)


def pooled_moments(printed: Printed) -> tuple[float, float, float, float]:
    """Mean, SD, minimum and maximum of the two groups mixed at 379 : 52."""
    w = EVENT_SHARE
    mean = (1 - w) * printed.no[0] + w * printed.yes[0]
    second = (1 - w) * (printed.no[0] ** 2 + printed.no[1] ** 2) + w * (printed.yes[0] ** 2 + printed.yes[1] ** 2)
    low, high = min(printed.no[2], printed.yes[2]), max(printed.no[3], printed.yes[3])
    return mean, float(np.sqrt(second - mean**2)), low, high


def pooled_marginal(name: str) -> Marginal:
    """Pooled distribution of a continuous column: one curve of its family with the pooled mean and SD."""
    if name == "height_m":
        return fit_marginal("normal", *HEIGHT_M)
    if name == "ca153_u_ml":
        return Marginal("lognormal", float(np.log(CA153_MEDIAN_U_ML)), CA153_LOG_SD, 0.5, 500.0)
    return fit_marginal(CONTINUOUS[name].family, *pooled_moments(CONTINUOUS[name]))


def group_marginal(name: str, group: Group) -> Marginal:
    """Distribution of a continuous column in one outcome group; height and CA15-3 know no group."""
    if name not in CONTINUOUS:
        return pooled_marginal(name)
    return fit_marginal(CONTINUOUS[name].family, *getattr(CONTINUOUS[name], group))


def group_share(name: str, group: Group) -> float:
    """Share of the second level (or 1) of a two-level column in one outcome group."""
    return COUNTS[name][group == "yes"] / GROUP_SIZE[group]


def pooled_share(name: str) -> float:
    """Share of the second level (or 1) of a two-level column over both groups."""
    return sum(COUNTS[name]) / sum(GROUP_SIZE.values())


def subtype_shares(group: Group) -> np.ndarray:
    """Shares of the four subtypes in one outcome group, in the order of SUBTYPE_COUNTS."""
    return np.array([counts[group == "yes"] for counts in SUBTYPE_COUNTS.values()]) / GROUP_SIZE[group]
