"""Published tables as the rules see them: roles and units, never the names of variables.

The shape of the YAML, of which bonemet_jax/published.yaml is an example. Numbers keep their printed decimals
(27.0 is not 27); null is missing. Every part may be left out; groups are needed with table1_* and cut-offs:

    source, notes: anything
    groups: {"no": 379, "yes": 52}             patients a group, the positive one last
    table1_continuous:                         a row a variable; its name ends with its unit: _cm2, _cm2_m2, _ng_ml
      NAME_UNIT: {GROUP: [mean, sd, min, max, median, q1, q3], ..., p: "<0.001"}
    table1_counts:
      NAME: {levels: {LEVEL: {GROUP: [n, per cent], ...}, ...}, p: "0.036"}
    pairs: {INDEX: VARIABLE}                   an index in U/m2 and what, in U, it is made from; else found by unit and
                                               name (sfi, sfa: equal but for the last letter) or in the row above
    table2:
      NAME: [lasso coefficient, HR, lo, hi, p]
      hr_is: exp_coef                          what the HRs claim to be: exp_coef (unless stated) or refit
      listed: [NAME, ...]                      variables in the order printed; or what is known of it:
      listed_twice, not_listed: [NAME, ...]
    table3, table4, ...:                       any other name that begins with "table"
      MODEL: {SPLIT: [auc, acc, sens, spec], SPLIT_p: "<0.01", ...}
      MODEL: [auc, acc, sens, spec]            each a number, [value, lo, hi] or null; shares 0..1 or in per cent, alike
                                               in a table. The split "test" is held out. A name that ends with _imaging,
                                               _clinical or _both says which features the model has
    denominators: {SPLIT: {GROUP: n}}          patients, or rows, that the shares of a split count
    STEM_cutoff: {value_UNIT: 27.7, sens: [value, lo, hi], spec: ...}     of the variable STEM_UNIT; may also hold
                                               variable: NAME_UNIT, n: {GROUP: n} and positive: low or high, the side
                                               (else that of the lower or higher mean)
    formulas: [{of: [NAME_UNIT, ...], text: "area (cm2) / height (m) squared"}]     as the text states them

Rows of Table 1 may also hold  n: {GROUP: known values}, where some are missing, and  test: the one that p is of,
student, welch, chisq, yates, fisher or other (unless stated, any may have given it). A row of Table 1, table2 and a
model may hold doubtful: values that may be faults of the scan, which are skipped, never repaired. In a row true (all of
it) or a list of p, GROUP, GROUP.STATISTIC (no.q3), LEVEL, LEVEL.GROUP, "LEVEL percentages"; in table2 NAME or NAME.hr;
in a model SPLIT, SPLIT.auc or SPLIT_p.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from bonemet_jax.audit.printed import Printed

STATISTICS = ("mean", "sd", "min", "max", "median", "q1", "q3")
HAZARD_FIELDS = ("coef", "hr", "lo", "hi", "p")
MEASURES = ("auc", "acc", "sens", "spec")
#: The split that no model has seen; how a model's name says which features it has.
HELD_OUT, FEATURE_SETS = "test", ("imaging", "clinical", "both")
Test = Literal["student", "welch", "chisq", "yates", "fisher", "other"]


@dataclass(frozen=True)
class Continuous:
    """A continuous variable of Table 1: statistics by group; what is missing or doubtful is not there."""

    name: str
    where: str
    statistics: Mapping[str, Mapping[str, Printed]]
    n: Mapping[str, int]
    p: Printed | None
    test: Test | None


@dataclass(frozen=True)
class Cell:
    """Patients of one level in one group, and their printed percentage."""

    n: int | None
    percent: Printed | None


@dataclass(frozen=True)
class Counted:
    """A categorical variable of Table 1: cells by level and group."""

    name: str
    where: str
    levels: Mapping[str, Mapping[str, Cell]]
    n: Mapping[str, int]
    p: Printed | None
    test: Test | None

    def counts(self, group: str) -> list[int] | None:
        """Patients of each level; None where one is missing."""
        found = [cells[group].n for cells in self.levels.values()]
        return [n for n in found if n is not None] if None not in found else None


@dataclass(frozen=True)
class Hazard:
    """A row of Table 2: lasso coefficient, hazard ratio with its 95 % interval, p."""

    name: str
    where: str
    coef: Printed | None
    hr: Printed | None
    lo: Printed | None
    hi: Printed | None
    p: Printed | None


@dataclass(frozen=True)
class Table2:
    """The hazard ratios, what they claim to be, and which variables the table lists (None: not known)."""

    hazards: tuple[Hazard, ...] = ()
    hr_is: Literal["exp_coef", "refit"] = "exp_coef"
    listed: tuple[str, ...] | None = None
    listed_twice: tuple[str, ...] = ()
    not_listed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, where there is one; 0..1, where `scale` is 100 printed in per cent."""

    where: str
    value: Printed
    low: Printed | None
    high: Printed | None
    scale: int = 1


@dataclass(frozen=True)
class Performance:
    """One model in one split."""

    table: str
    model: str
    split: str
    where: str
    measures: Mapping[str, Estimate]
    p: Printed | None

    @property
    def feature_set(self) -> str | None:
        """imaging, clinical or both, by the end of the model's name."""
        return next((s for s in FEATURE_SETS if self.model == s or self.model.endswith(f"_{s}")), None)


@dataclass(frozen=True)
class Cutoff:
    """A cut-off of one variable: positive on one side of it."""

    name: str
    where: str
    value: Printed | None
    measures: Mapping[str, Estimate]
    n: Mapping[str, int]
    positive: Literal["low", "high"] | None


@dataclass(frozen=True)
class Formula:
    """A definition as the text states it."""

    names: tuple[str, ...]
    where: str
    text: str


@dataclass(frozen=True)
class Tables:
    """All that a file states. `pairs`: index -> area, both of them rows of `continuous`."""

    groups: Mapping[str, int]
    continuous: tuple[Continuous, ...] = ()
    counted: tuple[Counted, ...] = ()
    pairs: Mapping[str, str] = field(default_factory=dict)
    table2: Table2 = field(default_factory=Table2)
    performances: tuple[Performance, ...] = ()
    cutoffs: tuple[Cutoff, ...] = ()
    formulas: tuple[Formula, ...] = ()
    denominators: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def of(self, name: str) -> Continuous | None:
        """The continuous variable of that name."""
        return next((row for row in self.continuous if row.name == name), None)

    def two_groups(self) -> tuple[str, str] | None:
        """The negative and the positive group, where there are just two."""
        names = list(self.groups)
        return (names[0], names[1]) if len(names) == 2 else None

    def each_group(self) -> Iterator[tuple[Continuous, str, Mapping[str, Printed], int]]:
        """Every continuous variable in every group: row, group, its statistics, its patients."""
        for row in self.continuous:
            for group, statistics in row.statistics.items():
                yield row, group, statistics, row.n[group]
