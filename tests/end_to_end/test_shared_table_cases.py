"""Tables that were once compared wrongly, each with R's answer (shared cases/README.md, Statistics)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bonemet_jax import artifacts
from bonemet_jax.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("error")]

#: Half of the sixth digit: R's values are printed with as many.
ROUNDING = 5e-6


class Expected(NamedTuple):
    """What a command must end with."""

    arguments: str
    values: Mapping[tuple[str | int, ...], Any] = {}
    """Place in the results -> R's value, or an exact one."""
    refused: str = ""
    """Words of the refusal; empty: it is computed."""
    words: tuple[str, ...] = ()
    """What the terminal must say."""


NONE = "'None' (27 cells) is read as a value, not as missing"
TREATMENT = {("treatment", "chisq_p"): 0.269234, ("age", "student_p"): 0.846426, ("age", "n"): [38, 52],
             ("treatment", "n_missing"): [0, 0]}
CASES: dict[str, list[Expected]] = {
    "levels_written_twice": [
        Expected("table1 --by g --columns lvi", {("lvi", "chisq_p"): 0.00177020,
                                                 ("lvi", "counts", "0"): {"0": 19, "1": 7}}),
        Expected("km --time t --event e --by lvi", {("logrank_chisq",): 0.447492, ("groups", 1, "label"): "lvi 1"}),
    ],
    "level_called_none": [
        Expected("table1 --by g --columns treatment age --missing drop", TREATMENT, words=(NONE,)),
        Expected("table1 --by g --columns treatment age", TREATMENT, words=(NONE,)),
        Expected("km --time t --event e --by treatment", {("logrank_chisq",): 2.783404}, words=(NONE,)),
        Expected("km --time t --event e --by treatment --missing-codes treatment=none --missing drop", {},
                 words=("left out: 27 of 90 rows with a missing value: treatment 27 ('None')",)),
    ],
    "table_with_gaps": [
        Expected("table1 --by g --missing drop", {
            ("age", "student_p"): 0.0906524, ("age", "n"): [45, 45], ("cea", "student_p"): 0.2570019,
            ("cea", "n"): [34, 34], ("her2", "chisq_p"): 4.18664e-5, ("her2", "n"): [42, 43],
            ("stage", "chisq_p"): 1.58081e-6, ("stage", "n_missing"): [5, 5],
        }, words=("age 10 (empty), cea 32 (empty), her2 15 (empty), stage 10 (empty)",)),
        Expected("table1 --by g", refused="67 missing values: age 10 (empty), cea 32 (empty)"),
    ],
}


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, expected in CASES.items() for number in range(len(expected))]
)
def test_table_case(
    name: str, number: int, write_case: Callable[[str], None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_case(name)
    expected, report = CASES[name][number], tmp_path / "r.json"
    statistic, *flags = expected.arguments.split()
    exit_code = main(["stats", statistic, "--csv", str(tmp_path / "table.csv"), *flags, "--report", str(report)])
    terminal = "".join(capfd.readouterr())
    assert exit_code == (8 if expected.refused else 0) and expected.refused in terminal, terminal
    for words in expected.words:
        assert words in terminal
    results = artifacts.load_json(report).get("results", {})
    for place, wanted in expected.values.items():
        found: Any = results
        for key in place:
            found = found[key]
        assert found == (pytest.approx(wanted, rel=ROUNDING) if isinstance(wanted, float) else wanted), place
    print(f"case {name}: exit {exit_code}, {len(expected.values)} values as R's; {terminal.splitlines()[0][:100]}")
