"""Table 5: the rows of the paper, typed by hand, and this run's fixed model below them."""

from bonemet_jax.report.related_work import make_related_table
from bonemet_jax.report.tables import Table

from .conftest import make_roc

PRINTED = [
    ["ML [40]", "0.888", "0.803", "0.801", "0.837"],
    ["ML [41]", "0.870", "0.830", "–", "–"],
    ["Multi feature fusion [42]", "0.854", "0.786", "0.746", "0.806"],
    ["Cox [43]", "0.715", "–", "0.957", "0.423"],
    ["Deep learning signature [44]", "0.817", "0.677", "0.825", "0.584"],
    ["Cox [45]", "0.820", "–", "–", "–"],
    ["Clinical [46]", "0.821", "–", "0.592", "0.941"],
    ["The paper", "0.922", "0.831", "0.827", "0.832"],
]


def _texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_rows_as_printed_then_this_run() -> None:
    table = make_related_table(make_roc())
    *printed, ours = _texts(table)
    assert table.header == ("Work", "AUC", "ACC", "SENS", "SPEC") and printed == PRINTED
    assert ours == ["This run: GBDT, imaging and clinical, test", "0.890", "0.810", "0.810", "0.810"]
    assert [cell.detail for cell in table.rows[-1]][1:] == ["[0.830, 0.940]", *["[0.770, 0.850]"] * 3]
    assert not any(cell.detail for row in table.rows[:-1] for cell in row)
    assert "not comparable by number" in table.notes[0] and len(table.notes) == 2


def test_the_model_is_fixed_beforehand() -> None:
    """A better model of the run does not take its place."""
    roc = make_roc()
    for row in roc["rows"]:
        row["auc"] += 0.05 * (row["classifier"] != "gbdt")
    assert _texts(make_related_table(roc))[-1][1] == "0.890"


def test_a_run_without_that_row_says_so() -> None:
    roc = make_roc()
    roc["rows"] = [row for row in roc["rows"] if row["split"] != "test"]
    table = make_related_table(roc)
    assert _texts(table)[-1][1:] == ["–"] * 4 and len(table.rows) == 9
    assert table.notes[-1] == "This run: not available, roc.json has no test row of GBDT, imaging and clinical."


def test_numbers_that_cannot_be_had_say_why() -> None:
    roc = make_roc()
    for row in roc["rows"]:
        row.update(auc=None, auc_ci95_delong=None, reason="one class")
        row.update({name: {"value": None, "ci95": None, "k": 0, "n": 0} for name in ("acc", "sens", "spec")})
    table = make_related_table(roc)
    assert _texts(table)[-1][1:] == ["–"] * 4 and table.notes[-1] == "–: not available, one class."
