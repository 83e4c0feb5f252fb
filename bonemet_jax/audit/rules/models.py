"""Rules on AUC, accuracy, sensitivity and specificity: their intervals, each other, and what the patients allow."""

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction

from scipy import stats

from bonemet_jax.audit.finding import Outcome
from bonemet_jax.audit.printed import find_count
from bonemet_jax.audit.tables import HELD_OUT, Estimate, Performance, Tables
from bonemet_jax.stats.intervals import Z95, compute_wilson

_HALF = 0.5  # AUC of chance
_Z90 = float(stats.norm.ppf(0.95))
#: An interval below this share of a binomial one's width is of more patients than there are.
_TOO_NARROW = 0.5
#: How far beside the stated patients a share is looked for, to say of how many it might be.
_NEARBY = 1


def _each_estimate(tables: Tables) -> Iterator[tuple[str, Estimate]]:
    """Measure and estimate of every model and cut-off."""
    for row in (*tables.performances, *tables.cutoffs):
        yield from row.measures.items()


def check_range(tables: Tables) -> Iterator[Outcome | None]:
    """AUCs and shares lie in 0..1."""
    for measure, e in _each_estimate(tables):
        for number in (e.value, e.low, e.high):
            if number is not None:
                yield None if number.meets(0, 1) else Outcome(
                    e.where, number.text, "0 to 1, or 0 to 100 per cent", f"no {measure} can be so")


def check_interval(tables: Tables) -> Iterator[Outcome | None]:
    """lo <= value <= hi."""
    for measure, e in _each_estimate(tables):
        if e.low is not None and e.high is not None:
            yield None if e.low.low <= e.value.high and e.value.low <= e.high.high else Outcome(
                e.where, f"{e.value.text} [{e.low.text}, {e.high.text}]", "lo <= value <= hi",
                f"the interval does not hold its {measure}")


def _each_triple(tables: Tables) -> Iterator[tuple[Performance, Estimate, Estimate, Estimate]]:
    for row in tables.performances:
        m = row.measures
        if {"acc", "sens", "spec"} <= set(m):
            yield row, m["acc"], m["sens"], m["spec"]


def _is_between(acc: Estimate, sens: Estimate, spec: Estimate) -> bool:
    bounds = (sens.value, spec.value)
    return acc.value.meets(min(b.low for b in bounds), max(b.high for b in bounds))


def check_accuracy(tables: Tables) -> Iterator[Outcome | None]:
    """Accuracy is a mean of sensitivity and specificity, weighted by the patients of each class: it lies between."""
    for _, acc, sens, spec in _each_triple(tables):
        low, high = sorted((sens.value, spec.value), key=lambda number: number.value)
        yield None if _is_between(acc, sens, spec) else Outcome(
            acc.where, acc.value.text, f"{low.text} to {high.text}",
            f"accuracy lies outside sensitivity {sens.value.text} and specificity {spec.value.text}")


def check_accuracy_share(tables: Tables) -> Iterator[Outcome | None]:
    """Accuracy is that mean for the numbers of patients stated for the split (denominators)."""
    for row, acc, sens, spec in _each_triple(tables):
        if row.split in tables.denominators and tables.two_groups() and _is_between(acc, sens, spec):
            yield _compare_mean(acc, sens, spec, tables.denominators[row.split])


def check_accuracy_pooled(tables: Tables) -> Iterator[Outcome | None]:
    """The same in the held-out split, where no number is stated, if every patient is tested once."""
    for row, acc, sens, spec in _each_triple(tables):
        if row.split == HELD_OUT not in tables.denominators and tables.two_groups() and _is_between(acc, sens, spec):
            yield _compare_mean(acc, sens, spec, tables.groups)


def _compare_mean(acc: Estimate, sens: Estimate, spec: Estimate, n: Mapping[str, int]) -> Outcome | None:
    negative, positive = n.values()
    low, middle, high = (
        (positive * a + negative * b) / (positive + negative) for a, b in (
            (sens.value.exact_low, spec.value.exact_low), (_middle(sens), _middle(spec)),
            (sens.value.exact_high, spec.value.exact_high)))
    if low <= acc.value.exact_high and high >= acc.value.exact_low:
        return None
    return Outcome(acc.where, acc.value.text, _like(acc, middle),
                   f"of {positive} positive and {negative} negative patients, sensitivity {sens.value.text} and "
                   f"specificity {spec.value.text} give another accuracy")


def _middle(e: Estimate) -> Fraction:
    return (e.value.exact_low + e.value.exact_high) / 2


def _like(e: Estimate, share: Fraction | float) -> str:
    """A share on the scale the table prints."""
    return f"{float(share) * e.scale:.4g}"


# --- Patients -----------------------------------------------------------------------------------------


def _sizes(n: Mapping[str, int]) -> dict[str, int]:
    """Patients that each measure is a share of."""
    negative, positive = n.values()
    return {"acc": negative + positive, "sens": positive, "spec": negative}


def _each_share(tables: Tables, stated: bool) -> Iterator[tuple[str, Estimate, int]]:
    """Measure, share and patients: stated ones (and cut-offs, judged on every patient), or the held-out split's."""
    if tables.two_groups() is None:
        return
    known = tables.denominators if stated else {s: tables.groups for s in {HELD_OUT} - set(tables.denominators)}
    for row in tables.performances:
        if row.split in known:
            yield from ((m, e, _sizes(known[row.split])[m]) for m, e in row.measures.items() if m != "auc")
    for row in tables.cutoffs if stated else ():
        yield from ((m, e, _sizes(row.n)[m]) for m, e in row.measures.items())


def check_count(tables: Tables) -> Iterator[Outcome | None]:
    """A share is some whole number of the patients stated for it."""
    for _, e, n in _each_share(tables, stated=True):
        yield _find_no_count(e, n)


def check_count_pooled(tables: Tables) -> Iterator[Outcome | None]:
    """A share of the held-out split is some whole number of the patients, if every patient is tested once."""
    for _, e, n in _each_share(tables, stated=False):
        yield _find_no_count(e, n)


def _find_no_count(e: Estimate, n: int) -> Outcome | None:
    if find_count(e.value, n) is not None:
        return None
    k = math.floor(e.value.value * n)
    near = sorted((m for m in range(max(n - _NEARBY, 1), n + _NEARBY + 1) if find_count(e.value, m) is not None),
                  key=lambda m: -m)
    other = f"; {find_count(e.value, near[0])} of {near[0]} would be" if near else ""
    return Outcome(e.where, e.value.text, " or ".join(_like(e, x / n) for x in (k, k + 1)),
                   f"no whole number of {n} patients is printed so{other}")


def check_width(tables: Tables) -> Iterator[Outcome | None]:
    """The interval of a share is not far narrower than Wilson's for so many patients (held out, and cut-offs)."""
    held_out = {e.where for p in tables.performances if p.split == HELD_OUT for e in p.measures.values()}
    wanted = held_out | {e.where for c in tables.cutoffs for e in c.measures.values()}
    for _, e, n in (*_each_share(tables, True), *_each_share(tables, False)):
        if e.where in wanted and e.low is not None and e.high is not None and e.value.low > 0 and e.value.high < 1:
            bounds = compute_wilson(round(e.value.value * n), n).ci95 or (0.0, 0.0)
            width = e.high.high - e.low.low
            yield None if width >= _TOO_NARROW * (bounds[1] - bounds[0]) else Outcome(
                e.where, f"[{e.low.text}, {e.high.text}]", f"[{', '.join(_like(e, b) for b in bounds)}]",
                f"less than half as wide as the 95 % interval of {n} patients")


# --- AUC ----------------------------------------------------------------------------------------------


def check_p(tables: Tables) -> Iterator[Outcome | None]:
    """p < .05 against chance goes with a 95 % interval of the AUC that leaves .5 out, p > .05 with one that holds it.

    Tests and intervals are dual (Lehmann, Romano, Testing Statistical Hypotheses, section 3.5).
    """
    for row in tables.performances:
        e = row.measures.get("auc")
        if row.p is None or e is None or e.low is None or e.high is None:
            continue
        holds = e.low.high < _HALF < e.high.low
        leaves_out = e.low.low > _HALF or e.high.high < _HALF
        is_wrong = (holds and row.p.high <= 0.05) or (leaves_out and row.p.low > 0.05)
        yield None if not is_wrong else Outcome(
            e.where, f"p {row.p.text}, {e.value.text} [{e.low.text}, {e.high.text}]", f"p {'>' if holds else '<'} 0.05",
            f"the interval {'holds' if holds else 'leaves out'} .5, the AUC of chance")


def check_combined(tables: Tables) -> Iterator[Outcome | None]:
    """The AUC of both feature sets is within reach of the two alone, were they independent given the outcome.

    Normal scores: squares of probit(AUC) add up (Green, Swets, Signal Detection Theory, 1966, chapter 9). Out of reach:
    the interval of both lies above it, and the difference is more than 1.645 of its SEs, taken from the printed
    intervals. Held-out models alone: others are fitted to their patients.
    """
    by_place = {(p.table, p.model): p.measures["auc"] for p in tables.performances
                if p.split == HELD_OUT and "auc" in p.measures}
    for (table, model), e in by_place.items():
        stem = model.removesuffix("both")
        parts = [by_place[table, stem + name] for name in ("imaging", "clinical") if (table, stem + name) in by_place]
        if model == stem or len(parts) < 2 or e.low is None:
            continue
        best, plain = (_combine([getattr(part.value, bound) for part in parts]) for bound in ("high", "value"))
        se = math.hypot(_find_se(e), *_carry_se(parts))
        yield None if e.low.low <= best or e.value.value - plain <= _Z90 * se else Outcome(
            e.where, f"{e.value.text} [{e.low.text}, {e.high.text if e.high else ''}]", f"{plain:.3f}",
            f"above what {' and '.join(part.value.text for part in parts)} give together if independent given the "
            "outcome")


def _probit(auc: float) -> float:
    return float(stats.norm.ppf(min(max(auc, _HALF), 1 - 1e-9)))


def _combine(aucs: list[float]) -> float:
    return float(stats.norm.cdf(math.hypot(*map(_probit, aucs))))


def _find_se(e: Estimate) -> float:
    """Standard error behind a printed 95 % interval; 0 without one."""
    return (e.high.value - e.low.value) / (2 * Z95) if e.low is not None and e.high is not None else 0.0


def _carry_se(parts: list[Estimate]) -> list[float]:
    """What each part's standard error adds to that of both together: the derivative of _combine."""
    probits = [_probit(part.value.value) for part in parts]
    total = max(math.hypot(*probits), 1e-9)
    return [float(stats.norm.pdf(total) * z / total / stats.norm.pdf(z)) * _find_se(part)
            for z, part in zip(probits, parts, strict=True)]


def check_variable(tables: Tables) -> Iterator[Outcome | None]:
    """No variable of Table 1 alone, by means and SDs, separates the outcome better than the clinical models do.

    Normal values: AUC = Phi(|difference| / sqrt(SD^2 + SD^2)) (Pepe, The Statistical Evaluation of Medical Tests, 2003,
    section 4.4). Its 95 % interval (SE: Hanley, McNeil, Radiology 143 (1982) 29) lies above that of a held-out model.
    """
    models = [p.measures["auc"] for p in tables.performances
              if p.split == HELD_OUT and p.feature_set == "clinical" and "auc" in p.measures]
    for name, least, plain in _each_separation(tables):
        for e in (e for e in models if e.high is not None):
            yield None if e.high is None or least <= e.high.high else Outcome(
                e.where, f"{e.value.text} [{e.low.text if e.low else ''}, {e.high.text}]", f"about {plain:.3f} or more",
                f"means and SDs of {name} alone would give an AUC of about {plain:.3f}")


def _each_separation(tables: Tables) -> Iterator[tuple[str, float, float]]:
    """Variable, and its AUC under normal values: the lower bound, rounding included, and as printed."""
    groups = tables.two_groups()
    for row in tables.continuous if groups else ():
        a, b = (row.statistics[group] for group in groups or ())
        if {"mean", "sd"} <= set(a) & set(b) and math.hypot(a["sd"].value, b["sd"].value) > 0:
            gap = max(a["mean"].low - b["mean"].high, b["mean"].low - a["mean"].high, 0.0)
            least = gap / math.hypot(a["sd"].high, b["sd"].high)
            plain = abs(a["mean"].value - b["mean"].value) / math.hypot(a["sd"].value, b["sd"].value)
            auc = float(stats.norm.cdf(least))
            yield row.name, auc - Z95 * _compute_se(auc, *row.n.values()), float(stats.norm.cdf(plain))


def _compute_se(auc: float, n_negative: int, n_positive: int) -> float:
    """Standard error of an AUC by Hanley's and McNeil's formula."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    total = auc * (1 - auc) + (n_positive - 1) * (q1 - auc**2) + (n_negative - 1) * (q2 - auc**2)
    return math.sqrt(max(total, 0.0) / (n_positive * n_negative))
