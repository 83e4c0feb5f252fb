"""What the paper prints (doi 10.3233/CBM-230219), by our names, to stand beside our figures; nothing is fitted to it.

The numbers are in published.yaml alone, in the shape that `bonemet audit` reads (bonemet_jax/audit/tables.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from bonemet_jax import schema
from bonemet_jax.errors import CorruptFileError

PATH = Path(__file__).with_name("published.yaml")
#: The paper's names where ours differ: of columns, and of the levels of a 0/1 column.
_COLUMNS = {"ki67": "ki67_high"}
_BINARY = {"no": "0", "negative": "0", "<20": "0", "yes": "1", "positive": "1", ">=20": "1"}
#: Lists in Table 2 that are no variables.
_LISTS = {"listed", "listed_twice", "not_listed"}


@dataclass(frozen=True)
class Work:
    """A row of Table 5: a name, its number in the paper's references (None: the paper itself), shares 0..1."""

    name: str
    reference: int | None
    measures: tuple[float | None, ...]
    """AUC, ACC, SENS, SPEC; None where the paper prints none."""


@dataclass(frozen=True)
class Published:
    """Printed numbers by our names. Pairs are of patients without | with bone metastasis."""

    groups: tuple[int, int]
    """Patients."""
    table1_mean_sd: Mapping[str, tuple[tuple[float, float], tuple[float, float], str]]
    """Column -> mean and SD, mean and SD, p as printed."""
    table1_counts: Mapping[tuple[str, str], tuple[int, int]]
    """Column and level, as in the cohort table ("0", "1" of a 0/1 column) -> patients."""
    table2: Mapping[str, dict[str, Any]]
    """Encoded column -> lasso_coef, hr, ci95, p as printed."""
    test_auc: Mapping[tuple[str, str], tuple[float, float, float]]
    """Tables 3 and 4: feature set and classifier (`network` is ResNet101) -> test AUC and its 95 % interval."""
    sfi_cutoff: dict[str, Any]
    """Row H4: sens, sens_ci95, spec, spec_ci95 of schema.PAPER_SFI_CUTOFF_CM2_M2."""
    table5: tuple[Work, ...]
    """Related work, in the order of the file."""


def load_published() -> Published:
    """The printed numbers, read once. Raises: CorruptFileError for a file that is damaged."""
    return _load(PATH)


@cache
def _load(path: Path) -> Published:
    try:
        tree = yaml.safe_load(path.read_bytes())
        return Published(
            groups=(tree["groups"]["no"], tree["groups"]["yes"]),
            table1_mean_sd=_name_means(tree["table1_continuous"]),
            table1_counts=_name_counts(tree["table1_counts"]),
            table2=_name_terms(tree["table2"]),
            test_auc=_name_aucs(tree["table3"], tree["table4"]),
            sfi_cutoff=_name_shares(tree["sfi_cutoff"]),
            table5=tuple(_name_work(name, measures) for name, measures in tree["table5"].items()),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise CorruptFileError(f"the paper's printed tables cannot be read ({why})", path,
                               "install bonemet-jax again") from error


def _name_means(rows: dict[str, Any]) -> dict[str, tuple[tuple[float, float], tuple[float, float], str]]:
    """Of mean, SD, min, max and quartiles the first two."""
    return {name: (tuple(row["no"][:2]), tuple(row["yes"][:2]), row["p"]) for name, row in rows.items()}


def _name_counts(rows: dict[str, Any]) -> dict[tuple[str, str], tuple[int, int]]:
    """Of patients and per cent the patients."""
    levels = {c.name: c.levels for c in schema.CLINICAL}
    found = {}
    for printed, row in rows.items():
        name = _COLUMNS.get(printed, printed)
        for level, cells in row["levels"].items():
            ours = level if levels[name] else _BINARY[level]
            found[name, ours] = (cells["no"][0], cells["yes"][0])
    return found


def _name_terms(rows: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = {}
    for printed, row in rows.items():
        if printed not in _LISTS:
            coef, hr, low, high, p = row
            found[_COLUMNS.get(printed, printed)] = {"lasso_coef": coef, "hr": hr, "ci95": [low, high], "p": p}
    return found


def _name_aucs(networks: dict[str, Any], models: dict[str, Any]) -> dict[tuple[str, str], tuple[float, float, float]]:
    rows = {("imaging", "network"): networks["resnet101"]} | {
        (f, c): models[f"{c}_{f}"] for f in schema.FEATURE_SETS for c in schema.CLASSIFIERS}
    return {model: tuple(row["test"][0]) for model, row in rows.items()}


def _name_shares(row: dict[str, Any]) -> dict[str, Any]:
    (sens, *sens_ci95), (spec, *spec_ci95) = row["sens"], row["spec"]
    return {"sens": sens, "sens_ci95": sens_ci95, "spec": spec, "spec_ci95": spec_ci95}


def _name_work(printed: str, measures: list[float | None]) -> Work:
    """Rows are named NAME_REFERENCE; the paper's own is `ours`."""
    auc, acc, sens, spec = measures
    if printed == "ours":
        return Work("ours", None, (auc, acc, sens, spec))
    name, _, reference = printed.rpartition("_")
    return Work(name, int(reference), (auc, acc, sens, spec))
