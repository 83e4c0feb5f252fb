"""Rules on Table 2: coefficient, hazard ratio, interval and p of one row, and which variables the table lists."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from scipy import stats

from bonemet_jax.audit.finding import Outcome
from bonemet_jax.audit.printed import Printed
from bonemet_jax.audit.tables import Hazard, Tables
from bonemet_jax.stats.intervals import Z95

#: A p that printed bounds miss by more than this share, while unrounded ones may reach it, is worth a warning.
_NOTICEABLE = 0.1


def check_exp_coef(tables: Tables) -> Iterator[Outcome | None]:
    """HR = exp(coefficient), where the table does not say that the HR comes from another fit (hr_is: refit)."""
    for row in tables.table2.hazards if tables.table2.hr_is == "exp_coef" else ():
        if row.coef is not None and row.hr is not None:
            yield None if row.hr.meets(_exp(row.coef.low), _exp(row.coef.high)) else Outcome(
                f"{row.where}.hr", row.hr.text, f"{_exp(row.coef.value):.4g}",
                f"the HR is not exp(coefficient) = exp({row.coef.text})")


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))


def check_sign(tables: Tables) -> Iterator[Outcome | None]:
    """A positive coefficient has an HR above 1, a negative one below."""
    for row in tables.table2.hazards if tables.table2.hr_is == "exp_coef" else ():
        if row.coef is not None and row.hr is not None:
            yield _compare_signs(row, row.hr.low, row.hr.high)


def check_sign_of_refit(tables: Tables) -> Iterator[Outcome | None]:
    """The coefficient and the interval of the refit's HR do not lie on different sides."""
    for row in tables.table2.hazards if tables.table2.hr_is == "refit" else ():
        if row.coef is not None and row.hr is not None and row.lo is not None and row.hi is not None:
            yield _compare_signs(row, row.lo.low, row.hi.high)


def _compare_signs(row: Hazard, low: float, high: float) -> Outcome | None:
    coef, hr = row.coef, row.hr
    if coef is None or hr is None or not ((coef.low > 0 and high < 1) or (coef.high < 0 and low > 1)):
        return None
    return Outcome(f"{row.where}.coef", coef.text, "a negative one" if coef.low > 0 else "a positive one",
                   f"the coefficient's sign is not that of the HR {hr.text}")


class _Whole(NamedTuple):
    """A hazard ratio with both bounds."""

    hr: Printed
    lo: Printed
    hi: Printed


def _each_whole(tables: Tables) -> Iterator[tuple[Hazard, _Whole]]:
    for row in tables.table2.hazards:
        if row.hr is not None and row.lo is not None and row.hi is not None:
            yield row, _Whole(row.hr, row.lo, row.hi)


def _is_ordered(whole: _Whole) -> bool:
    """0 < lo <= HR <= hi for some values that are printed so."""
    return whole.lo.high > 0 and whole.lo.low <= whole.hr.high and whole.hr.low <= whole.hi.high


def check_interval(tables: Tables) -> Iterator[Outcome | None]:
    """0 < lo <= HR <= hi."""
    for row, whole in _each_whole(tables):
        yield None if _is_ordered(whole) else Outcome(
            f"{row.where}.hr", f"{whole.hr.text} [{whole.lo.text}, {whole.hi.text}]", "lo <= HR <= hi",
            "the interval does not hold its HR")


def check_symmetry(tables: Tables) -> Iterator[Outcome | None]:
    """The HR is the geometric mean of its bounds: Wald's interval is symmetric on the log scale."""
    for row, whole in _each_whole(tables):
        if _is_ordered(whole):
            low, middle, high = (math.sqrt(max(a, 0.0) * b) for a, b in (
                (whole.lo.low, whole.hi.low), (whole.lo.value, whole.hi.value), (whole.lo.high, whole.hi.high)))
            yield None if whole.hr.meets(low, high) else Outcome(
                f"{row.where}.hr", f"{whole.hr.text} [{whole.lo.text}, {whole.hi.text}]", f"{middle:.4g}",
                "the HR is not the geometric mean of its bounds")


class _Wald(NamedTuple):
    """p of Wald's test: of the numbers as they stand, smallest and largest of all that are printed so."""

    value: float
    low: float
    high: float


def _compute_wald(whole: _Whole) -> _Wald | None:
    """None where a bound may be 0 or the interval a point."""
    hr, lo, hi = whole
    if min(hr.low, lo.low) <= 0 or hi.low <= lo.high:
        return None
    logs = [abs(math.log(hr.low)), abs(math.log(hr.high))]
    nearest = 0.0 if hr.low <= 1 <= hr.high else min(logs)
    value, largest_z, smallest_z = (
        abs(log_hr) * 2 * Z95 / math.log(top / bottom) for log_hr, bottom, top in (
            (math.log(hr.value), lo.value, hi.value), (max(logs), lo.high, hi.low), (nearest, lo.low, hi.high)))
    return _Wald(*(float(2 * stats.norm.sf(z)) for z in (value, largest_z, smallest_z)))


def check_p(tables: Tables) -> Iterator[Outcome | None]:
    """p follows from HR and interval: z = log HR / ((log hi - log lo) / 3.92)."""
    for row, p, wald in _each_p(tables):
        yield None if p.meets(wald.low, wald.high) else Outcome(
            f"{row.where}.p", p.text, f"{wald.value:.2g}", "p does not follow from the HR and its interval")


def check_p_as_printed(tables: Tables) -> Iterator[Outcome | None]:
    """p follows from HR and interval as they stand, not only from others that round to them."""
    for row, p, wald in _each_p(tables):
        missed = max(p.low - wald.value, wald.value - p.high, 0.0)
        is_far = p.meets(wald.low, wald.high) and missed > _NOTICEABLE * wald.value
        yield None if not is_far else Outcome(
            f"{row.where}.p", p.text, f"{wald.value:.3g}",
            f"p does not follow from the HR and its interval as printed; their rounding alone can explain it "
            f"({wald.low:.2g} to {wald.high:.2g})")


def _each_p(tables: Tables) -> Iterator[tuple[Hazard, Printed, _Wald]]:
    for row, whole in _each_whole(tables):
        wald = _compute_wald(whole)
        if row.p is not None and wald is not None and _is_ordered(whole):
            yield row, row.p, wald


# --- Which variables the table lists --------------------------------------------------------------------


def check_listed_twice(tables: Tables) -> Iterator[Outcome | None]:
    """No variable is listed twice."""
    table2 = tables.table2
    times = Counter(table2.listed or ()) | Counter(dict.fromkeys(table2.listed_twice, 2))
    for name, n in times.items():
        yield None if n == 1 else Outcome(f"table2.{name}", f"{n} times", "once", "the variable is listed twice")


def check_not_listed(tables: Tables) -> Iterator[Outcome | None]:
    """Every variable of Table 1 is listed."""
    table2 = tables.table2
    names = [row.name for row in (*tables.continuous, *tables.counted)] if table2.listed is not None else []
    missing = {name for name in names if not any(
        item == name or item.startswith(f"{name}_") for item in table2.listed or ())} | set(table2.not_listed)
    for name in dict.fromkeys([*names, *table2.not_listed]):
        yield None if name not in missing else Outcome(
            f"table2.{name}", "not listed", "listed", "a variable that was studied is not listed")
