"""The planted risk of `repaired`, its calibration, and the Bayes-optimal AUCs of both generators.

Monte Carlo draws use a seed of their own, so the planted truth is the same in every cohort.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.optimize import root_scalar
from scipy.special import ndtri

from bonemet_jax import schema
from data_pipelines.phantom import marginals, rows

#: Log hazard ratio per unit of each column.
# PAPER: Table 2, except SFI .97 (printed .875) and SFA 1.0 (printed 1.005), which would let clinical data reach .95.
LOG_HAZARD_RATIOS: dict[str, float] = {
    "lvi": float(np.log(2.544)),
    "ki67_high": float(np.log(2.045)),
    "histology_ductal": float(np.log(0.216)),
    "cea_ng_ml": float(np.log(1.088)),
    "bmi_kg_m2": float(np.log(0.949)),
    "sfa_cm2": 0.0,
    "sfi_cm2_m2": float(np.log(0.97)),
}
HORIZON_MONTHS = 60.0
#: Bayes-optimal AUC of clinical data and image together, which sets the texture's strength.
TARGET_AUC_BOTH = 0.92
DRAWS, INNER_DRAWS, _SEED = 200_000, 48, 20_230_219

Vector = Float[np.ndarray, " patient"]


@dataclass(frozen=True)
class Risk:
    """Proportional hazards with a constant baseline: cumulative hazard at 60 months = baseline * exp(log hazard)."""

    baseline: float
    """Cumulative hazard at 60 months where the log hazard is 0."""
    texture_log_hr: float
    """Log hazard ratio per SD of the texture factor."""
    texture_auc: float
    """AUC of the texture factor alone."""


def log_hazard(table: pd.DataFrame) -> Vector:
    """Log hazard ratio of each row against a row of zeros; texture not included."""
    values = table.assign(histology_ductal=table["histology"] == "ductal")
    names = list(LOG_HAZARD_RATIOS)
    return values[names].to_numpy(float) @ np.array([LOG_HAZARD_RATIOS[name] for name in names])


def event_probability(baseline: float, log_hazard_ratio: Vector) -> Vector:
    """Probability of an event within 60 months."""
    return -np.expm1(-baseline * np.exp(log_hazard_ratio))


def compute_soft_auc(score: Vector, probability: Vector) -> float:
    """AUC of `score` when each draw is positive with its own probability: no label is drawn, no noise added."""
    p = probability[np.argsort(score, kind="stable")]
    q = 1 - p
    below = np.cumsum(q) - q
    return float((p * below).sum() / (p.sum() * q.sum() - (p * q).sum()))


def _calibrate_baseline(log_hazard_ratio: Vector) -> float:
    def miss(log_baseline: float) -> float:
        share = event_probability(float(np.exp(log_baseline)), log_hazard_ratio).mean()
        return float(share) - marginals.EVENT_SHARE

    return float(np.exp(root_scalar(miss, bracket=(-30, 10), xtol=1e-6).root))


@lru_cache(maxsize=1)
def _draws() -> tuple[pd.DataFrame, Vector]:
    rng = np.random.default_rng(_SEED)
    return rows.draw_rows(rng, DRAWS)[0], rng.standard_normal(DRAWS)


@lru_cache(maxsize=1)
def calibrate() -> Risk:
    """Baseline for an expected event share of 52/431, texture strength for a Bayes-optimal AUC of .92 with both."""
    table, texture = _draws()
    clinical = log_hazard(table)

    def miss(strength: float) -> float:
        total = clinical + strength * texture
        return compute_soft_auc(total, event_probability(_calibrate_baseline(total), total)) - TARGET_AUC_BOTH

    strength = float(root_scalar(miss, bracket=(0.1, 5.0), xtol=1e-4).root)
    total = clinical + strength * texture
    baseline = _calibrate_baseline(total)
    return Risk(baseline, strength, compute_soft_auc(texture, event_probability(baseline, total)))


@lru_cache(maxsize=1)
def texture_shift() -> float:
    """`as_printed`: how far the texture factor of the two outcome groups lies apart, SD; same AUC as in `repaired`."""
    return float(np.sqrt(2) * ndtri(calibrate().texture_auc))


def bayes_auc(generator: str, null: bool, texture_shown: bool = True) -> dict[str, float]:
    """Bayes-optimal AUC of clinical data, of what the slice shows (texture if shown, SFA, VFA, ESMA) and of both."""
    if null:
        return {name: 0.5 for name in schema.FEATURE_SETS}
    return dict((_bayes_repaired if generator == "repaired" else _bayes_as_printed)(texture_shown))


@lru_cache(maxsize=2)
def _bayes_repaired(texture_shown: bool) -> dict[str, float]:
    table, texture = _draws()
    risk = calibrate()
    clinical = log_hazard(table)
    total = clinical + risk.texture_log_hr * texture
    probability = event_probability(risk.baseline, total)
    # Texture is independent of the row, so the clinical log hazard ranks patients as their marginal risk does.
    return {
        "imaging": compute_soft_auc(_imaging_risk(table, texture if texture_shown else None, risk), probability),
        "clinical": compute_soft_auc(clinical, probability),
        "both": compute_soft_auc(total if texture_shown else clinical, probability),
    }


def _imaging_risk(table: pd.DataFrame, texture: Vector | None, risk: Risk) -> Vector:
    """P(event | texture, areas): what the slice does not show, a texture of None too, is integrated out by draws.

    BMI and height given the areas are Gaussian in the copula's latents; the other risk columns know no area.
    """
    hidden = ("bmi_kg_m2", schema.HEIGHT)
    correlation = rows.latent_correlation((*rows.AREAS, *hidden))
    k = len(rows.AREAS)
    weights = np.linalg.solve(correlation[:k, :k], correlation[:k, k:])
    spread = np.linalg.cholesky(correlation[k:, k:] - correlation[k:, :k] @ weights)
    shown = np.stack([marginals.pooled_marginal(a).latent(table[a].to_numpy()) for a in rows.AREAS], axis=1)
    centre = shown @ weights

    rng = np.random.default_rng(_SEED + 1)
    noise = rng.standard_normal((INNER_DRAWS, len(hidden))) @ spread.T
    others = rows.draw_rows(rng, INNER_DRAWS)[0]
    known = log_hazard(others.assign(bmi_kg_m2=0.0, sfa_cm2=0.0, sfi_cm2_m2=0.0))
    beta, sfa = LOG_HAZARD_RATIOS, table["sfa_cm2"].to_numpy()
    known = known + (risk.texture_log_hr * rng.standard_normal(INNER_DRAWS) if texture is None else 0.0)
    shown_hazard = beta["sfa_cm2"] * sfa + (0.0 if texture is None else risk.texture_log_hr * texture)
    total = np.zeros(len(table))
    for k in range(INNER_DRAWS):
        bmi, height = (marginals.pooled_marginal(h).quantile(centre[:, i] + noise[k, i]) for i, h in enumerate(hidden))
        unseen = known[k] + beta["bmi_kg_m2"] * bmi + beta["sfi_cm2_m2"] * sfa / height**2
        total += event_probability(risk.baseline, shown_hazard + unseen)
    return total / INNER_DRAWS


def draw_texture(rng: np.random.Generator, label: Vector, shift: float) -> Vector:
    """Texture factor (mean 0, SD 1 over all) whose outcome groups lie `shift` SDs apart."""
    return (rng.standard_normal(label.size) + shift * (label - marginals.EVENT_SHARE)) / _texture_scale(shift)


def _texture_scale(shift: float) -> float:
    """SD over both groups of a factor with SD 1 inside each."""
    return float(np.sqrt(1 + shift**2 * marginals.EVENT_SHARE * (1 - marginals.EVENT_SHARE)))


@lru_cache(maxsize=2)
def _bayes_as_printed(texture_shown: bool) -> dict[str, float]:
    """Likelihood ratios of the two outcome groups, which are known in closed form."""
    rng = np.random.default_rng(_SEED + 2)
    label = rng.random(DRAWS) < marginals.EVENT_SHARE
    table, _ = rows.draw_rows(rng, DRAWS, label)
    # log N(z; shift) - log N(z; 0) = shift * z + constant, z the texture factor before it is standardised.
    texture = texture_shift() * _texture_scale(texture_shift()) * draw_texture(rng, label, texture_shift())
    texture = texture if texture_shown else np.zeros_like(texture)
    areas = _log_ratio_continuous(table, rows.AREAS)
    clinical = _log_ratio_continuous(table, (*rows.DRAWN, "sfi_cm2_m2")) + _log_ratio_levels(table)
    scores = {"imaging": areas + texture, "clinical": clinical, "both": clinical + texture}
    return {name: compute_soft_auc(score, label.astype(float)) for name, score in scores.items()}


def _log_ratio_continuous(table: pd.DataFrame, names: tuple[str, ...]) -> Vector:
    """log density in group "yes" minus "no" of continuous columns under the copula."""
    inverse = np.linalg.inv(_as_printed_correlation(names))
    log: dict[str, Vector] = {}
    for group in marginals.GROUP_SIZE:
        fitted = [marginals.group_marginal(name, group) for name in names]
        z = np.stack([m.latent(table[name].to_numpy()) for m, name in zip(fitted, names, strict=True)], axis=1)
        own = np.sum([m.log_density(table[name].to_numpy()) for m, name in zip(fitted, names, strict=True)], axis=0)
        log[group] = own - 0.5 * np.einsum("ni,ij,nj->n", z, inverse - np.eye(len(names)), z)
    return np.maximum(log["yes"], -1e6) - np.maximum(log["no"], -1e6)


def _as_printed_correlation(names: tuple[str, ...]) -> np.ndarray:
    if "sfi_cm2_m2" not in names:
        return rows.latent_correlation(names)
    drawn = tuple(name for name in names if name != "sfi_cm2_m2")
    base = rows.latent_correlation(drawn)
    with_sfa = rows.SFI_LATENT * base[drawn.index("sfa_cm2")]
    return np.block([[base, with_sfa[:, None]], [with_sfa[None, :], np.ones((1, 1))]])


def _log_ratio_levels(table: pd.DataFrame) -> Vector:
    """log probability in group "yes" minus "no" of the two-level columns and the subtype."""
    kinds = {column.name: column for column in schema.CLINICAL}
    total = np.zeros(len(table))
    for name in marginals.COUNTS:
        second = kinds[name].levels[1] if kinds[name].levels else 1
        yes, no = (marginals.group_share(name, group) for group in ("yes", "no"))
        on, off = np.log(yes / no), np.log(max(1 - yes, 1e-12) / (1 - no))
        total += np.where(table[name] == second, on, off)
    ratio = np.log(marginals.subtype_shares("yes") / marginals.subtype_shares("no"))
    return total + table["subtype"].map(dict(zip(marginals.SUBTYPE_COUNTS, ratio, strict=True))).to_numpy(float)
