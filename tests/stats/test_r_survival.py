"""`bonemet stats cox` and `km` on the data sets of R's survival package, against survival itself.

Skipped where R or its package survival is missing (Debian: apt-get install r-cran-survival). r_survival.R writes the
tables, each also with times that are equal but for rounding, and what survival makes of them.
"""

import csv
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from bonemet_jax import artifacts
from bonemet_jax.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SETS = ("aml", "bladder", "lung", "colon", "diabetic", "flchain", "gbsg", "jasa", "kidney", "mgus", "mgus2", "myeloid",
        "nafld1", "nwtco", "ovarian", "pbc", "rats", "retinopathy", "rotterdam", "stanford2", "transplant", "udca1",
        "udca2", "veteran")  # fmt: skip
TOLERANCE = 1e-8
Values = dict[tuple[str, str], float | None]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the tables and survival's results."""
    rscript = shutil.which("Rscript")
    if rscript is None:
        pytest.skip("Rscript is not installed")
    is_new = 'requireNamespace("survival", quietly = TRUE) && packageVersion("survival") >= "3.5.3"'
    if subprocess.run([rscript, "-e", f"quit(status = !({is_new}))"], capture_output=True, check=False).returncode:
        pytest.skip("R's package survival 3.5-3 or later is not installed")
    out = tmp_path_factory.mktemp("r_survival")
    done = subprocess.run([rscript, str(Path(__file__).parent / "r_survival.R"), str(out)],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("name", SETS)
def test_equals_r(name: str, tables: Path, tmp_path: Path) -> None:
    worst: dict[str, float] = defaultdict(float)
    for variant in ("clean", "noisy"):
        file = tables / f"{name}-{variant}"
        wanted, found = _load_results(file.with_suffix(".results.csv")), _compute(file, tmp_path / "r.json")
        assert wanted.keys() <= found.keys(), sorted(wanted.keys() - found.keys())[:5]
        extra = {key: value for key, value in found.items() if key not in wanted and value is not None}
        assert not extra, f"R has no value: {extra}"
        for (quantity, item), r in wanted.items():
            ours = found[quantity, item]
            assert (ours is None) == (r is None), (variant, quantity, item, ours, r)
            if ours is not None and r is not None:
                kind = quantity.replace("efron ", "").replace("breslow ", "")
                worst[kind] = max(worst[kind], abs(ours - r) / _get_scale(wanted, quantity, item, r))
    print(f"R survival: {name}: worst difference {max(worst.values()):.1e} of {TOLERANCE:.0e} "
          f"({', '.join(f'{kind} {value:.0e}' for kind, value in worst.items())})")  # fmt: skip
    assert max(worst.values()) <= TOLERANCE, worst


def _get_scale(wanted: Values, quantity: str, item: str, value: float) -> float:
    """A coefficient is judged by itself or its standard error, a standard error by itself, the rest by itself or 1."""
    if quantity.endswith(" coef"):
        return max(abs(value), wanted[quantity.replace(" coef", " se"), item] or 0.0)
    return value if quantity.endswith(" se") else max(abs(value), 1.0)


def _load_results(path: Path) -> Values:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {(row["quantity"], row["item"]): float(row["value"]) if row["value"] else None for row in rows}


def _compute(file: Path, report: Path) -> Values:
    """What `bonemet stats` finds, named as R's results."""
    table = Path(f"{file}.csv")
    with table.open(newline="") as text:
        covariates = next(csv.reader(text))[3:]
    times = Path(f"{file}.times").read_text().split()
    found: Values = {}
    for ties in ("efron", "breslow"):
        cox = _run(report, "cox", table, "--covariates", *covariates, "--ties", ties)
        key = f"cox {ties} "
        for term in cox["terms"]:
            found |= {(key + name, term["name"]): term[field]
                      for name, field in (("coef", "coef"), ("se", "se"), ("schoenfeld", "schoenfeld_p"))}  # fmt: skip
        found |= {(f"{key}loglik", "null"): cox["loglik"][0], (f"{key}loglik", "fitted"): cox["loglik"][1],
                  (f"{key}concordance", ""): cox["concordance"],
                  (f"{key}schoenfeld_global", ""): cox["schoenfeld_global_p"]}  # fmt: skip
    km = _run(report, "km", table, "--by", "group", "--times", *times)
    found |= {("logrank", name): km[f"logrank_{name}"] for name in ("chisq", "df", "p")}
    for group in km["groups"]:
        label = group["label"].removeprefix("group ")
        lower, upper = group["median_ci95"]
        found |= {("km median", label): group["median"], ("km 0.95LCL", label): lower, ("km 0.95UCL", label): upper}
        names = (("surv", "survival"), ("lower", "lower"), ("upper", "upper"), ("n.risk", "n_risk"))
        found |= {(f"km {name}", f"{label}|{i}"): group[field][i]
                  for name, field in names for i in range(len(times))
                  if group["survival"][i] is not None}  # fmt: skip
    return found


def _run(report: Path, name: str, table: Path, *flags: str) -> dict[str, Any]:
    argv = ["stats", name, "--csv", str(table), "--time", "time", "--event", "event", *flags, "--report", str(report)]
    assert main(argv) == 0
    return artifacts.load_json(report)["results"]
