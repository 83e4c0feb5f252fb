"""A cut-off's sensitivity and specificity beside the printed quantiles of its variable."""

from collections.abc import Iterator, Mapping

from bonemet_jax.audit.finding import Outcome
from bonemet_jax.audit.printed import Printed
from bonemet_jax.audit.rules.quantiles import QUANTILES, least_up_to, most_below
from bonemet_jax.audit.tables import Continuous, Cutoff, Tables


def check_quantiles(tables: Tables) -> Iterator[Outcome | None]:
    """Quartiles and extremes on either side of the cut-off bound how many patients lie beyond it."""
    groups = tables.two_groups()
    for cutoff in tables.cutoffs if groups else ():
        row = tables.of(cutoff.name)
        if row is None or cutoff.value is None or dict(row.n) != dict(cutoff.n):
            continue
        is_low = cutoff.positive == "low" if cutoff.positive else _is_positive_low(row)
        for measure, group in zip(("spec", "sens"), groups or (), strict=True):
            if is_low is not None and measure in cutoff.measures:
                yield _compare(cutoff, row, cutoff.value, measure, group, (measure == "sens") == is_low)


def _is_positive_low(row: Continuous) -> bool | None:
    """Whether low values are the positive side: the second group has the lower mean, or median. None: not known."""
    negative, positive = row.statistics.values()
    for statistic in ("mean", "median"):
        if statistic in negative and statistic in positive:
            return positive[statistic].value < negative[statistic].value
    return None


def _compare(cutoff: Cutoff, row: Continuous, value: Printed, measure: str, group: str, counts_below: bool
             ) -> Outcome | None:
    """The share of a group that lies below the cut-off, or above it, beside the printed share."""
    n = row.n[group]
    below = _bound_below(row.statistics[group], value, n)
    low, high = below if counts_below else (n - below[1], n - below[0])
    e = cutoff.measures[measure]
    if e.value.meets(low / n, high / n):
        return None
    held = ", ".join(f"{s} {row.statistics[group][s].text}" for s in QUANTILES if s in row.statistics[group])
    return Outcome(e.where, e.value.text, f"{low / n:.3f} to {high / n:.3f}",
                   f"the group's {held} leave {low} to {high} of {n} patients on that side of {value.text}")


def _bound_below(known: Mapping[str, Printed], value: Printed, n: int) -> tuple[int, int]:
    """Fewest and most of n patients below the cut-off."""
    fewest = max((least_up_to(s, n) for s in QUANTILES if s in known and known[s].high < value.low), default=0)
    most = min((most_below(s, n) for s in QUANTILES if s in known and known[s].low > value.high), default=n)
    return fewest, most
