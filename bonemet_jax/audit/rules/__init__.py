"""Every rule of an audit, in one table. A rule knows roles, units and numbers, never the name of a variable."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from bonemet_jax.audit.finding import Outcome, Severity
from bonemet_jax.audit.rules import continuous, counts, cutoffs, formulas, hazards, models
from bonemet_jax.audit.tables import Tables


class Rule(NamedTuple):
    """How bad a contradiction is, and the check: an outcome for each comparison, None where it holds."""

    severity: Severity
    check: Callable[[Tables], Iterator[Outcome | None]]


RULES: dict[str, Rule] = {
    # Table 1, continuous
    "quantile-order": Rule("error", continuous.check_order),
    "mean-in-range": Rule("error", continuous.check_mean),
    "sd-in-range": Rule("error", continuous.check_sd),
    "t-test": Rule("error", continuous.check_t_test),
    "index-height": Rule("error", continuous.check_index),
    "index-heights-differ": Rule("warning", continuous.check_heights),
    # Table 1, counts
    "count-sum": Rule("error", counts.check_sum),
    "percent": Rule("error", counts.check_percent),
    "percent-swapped": Rule("error", counts.check_swapped),
    "percent-truncated": Rule("warning", counts.check_truncated),
    "chi-square": Rule("error", counts.check_chi_square),
    # Table 2
    "hr-exp-coef": Rule("error", hazards.check_exp_coef),
    "hr-sign": Rule("error", hazards.check_sign),
    "hr-sign-refit": Rule("warning", hazards.check_sign_of_refit),
    "hr-interval": Rule("error", hazards.check_interval),
    "hr-symmetry": Rule("error", hazards.check_symmetry),
    "hr-p": Rule("error", hazards.check_p),
    "hr-p-as-printed": Rule("warning", hazards.check_p_as_printed),
    "listed-twice": Rule("error", hazards.check_listed_twice),
    "not-listed": Rule("error", hazards.check_not_listed),
    # Tables 3, 4, ...; those that end with -pooled hold if the held-out split is every patient once
    "share-range": Rule("error", models.check_range),
    "share-interval": Rule("error", models.check_interval),
    "share-count": Rule("error", models.check_count),
    "share-count-pooled": Rule("warning", models.check_count_pooled),
    "share-width": Rule("warning", models.check_width),
    "accuracy-between": Rule("error", models.check_accuracy),
    "accuracy-mean": Rule("error", models.check_accuracy_share),
    "accuracy-mean-pooled": Rule("warning", models.check_accuracy_pooled),
    "auc-p": Rule("error", models.check_p),
    "auc-combined": Rule("warning", models.check_combined),
    "auc-variable": Rule("error", models.check_variable),
    # Cut-offs, formulas
    "cutoff-quantiles": Rule("error", cutoffs.check_quantiles),
    "formula-unit": Rule("error", formulas.check_unit),
}
