"""Tables that `bonemet stats` once judged wrongly, each with R's answer (shared cases/README.md, "Statistics")."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bonemet_jax import artifacts
from bonemet_jax.cli import main

pytestmark = pytest.mark.slow


class Expected(NamedTuple):
    """What a command must end with."""

    arguments: str
    values: Mapping[str, Any] = {}
    """Path in the results, by dots -> value."""
    code: int = 0
    words: str = ""
    """What the terminal must show."""
    tolerance: float = 5e-7
    """Half of the last digit of R's values as they are printed."""


_KM = "--time t --event e --by g"
_GONE = {"logrank_chisq": 3.904311, "logrank_df": 1, "logrank_p": 0.048162}
CASES: dict[str, list[Expected]] = {
    "near_ties": [
        Expected("cox --csv table.csv --time t --event e --covariates x x2", {
            "terms.0.coef": -0.229558, "terms.1.coef": 0.158509, "concordance": 0.620988,
            "schoenfeld_global_p": 0.052180}),
        Expected(f"km --csv table.csv {_KM}", {"logrank_chisq": 5.903075}),
    ],
    "group_gone_before_first_event": [
        Expected(f"km --csv last.csv {_KM}", _GONE), Expected(f"km --csv first.csv {_KM}", _GONE),
    ],
    "survival_at_odd_times": [
        Expected("km --csv table.csv --time t --event e --times=-1 0 1", {
            "groups.0.survival.0": 1, "groups.0.survival.1": 1, "groups.0.survival.2": 0.75}),
        Expected("km --csv table.csv --time t --event e --times nan 1", code=2, words="--times nan"),
    ],
    "rare_marker_without_events": [
        Expected("cox --csv table.csv --time t --event e --covariates rare age", code=8,
                 words="rare separates events from the rest: 0 of 6 patients with rare = 1 have an event"),
        Expected("cox --csv table.csv --time t --event e --covariates age", {"terms.0.coef": -0.007349114}),
    ],
    "constant_but_for_rounding": [
        Expected("cox --csv table.csv --time t --event e --covariates c x", code=8,
                 words="column 'c' is constant but for rounding, 0.3 in every row"),
        Expected("cox --csv table.csv --time t --event e --covariates x", {"terms.0.coef": 0.1190245},
                 tolerance=5e-8),
    ],
    "two_perfect_scores": [
        Expected("roc --csv table.csv --label y --scores p1 p2", {
            "paired.0.difference": 0, "paired.0.ci95.0": 0, "paired.0.ci95.1": 0, "paired.0.z": 0, "paired.0.p": 1,
            "paired.0.reason": None}),
    ],
}  # fmt: skip


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, expected in CASES.items() for number in range(len(expected))]
)
def test_table_case(
    name: str, number: int, write_case: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    write_case(name)
    expected = CASES[name][number]
    assert main(["stats", *expected.arguments.split(), "--report", "report.json"]) == expected.code
    shown = capfd.readouterr()
    assert expected.words in shown.out + shown.err and "Warning" not in shown.err
    if expected.code:
        assert len(shown.err.strip().splitlines()) == 1
        print(f"case {name}: exit {expected.code}, {shown.err.strip()}")
        return
    results = artifacts.load_json("report.json")["results"]
    for path, value in expected.values.items():
        assert _find(results, path) == (value if value is None else pytest.approx(value, abs=expected.tolerance)), path
    print(f"case {name}: " + ", ".join(f"{path} {_find(results, path)}" for path in expected.values))


def _find(results: Any, path: str) -> Any:
    for part in path.split("."):
        results = results[int(part) if part.isdigit() else part]
    return results


@pytest.mark.timeout(900)
def test_no_follow_up(write_case: Callable[[str], None]) -> None:
    """A cohort without follow-up times: a run gives everything but survival, and that as the reason."""
    write_case("no_follow_up")
    patients = sorted(map(str, Path("patients").iterdir()))
    assert main(["ingest", "-i", *patients, "--clinical", "clinical.csv", "--slice-index", "0", "-o", "c"]) == 0
    config = Path(__file__).parents[2] / "configs" / "smoke.py"
    small = "--records.height 128 --records.width 160 --records.spacing-mm 2.5 --train.epochs 2 --train.batch-size 8"
    assert main(["run", str(config), "--cohort-dir", "c", "-o", "r", *small.split()]) == 0
    km = json.loads(Path("r/stats/km.json").read_text())
    assert [cutoff["reason"] for cutoff in km["cutoffs"]] == ["no patient has a follow-up time"] * 2
    table2 = json.loads(Path("r/stats/table2.json").read_text())
    assert table2["reason"] == "no patient has a follow-up time"
    assert "label has only one class" not in Path("r/report.html").read_text()
    print(f"case no_follow_up: {km['cutoffs'][0]['reason']}")
