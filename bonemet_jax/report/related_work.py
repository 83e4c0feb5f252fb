"""Table 5 on the page: related work as the paper prints it, and this run's comparable row."""

from collections.abc import Mapping
from typing import Any

from bonemet_jax.published import Work, load_published
from bonemet_jax.report.formats import DASH, format_interval, format_number
from bonemet_jax.report.tables import Cell, Table, find_test_row, list_reasons, name_model

Json = Mapping[str, Any]
#: The model that stands beside the paper's own row, fixed beforehand: its kind and features, never the best of several.
_MODEL = ("both", "gbdt")
_ABBREVIATIONS = {"ml": "ML"}


def make_related_table(roc: Json) -> Table:
    """Table 5 (row H3): related work, the paper's own row, this run's gradient boosting on both feature sets."""
    works = load_published().table5
    related = [work for work in works if work.reference is not None]
    own = [work for work in works if work.reference is None]
    row = find_test_row(roc, *_MODEL)
    rows = (*(_work_row(_name(work), work) for work in related), *(_work_row("The paper", work) for work in own),
            _run_row(row))
    notes = (
        "Other cohorts and other endpoints, figures as their authors printed them and the paper quotes them: not "
        "comparable by number.",
        f"Behind a name the paper's reference; {DASH}: not printed. Below this run's figures: 95 % intervals, DeLong's "
        "for the AUC.",
        *(list_reasons([row]) if row
          else (f"This run: not available, roc.json has no test row of {name_model(*_MODEL)}.",)),
    )
    return Table("Table 5. Related work", ("Work", "AUC", "ACC", "SENS", "SPEC"), rows, notes)


def _name(work: Work) -> str:
    name = _ABBREVIATIONS.get(work.name, work.name.replace("_", " ").capitalize())
    return f"{name} [{work.reference}]"



def _work_row(name: str, work: Work) -> tuple[Cell, ...]:
    return (Cell(name), *(Cell(format_number(value)) for value in work.measures))


def _run_row(row: Json | None) -> tuple[Cell, ...]:
    name = Cell(f"This run: {name_model(*_MODEL)}, test")
    if row is None:
        return (name, *[Cell(DASH)] * 4)
    shares = (Cell(format_number(row[m]["value"]), format_interval(row[m]["ci95"])) for m in ("acc", "sens", "spec"))
    return (name, Cell(format_number(row["auc"]), format_interval(row["auc_ci95_delong"])), *shares)
