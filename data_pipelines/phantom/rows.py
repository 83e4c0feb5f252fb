"""The clinical row: drawn first, never changed; rows that fit no body are redrawn and counted."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.special import ndtri

from bonemet_jax import schema
from data_pipelines.phantom import marginals
from data_pipelines.phantom.marginals import Group

#: Continuous columns drawn through the copula, and two-level columns that share its latents.
DRAWN = ("age_years", "tumour_size_cm", "cea_ng_ml", "ca153_u_ml", "height_m", "bmi_kg_m2",
         "esma_cm2", "sfa_cm2", "vfa_cm2")  # fmt: skip
LATENTS = (*DRAWN, *marginals.COUNTS)
AREAS = tuple(schema.AREA_CODES)

# Latent correlations of `repaired`: our choice, plausible signs and sizes. LVI, Ki-67, histology and CEA hang together
# so far that Table 2's hazard ratios give clinical data a Bayes-optimal AUC of about .80 (unrelated: .75); they are
# independent of every area, BMI and height, which risk.py relies on.
CORRELATIONS: dict[tuple[str, str], float] = {
    ("age_years", "menopause"): 0.75, ("age_years", "bmi_kg_m2"): 0.15, ("age_years", "vfa_cm2"): 0.30,
    ("age_years", "esma_cm2"): -0.20, ("age_years", "sfa_cm2"): 0.10, ("age_years", "height_m"): -0.10,
    ("menopause", "vfa_cm2"): 0.25, ("bmi_kg_m2", "sfa_cm2"): 0.75, ("bmi_kg_m2", "vfa_cm2"): 0.65,
    ("bmi_kg_m2", "esma_cm2"): 0.35, ("sfa_cm2", "vfa_cm2"): 0.50, ("sfa_cm2", "esma_cm2"): 0.15,
    ("vfa_cm2", "esma_cm2"): 0.15, ("height_m", "esma_cm2"): 0.30, ("height_m", "sfa_cm2"): 0.05,
    ("tumour_size_cm", "n_stage"): 0.30, ("tumour_size_cm", "lvi"): 0.20, ("tumour_size_cm", "ki67_high"): 0.15,
    ("tumour_size_cm", "ca153_u_ml"): 0.15, ("cea_ng_ml", "ca153_u_ml"): 0.20, ("n_stage", "lvi"): 0.40,
    ("n_stage", "chemotherapy"): 0.30, ("n_stage", "radiotherapy"): 0.40, ("ki67_high", "er"): -0.30,
    ("ki67_high", "pr"): -0.25, ("ki67_high", "her2"): 0.25, ("ki67_high", "chemotherapy"): 0.20,
    ("er", "pr"): 0.80, ("er", "her2"): -0.30, ("pr", "her2"): -0.30, ("er", "endocrine"): 0.65,
    ("pr", "endocrine"): 0.55, ("lvi", "ki67_high"): 0.40, ("lvi", "cea_ng_ml"): 0.40,
    ("ki67_high", "cea_ng_ml"): 0.30, ("histology", "lvi"): -0.30, ("histology", "ki67_high"): -0.30,
    ("histology", "cea_ng_ml"): -0.30,
}  # fmt: skip

#: Latent correlation of SFI with SFA inside an outcome group of `as_printed`.
SFI_LATENT = 0.9

#: Largest SFA + VFA + ESMA, cm2, whose trunk still lies inside a field of 320 x 400 mm.
LARGEST_AREAS_CM2 = 540.0
#: Masks are counted in whole pixels: the nearest count must be this close to the row's area.
AREA_TOLERANCE = 0.01


@lru_cache(maxsize=4)
def _factor(names: tuple[str, ...]) -> np.ndarray:
    """Cholesky factor (name, name) of the latent correlations.

    Raises: numpy.linalg.LinAlgError when the correlations contradict each other.
    """
    matrix = np.eye(len(names))
    for (a, b), value in CORRELATIONS.items():
        if a in names and b in names:
            i, j = names.index(a), names.index(b)
            matrix[i, j] = matrix[j, i] = value
    return np.linalg.cholesky(matrix)


def latent_correlation(names: Sequence[str]) -> np.ndarray:
    """Correlation matrix (name, name) of the copula's latents."""
    factor = _factor(tuple(names))
    return factor @ factor.T


def draw_rows(
    rng: np.random.Generator, n: int, groups: np.ndarray | None = None, pixel_cm2: float = 0.0
) -> tuple[pd.DataFrame, int]:
    """Draw n clinical rows that fit a body, and count the rows thrown away.

    Args:
        rng: source of every draw.
        n: rows.
        groups: bool (n,), true = drawn from Table 1's column "yes": the `as_printed` row. None: the `repaired` row.
        pixel_cm2: area of a pixel, cm2; areas that no whole number of pixels meets within 1 % fit no body.

    Returns: table (n rows; every clinical column and height_m), number of redrawn rows.
    """
    kept, redrawn = [], 0
    waiting = np.arange(n)
    while waiting.size:
        table = _repaired(rng, waiting.size) if groups is None else _as_printed(rng, groups[waiting])
        fits = fits_body(table, pixel_cm2)
        kept.append(table.assign(place=waiting)[fits])
        waiting = waiting[~fits]
        redrawn += waiting.size
    table = pd.concat(kept).sort_values("place", ignore_index=True)
    return table[[*schema.clinical_names(), schema.HEIGHT]], redrawn


def fits_body(table: pd.DataFrame, pixel_cm2: float) -> np.ndarray:
    """Bool (n,): the trunk fits the field of view and whole pixels meet each area within 1 %."""
    areas = table[list(AREAS)].to_numpy()
    fits = areas.sum(axis=1) <= LARGEST_AREAS_CM2
    if pixel_cm2 > 0:
        met = np.rint(areas / pixel_cm2) * pixel_cm2
        fits &= (np.abs(met - areas) <= AREA_TOLERANCE * areas).all(axis=1)
    return fits


def _repaired(rng: np.random.Generator, n: int) -> pd.DataFrame:
    z = rng.standard_normal((n, len(LATENTS))) @ _factor(LATENTS).T
    columns: dict[str, np.ndarray] = {}
    for name, latent in zip(LATENTS, z.T, strict=True):
        if name in DRAWN:
            columns[name] = marginals.pooled_marginal(name).quantile(latent)
        else:
            columns[name] = latent > ndtri(1 - marginals.pooled_share(name))
    for index, area in schema.INDEX_OF_AREA.items():
        columns[index] = columns[area] / columns[schema.HEIGHT] ** 2
    return _with_levels(columns, _subtype(columns))


def _subtype(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Subtype from receptors and Ki-67 (St Gallen's surrogate rule).

    PAPER: Table 1's subtype shares contradict its ER and HER2 rows, so the subtype follows the receptors here.
    """
    hormone = columns["er"] | columns["pr"]
    luminal = np.where(columns["her2"] | columns["ki67_high"], "luminal_B", "luminal_A")
    return np.where(hormone, luminal, np.where(columns["her2"], "HER2-enriched", "triple_negative"))


def _as_printed(rng: np.random.Generator, yes: np.ndarray) -> pd.DataFrame:
    """Rows as Table 1 stands: SFI has its own column there, impossible beside SFA (docs/paper.md).

    Given the outcome the two-level columns are independent; the continuous ones keep `repaired`'s correlations,
    SFI that of SFA with everything and 0.9 with SFA.
    """
    z = rng.standard_normal((yes.size, len(DRAWN))) @ _factor(DRAWN).T
    columns: dict[str, np.ndarray] = {
        name: quantile_by_group(name, latent, yes) for name, latent in zip(DRAWN, z.T, strict=True)
    }
    sfi = SFI_LATENT * z[:, DRAWN.index("sfa_cm2")] + np.sqrt(1 - SFI_LATENT**2) * rng.standard_normal(yes.size)
    columns["sfi_cm2_m2"] = quantile_by_group("sfi_cm2_m2", sfi, yes)
    for index in ("esmi_cm2_m2", "vfi_cm2_m2"):
        columns[index] = columns[schema.INDEX_OF_AREA[index]] / columns[schema.HEIGHT] ** 2
    for name in marginals.COUNTS:
        share = np.where(yes, marginals.group_share(name, "yes"), marginals.group_share(name, "no"))
        columns[name] = rng.random(yes.size) < share
    steps = {group: np.cumsum(marginals.subtype_shares(group))[:-1] for group in marginals.GROUP_SIZE}
    uniform = rng.random(yes.size)
    level = np.where(yes, np.searchsorted(steps["yes"], uniform), np.searchsorted(steps["no"], uniform))
    return _with_levels(columns, np.array(list(marginals.SUBTYPE_COUNTS))[level])


def quantile_by_group(name: str, latent: np.ndarray, yes: np.ndarray) -> np.ndarray:
    """Values (n,) of a continuous column at standard-normal latents, from the distribution of each row's group."""
    by_group: dict[Group, np.ndarray] = {
        group: marginals.group_marginal(name, group).quantile(latent) for group in marginals.GROUP_SIZE
    }
    return np.where(yes, by_group["yes"], by_group["no"])


def _with_levels(columns: dict[str, np.ndarray], subtype: np.ndarray) -> pd.DataFrame:
    """Two-level columns as the schema spells them; `subtype` added."""
    kinds = {column.name: column for column in schema.CLINICAL}
    table: dict[str, np.ndarray] = {"subtype": subtype}
    for name, values in columns.items():
        kind = kinds[name].kind if name in kinds else "continuous"
        if kind == "category":
            values = np.array(kinds[name].levels)[values.astype(int)]
        elif kind == "binary":
            values = values.astype(np.int64)
        table[name] = values
    return pd.DataFrame(table)
