"""Seconds of the statistics: bootstrap, DeLong, Cox, Lasso-Cox, beside scikit-learn, all pairs and scikit-survival.

Bootstrap, full size: 10,000 draws of 36 cohort rows, 12 models in train, validation and test rows of 431 patients in
three folds, with BCa intervals of six measures each. The loop beside it takes a few draws of the same and is
extrapolated in proportion (`parameters.loop_draws`). DeLong's paired test: 431 and 10,000 patients. Cox: 431 patients,
24 covariates; ours adds standard errors, concordance and the Schoenfeld test. Lasso-Cox: path of 50 penalties, choice
in ten folds; ours also refits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness import Measurement, Options, Timing, interleave, ratio_interval
from benchmarks.peers.resampling import CohortRows, bootstrap_by_loop, compare_by_all_pairs
from bonemet_jax import schema
from bonemet_jax.cohort.folds import make_folds
from bonemet_jax.config import Config, FoldsConfig
from bonemet_jax.stats.bca import compute_auc_interval, compute_fraction_intervals
from bonemet_jax.stats.bootstrap import bootstrap_auc, bootstrap_fractions, draw_patients
from bonemet_jax.stats.cox import fit_cox
from bonemet_jax.stats.lasso import fit_lasso_cox
from bonemet_jax.stats.roc import compute_paired_delong

CONFIG = Config("stats")
_COX_CALLS = 10
_BATCHES = 40


@dataclass(frozen=True)
class Size:
    """How much is done."""

    patients: int
    draws: int
    models: int
    loop_draws: int
    """Draws of the loop in one sample."""
    delong_patients: tuple[int, ...]
    rounds: int


FULL = Size(431, 10_000, 12, 20, (431, 10_000), 10)
QUICK = Size(90, 400, 2, 2, (90,), 3)


class Scale(NamedTuple):
    """From the seconds of a sample to those of the whole work."""

    ours: float = 1.0
    peer: float = 1.0


_AS_TIMED = Scale()


def measure(options: Options) -> list[Measurement]:
    """Seconds of each statistic, and its peer's over ours."""
    size = QUICK if options.quick else FULL
    found = measure_bootstrap(size, options)
    for patients in size.delong_patients:
        found += measure_delong(patients, size, options)
    return found + measure_survival(size, options)


def _compare(
    name: str, peer: str, timings: dict[str, Timing], parameters: dict[str, Any], quality: dict[str, float],
    scale: Scale = _AS_TIMED,
) -> list[Measurement]:
    """Seconds of ours and, where it was run, of the peer, and how many times ours the peer takes."""
    sides = {"ours": (f"{name}_s", scale.ours), "peer": (f"{name}_s_{peer}", scale.peer)}
    found = [
        Measurement("stats", sides[side][0], "s", "lower", list(sides[side][1] * timing.wall_s), parameters, CONFIG,
                    quality)
        for side, timing in timings.items()
    ]  # fmt: skip
    if "peer" not in timings:
        return found
    both = sides["ours"][0], sides["peer"][0]
    for metric, field, compared in ((f"{name}_speedup_vs_{peer}", "wall_s", both),
                                    (f"{name}_speedup_per_core_vs_{peer}", "cpu_s", None)):
        a, b = scale.peer * getattr(timings["peer"], field), scale.ours * getattr(timings["ours"], field)
        found.append(Measurement("stats", metric, "1", "higher", list(a / b), parameters, CONFIG, quality,
                                 ratio_interval(a, b), compared))  # fmt: skip
    return found


def _time(ours: Callable[[], Any], peer: Callable[[], Any] | None, n: int) -> dict[str, Timing]:
    """Both in turn; ours alone where the peer is left out."""
    return interleave({"ours": ours} | ({} if peer is None else {"peer": peer}), n)


def _repeat(call: Callable[[], Any], n: int) -> Callable[[], None]:
    def calls() -> None:
        for _ in range(n):
            call()

    return calls


# --- Bootstrap ------------------------------------------------------------------------------------------


def make_cohort_rows(size: Size, seed: int = 0) -> list[CohortRows]:
    """Rows of each split, pooled over three folds; scores differ by fold, one model in three has ties."""
    rng = np.random.default_rng(seed)
    label = np.arange(size.patients) < size.patients * 52 // 431
    ids = [f"P{i:06d}" for i in range(size.patients)]
    folds = make_folds(ids, label.astype(float).tolist(), FoldsConfig())
    splits = np.array([folds.splits[name] for name in ids])
    found = []
    for split in schema.SPLITS:
        patient = np.concatenate([np.flatnonzero(splits[:, fold] == split) for fold in range(folds.n_folds)])
        score = rng.normal(size=(size.models, patient.size)) + 1.1 * label[patient]
        score[::3] = np.round(score[::3], 1)
        present, index = np.unique(patient, return_inverse=True)  # who is never in a split is no patient of it
        found.append(CohortRows(label[present], index, score, score > 0.6))
    return found


def bootstrap_rows(rows: list[CohortRows], n_draws: int) -> None:
    """BCa intervals of every model and measure of every split."""
    for part in rows:
        draws = draw_patients(part.label, n_draws, 0)
        for score, said in zip(part.score, part.decision, strict=True):
            compute_auc_interval(draws, part.patient, score)
            compute_fraction_intervals(draws, part.patient, *_count(part, said))


def _count(rows: CohortRows, said: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numerators and denominators of ACC, SENS, SPEC, PPV, NPV."""
    truth = rows.label[rows.patient]
    denominators = np.stack([np.ones_like(truth), truth, ~truth, said, ~said])
    return denominators & (truth == said), denominators


def measure_bootstrap(size: Size, options: Options) -> list[Measurement]:
    """All rows with every draw, beside the loop over a few draws."""
    rows, rng = make_cohort_rows(size), np.random.default_rng(1)
    looped: list[list[np.ndarray]] = [[] for _ in rows]

    def loop() -> None:
        for part, kept in zip(rows, looped, strict=True):
            kept.append(bootstrap_by_loop(part, size.loop_draws, rng))

    timings = _time(lambda: bootstrap_rows(rows, size.draws), loop if options.has_peer("scikit-learn") else None,
                    size.rounds)
    parameters: dict[str, Any] = {
        "patients": size.patients, "rows": size.models * len(rows), "draws": size.draws, "measures": 6,
        "loop_draws": size.loop_draws, "loop": "extrapolated in proportion to the draws", "warm_up": 1,
    }  # fmt: skip
    quality = judge_loop(rows, [np.concatenate(kept, axis=1) for kept in looped]) if "peer" in timings else {}
    return _compare("bootstrap", "scikit_learn_loop", timings, parameters, quality,
                    Scale(peer=size.draws / size.loop_draws))


def judge_loop(rows: list[CohortRows], values: list[np.ndarray]) -> dict[str, float]:
    """How far the loop's intervals lie from ours, and how far chance alone puts them."""
    by_loop, by_chance = (np.max(ends, axis=0) for ends in zip(*map(compare_ends, rows, values), strict=True))
    return {
        "largest_difference_over_mc_se": float(by_loop), "the_same_by_chance": float(np.median(by_chance)),
        "p_by_chance": float((1 + (by_chance >= by_loop).sum()) / (1 + _BATCHES)),
    }  # fmt: skip


def compare_ends(rows: CohortRows, looped: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far the 2.5 and 97.5 % ends of the loop lie from ours, over their Monte-Carlo standard error.

    Ours, in batches of as many draws as the loop made: the batches' mean end is what the loop's should be, their SD its
    error. Returns: the largest of the loop, and of each batch beside the others, which is what chance alone gives.
    """
    n_draws = looped.shape[1]
    draws = draw_patients(rows.label, _BATCHES * n_draws, 2)
    found = []
    for score, said, theirs in zip(rows.score, rows.decision, looped, strict=True):
        ours = np.stack([bootstrap_auc(draws, rows.patient, score),
                         *bootstrap_fractions(draws, rows.patient, *_count(rows, said))])
        ends = np.nanpercentile(ours.reshape(6, _BATCHES, n_draws), (2.5, 97.5), axis=2)
        by_loop = np.nanpercentile(theirs, (2.5, 97.5), axis=0)
        found.append([_deviate(by_loop, ends)] + [_deviate(ends[..., i], np.delete(ends, i, axis=-1))
                                                  for i in range(_BATCHES)])
    largest = np.max(found, axis=0)
    return largest[0], largest[1:]


def _deviate(value: np.ndarray, others: np.ndarray) -> float:
    """Largest difference from the mean of the others in standard errors; ends of lattices may have none."""
    error = others.std(axis=-1, ddof=1) * np.sqrt(1 + 1 / others.shape[-1])
    return float((np.abs(value - others.mean(axis=-1)) / np.maximum(error, 1e-9)).max(where=error > 1e-9, initial=0.0))


# --- DeLong ---------------------------------------------------------------------------------------------


def measure_delong(patients: int, size: Size, options: Options) -> list[Measurement]:
    """Midranks in O(n log n) beside the matrix of all pairs."""
    rng = np.random.default_rng(patients)
    label = np.arange(patients) < patients * 52 // 431
    common = rng.normal(size=patients) + label
    a, b = (common + rng.normal(0, 0.8, patients) for _ in range(2))
    n_calls = max(1, 20_000 // patients)
    peer = _repeat(lambda: compare_by_all_pairs(label, a, b), n_calls) if options.has_peer("all-pairs") else None
    timings = _time(_repeat(lambda: compute_paired_delong(label, a, b), n_calls), peer, size.rounds)
    parameters = {"patients": patients, "calls_a_sample": n_calls, "warm_up": 1}
    quality = {"difference_of_z": abs(compute_paired_delong(label, a, b).z - compare_by_all_pairs(label, a, b))}
    return _compare(f"delong_{patients}", "all_pairs", timings, parameters, quality,
                    Scale(1 / n_calls, 1 / n_calls))


# --- Survival -------------------------------------------------------------------------------------------


def measure_survival(size: Size, options: Options) -> list[Measurement]:
    """Cox and Lasso-Cox beside scikit-survival's."""
    from benchmarks.peers.survival import fit_cox_sksurv, fit_lasso_sksurv

    time, event, x = make_survival(size.patients, 24 if size is FULL else 6)
    names = [f"x{i}" for i in range(x.shape[1])]
    cox, lasso = fit_cox(time, event, x, names), fit_lasso_cox(time, event, x, names)
    penalties = np.array([point.penalty for point in lasso.path])
    coef = np.array([list(point.coef.values()) for point in lasso.path])
    theirs = fit_lasso_sksurv(time, event, x, penalties)
    parameters: dict[str, Any] = {
        "patients": size.patients, "events": int(event.sum()), "covariates": x.shape[1], "warm_up": 1}
    beside = options.has_peer("scikit-survival")
    by_cox = _time(_repeat(lambda: fit_cox(time, event, x, names), _COX_CALLS),
                   _repeat(lambda: fit_cox_sksurv(time, event, x), _COX_CALLS) if beside else None, size.rounds)
    by_lasso = _time(lambda: fit_lasso_cox(time, event, x, names),
                     (lambda: fit_lasso_sksurv(time, event, x, penalties)) if beside else None, size.rounds)
    cox_off = np.abs(np.array([t.coef for t in cox.terms]) - fit_cox_sksurv(time, event, x)).max()
    lasso_off = np.abs(coef[: len(theirs)] - theirs).max()
    peer = "scikit_survival"
    return [
        *_compare("cox", peer, by_cox, parameters | {"calls_a_sample": _COX_CALLS},
                  {"difference_of_coef": float(cox_off)}, Scale(1 / _COX_CALLS, 1 / _COX_CALLS)),
        *_compare("lasso_cox", peer, by_lasso, parameters | {"penalties": penalties.size},
                  {"difference_of_coef": float(lasso_off)}),
    ]


def make_survival(n: int, n_columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exponential times under proportional hazards, seen at visits of three months, an end at 60 months."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, n_columns))
    months = rng.exponential(160 * np.exp(-x[:, :4] @ np.array([0.7, -0.6, 0.5, 0.4])))
    return np.minimum(np.ceil(months / 3) * 3, 60), months <= 60, x
