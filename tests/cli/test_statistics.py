"""`bonemet stats` on any CSV: R's results through the verb, and one line for every table that cannot be used."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from bonemet_jax import artifacts
from bonemet_jax.cli import main

Load = Callable[[str], Any]


@pytest.fixture
def run_stats(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """The verb on a table; its results from the report."""

    def run(name: str, table: pd.DataFrame, *flags: str) -> dict[str, Any]:
        table.to_csv(tmp_path / "table.csv", index=False)
        argv = ["stats", name, "--csv", str(tmp_path / "table.csv"), *flags, "--report", str(tmp_path / "r.json")]
        assert main(argv) == 0, capfd.readouterr().err
        assert capfd.readouterr().out.strip()
        return artifacts.load_json(tmp_path / "r.json")["results"]

    return run


def _worst(pairs: list[tuple[Any, Any]], relative: bool = False) -> float:
    found, wanted = (np.array([np.nan if v is None else v for v in side], float) for side in zip(*pairs, strict=True))
    assert (np.isnan(found) == np.isnan(wanted)).all()
    return float(np.nanmax(np.abs(found - wanted) / (np.abs(wanted) if relative else 1.0), initial=0.0))


@pytest.mark.parametrize("name", ["roc_a", "roc_small", "roc_ties"])
def test_proc(name: str, golden: Load, golden_table: Load, run_stats: Callable[..., dict[str, Any]]) -> None:
    r = golden(name)
    flags = ["--label", "label", "--scores", "score_a", "score_b", "--draws", "200"]
    found = run_stats("roc", golden_table(name), *flags)
    a, b, paired = found["score_a"], found["score_b"], found["paired"][0]
    pairs = [(a["auc"], r["auc_a"]), (b["auc"], r["auc_b"]), (a["var_delong"], r["var_delong_a"]),
             (paired["z"], r["paired_delong"]["z"]), (paired["p"], r["paired_delong"]["p"])]
    pairs += [*zip(a["ci95_delong"], r["ci95_delong_a"], strict=True),
              *zip(b["ci95_delong"], r["ci95_delong_b"], strict=True)]
    print(f"golden {name}: {_worst(pairs):.1e} of 1e-9")
    assert _worst(pairs) < 1e-9


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_coxph(ties: str, golden: Load, golden_table: Load, run_stats: Callable[..., dict[str, Any]]) -> None:
    table, r = golden_table("gbsg2"), golden("cox_gbsg2")[ties]
    names = [term["name"] for term in r["terms"]]
    flags = ["--time", "time", "--event", "event", "--covariates", *names, "--ties", ties]
    found = run_stats("cox", table, *flags)
    assert [term["name"] for term in found["terms"]] == names
    terms = list(zip(found["terms"], r["terms"], strict=True))
    relative = [(t[k], w[k]) for t, w in terms for k in ("coef", "se", "hr", "z")]
    relative += [pair for t, w in terms for pair in zip(t["ci95"], w["ci95"], strict=True)]
    absolute = [(t["p"], w["p"]) for t, w in terms]
    loglik = list(zip(found["loglik"], r["loglik"], strict=True))
    if ties == "efron":
        absolute.append((found["schoenfeld_global_p"], golden("cox_gbsg2")["schoenfeld_global_p"]))
    assert all(0 <= t["schoenfeld_p"] <= 1 for t in found["terms"]) and found["schoenfeld_reason"] is None
    print(f"golden cox_gbsg2 {ties}: {_worst(relative, True):.1e}, p {_worst(absolute):.1e} of 1e-6; concordance "
          f"{abs(found['concordance'] - r['concordance']):.1e} of 1e-9")
    assert max(_worst(relative, True), _worst(absolute), _worst(loglik, True)) < 1e-6
    assert abs(found["concordance"] - r["concordance"]) < 1e-9


def test_survfit(golden: Load, golden_table: Load, run_stats: Callable[..., dict[str, Any]]) -> None:
    r = golden("km_gbsg2")
    flags = ["--time", "time", "--event", "event", "--by", r["variable"], "--cutoff", str(r["cutoff"]),
             "--times", *map(str, r["times"])]
    found = run_stats("km", golden_table("gbsg2"), *flags)
    groups = found["groups"]
    pairs = [(found["logrank_chisq"], r["logrank_chisq"])]
    for name in ("survival", "lower", "upper", "n_risk"):
        pairs += zip([value for group in groups for value in group[name]], r[name], strict=True)
    pairs += zip([group["median"] for group in groups], r["median"], strict=True)
    assert [group["n"] for group in groups] == r["n_per_group"] and found["logrank_p"] < 1e-15
    print(f"golden km_gbsg2: {_worst(pairs):.1e} of 1e-9")
    assert _worst(pairs) < 1e-9


@pytest.mark.parametrize(("name", "relative", "limit"), [("gse7390", True, 1e-4), ("gbsg2", False, 3e-3)])
def test_glmnet(
    name: str, relative: bool, limit: float, golden: Load, golden_table: Load,
    run_stats: Callable[..., dict[str, Any]],
) -> None:
    """gbsg2's tolerance is absolute here: glmnet takes some of those censored at an event's own time out of its risk
    set (its largest lambda, .188613, fits neither all of them nor none), R's survival and we none."""
    table, r = golden_table(name), golden(f"lasso_{name}")
    names = [c for c in table.columns if c not in ("patient_id", "time", "event")]
    flags = ["--time", "time", "--event", "event", "--covariates", *names, "--lambdas",
             *[repr(p["lambda"]) for p in r["points"]]]
    found = run_stats("lasso-cox", table, *flags)
    pairs = []
    for point, wanted in zip(found["points"], r["points"], strict=True):
        assert point["lambda"] == wanted["lambda"] and set(point["nonzero"]) == set(wanted["nonzero"])
        pairs += [(point["nonzero"][k], v) for k, v in wanted["nonzero"].items()]
    print(f"golden lasso_{name}: {_worst(pairs):.1e} absolute, {_worst(pairs, True):.1e} relative, of {limit:g} "
          f"{'relative' if relative else 'absolute'}")
    assert _worst(pairs, relative) < limit


def test_table1(golden: Load, golden_table: Load, run_stats: Callable[..., dict[str, Any]]) -> None:
    table, r = golden_table("table1_a"), golden("table1_a")
    by = next(name for name in table.columns if name not in r and name != "patient_id")
    variables = {name: value for name, value in r.items() if isinstance(value, dict)}
    found = run_stats("table1", table, "--by", by, "--columns", *variables)
    pairs, fisher = [], []
    for name, wanted in variables.items():
        ours = found[name]
        for key in ("student_p", "welch_p", "wilcoxon_p", "chisq_p", "chisq_yates_p"):
            pairs += [(ours[key], wanted[key])] if key in wanted else []
        for key in ("mean", "sd"):
            pairs += zip(ours[key], wanted[key], strict=True) if key in wanted else []
        for level, values in wanted.get("q", {}).items():
            pairs += zip(ours["quartiles"][level], values, strict=True)
        if "counts" in wanted:
            assert ours["counts"] == wanted["counts"]
            fisher.append((ours["fisher_p"], wanted["fisher_p"]))
    print(f"golden table1_a: {_worst(pairs):.1e} of 1e-9, Fisher {_worst(fisher):.1e} of 1e-6")
    assert _worst(pairs) < 1e-9 and _worst(fisher) < 1e-6


def _good(n: int = 60) -> pd.DataFrame:
    random = np.random.default_rng(0)
    event = (random.random(n) < 0.5).astype(int)
    return pd.DataFrame({
        "id": [f"P{i:03d}" for i in range(n)], "y": event, "s": random.normal(size=n) + event,
        "t": random.integers(1, 40, n), "e": event, "a": random.normal(size=n) + event, "b": random.normal(size=n),
        "g": np.where(random.random(n) < 0.4, "low", "high"),
    })


_FLAGS = {
    "roc": ["--label", "y", "--scores", "s", "a", "--draws", "200"],
    "cox": ["--time", "t", "--event", "e", "--covariates", "a", "b"],
    "lasso-cox": ["--time", "t", "--event", "e", "--covariates", "a", "b"],
    "km": ["--time", "t", "--event", "e", "--by", "a", "--cutoff", "0"],
    "table1": ["--by", "g", "--columns", "a", "b"],
}
_SURVIVAL = ("cox", "lasso-cox", "km")
#: What is wrong, where, how: statistic -> what the line must say. Columns of `_good` are changed in place.
_SPOILS: list[tuple[str, tuple[str, ...], Callable[[pd.DataFrame], Any], str]] = [
    ("missing column", tuple(_FLAGS), lambda t: t.rename(columns={"a": "aa"}), "no column 'a'"),
    ("constant column", tuple(_FLAGS), lambda t: t.assign(a=1.5), "constant"),
    ("empty cell", tuple(_FLAGS), lambda t: t.assign(a=t["a"].mask(t.index == 3)), "row 5, column a"),
    ("the word NaN", tuple(_FLAGS), lambda t: t.assign(a=t["a"].astype(str).mask(t.index == 3, "NaN")), "row 5"),
    ("text among numbers", ("roc", "cox", "lasso-cox", "km"),
     lambda t: t.assign(a=t["a"].astype(str).mask(t.index == 3, "high")), "'high' is not a finite number"),
    ("infinity", ("roc", "cox", "lasso-cox", "km"), lambda t: t.assign(a=t["a"].mask(t.index == 3, np.inf)), "row 5"),
    ("one class", ("roc",), lambda t: t.assign(y=1), "one class only"),
    ("label 2", ("roc",), lambda t: t.assign(y=t["y"] * 2), "neither 0 nor 1"),
    ("one group", ("table1",), lambda t: t.assign(g="low"), "1 groups"),
    ("three groups", ("table1",), lambda t: t.assign(g=[f"g{i % 3}" for i in range(len(t))]), "3 groups"),
    ("no events", _SURVIVAL, lambda t: t.assign(e=0), "no events"),
    ("event 2", _SURVIVAL, lambda t: t.assign(e=t["e"] + 1), "neither 0 nor 1"),
    ("ties only", ("lasso-cox",), lambda t: t.assign(t=7, e=1), "no column changes the likelihood"),
    ("constant but for rounding", ("cox", "lasso-cox"),
     lambda t: t.assign(a=np.where(t.index % 2, 0.3, 0.1 + 0.2), b=1e9 + 1e-6 * t["b"]), "constant"),
    ("a marker without events", ("cox",), lambda t: t.assign(a=(t.index < 4) * 1, e=t["e"].mask(t.index < 4, 0)),
     "a separates events from the rest: 0 of 4 patients with a = 1 have an event"),
    ("ties only", ("roc",), lambda t: t.assign(s=7), "constant"),
    ("negative time", _SURVIVAL, lambda t: t.assign(t=t["t"] - 20), "negative"),
    ("collinear", ("cox",), lambda t: t.assign(b=2 * t["a"]), "column b is a linear combination of a"),
    ("separation", ("cox",), lambda t: t.assign(a=t["e"] * 100 - t["t"]), "separates"),
    ("one side of the cut-off", ("km",), lambda t: t.assign(a=t["a"] + 100), "one group"),
    ("no rows", tuple(_FLAGS), lambda t: t.head(0), "no rows"),
]


@pytest.mark.parametrize("name", _FLAGS)
def test_bad_tables_are_refused_in_one_line(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, report = tmp_path / "table.csv", tmp_path / "r.json"
    spoils = [(what, spoil, words) for what, names, spoil, words in _SPOILS if name in names]
    for what, spoil, words in spoils:
        spoil(_good()).to_csv(file, index=False)
        assert main(["stats", name, "--csv", str(file), *_FLAGS[name], "--report", str(report)]) == 8, what
        told = capfd.readouterr()
        assert len(told.err.strip().splitlines()) == 1 and words in told.err and not told.out, (what, told.err)
        assert json.loads(report.read_text())["exit_code"] == 8
    print(f"stats {name}: {len(spoils)}/{len(spoils)} bad tables refused")


@pytest.mark.parametrize(("text", "words"), [
    ("", "no rows"), ("y,s\n", "no rows"), ("y,y\n1,2\n", "column 'y' comes twice"),
    ("y,s\n1,2,3\n", "3 cells where the header has 2"), ("y,s\n1\n", "1 cells where the header has 2"),
])
def test_files_that_are_no_table(text: str, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text(text)
    assert main(["stats", "roc", "--csv", str(tmp_path / "t.csv"), "--label", "y", "--scores", "s"]) == 8
    assert words in capfd.readouterr().err


@pytest.mark.parametrize(("text", "words"), [
    ("y,s\n" + "1,2\n" * (16 * 2**20), "the table is larger than 64 MiB; {}; keep the columns used"),
    ("y\n" + "1\n" * 1_000_001, "the table has more than 1000000 rows; {}; give one row a patient"),
    (",".join(f"c{i}" for i in range(2001)) + "\n" + "1," * 2000 + "1\n",
     "the table has 2001 columns, more than 2000; {}; keep those that are used"),
], ids=["size", "rows", "columns"])
def test_tables_too_large_to_read(text: str, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text(text)
    assert main(["stats", "roc", "--csv", str(tmp_path / "t.csv"), "--label", "y", "--scores", "s"]) == 8
    told = capfd.readouterr().err.strip()
    assert words.format(tmp_path / "t.csv") in told and len(told.splitlines()) == 1


def test_encodings_and_separators(run_stats: Callable[..., dict[str, Any]], tmp_path: Path,
                                  capfd: pytest.CaptureFixture[str]) -> None:
    wanted = run_stats("roc", _good(), *_FLAGS["roc"])
    for options in ({"sep": ";"}, {"sep": "\t"}, {"encoding": "utf-8-sig"}):
        _good().to_csv(tmp_path / "t.csv", index=False, **options)
        argv = ["stats", "roc", "--csv", str(tmp_path / "t.csv"), *_FLAGS["roc"], "--report", str(tmp_path / "r.json")]
        assert main(argv) == 0
        assert artifacts.load_json(tmp_path / "r.json")["results"] == wanted
    (tmp_path / "t.csv").write_bytes("y,s\n1,größe\n".encode("latin-1"))
    assert main(["stats", "roc", "--csv", str(tmp_path / "t.csv"), "--label", "y", "--scores", "s"]) == 8
    assert "UTF-8" in capfd.readouterr().err
    assert main(["stats", "roc", "--csv", str(tmp_path / "none.csv"), "--label", "y", "--scores", "s"]) == 8
    cut = ["km", "--csv", "x", "--time", "t", "--event", "e", "--cutoff", "1"]
    for argv in ([], ["anova"], ["roc", "--csv", "x"], cut):
        assert main(["stats", *argv]) == 2


@pytest.mark.parametrize(("flags", "words"), [
    (["--times", "nan", "1"], "--times nan"), (["--times", "1", "inf"], "--times inf"),
    (["--times=-inf"], "--times -inf"), (["--by", "a", "--cutoff", "nan"], "--cutoff nan"),
])
def test_an_option_that_is_no_number_is_named(flags: list[str], words: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "km", "--csv", "x", "--time", "t", "--event", "e", *flags]) == 2
    assert capfd.readouterr().err.strip() == f"bonemet: {words}; give a finite number"


def test_the_log_rank_test_shows_its_degrees_of_freedom(
    run_stats: Callable[..., dict[str, Any]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One group of three leaves before the first event, first or last by name: one degree of freedom, the same p."""
    table = _good().assign(g=np.arange(60) % 2)
    alone = run_stats("km", table, "--time", "t", "--event", "e", "--by", "g")
    assert (alone["logrank_df"], alone["logrank_reason"]) == (1, None)
    for name in ("-1", "7", "gone"):
        gone = pd.concat([table, table.head(5).assign(t=0.5, e=0, g=name)])
        found = run_stats("km", gone, "--time", "t", "--event", "e", "--by", "g")
        assert [found[f"logrank_{key}"] for key in ("chisq", "df", "p")] == pytest.approx(
            [alone[f"logrank_{key}"] for key in ("chisq", "df", "p")])
    only = run_stats("km", table.assign(t=table["t"].mask(table["g"] == 1, 0.1), e=table["e"].mask(table["g"] == 1, 0)),
                     "--time", "t", "--event", "e", "--by", "g")
    assert (only["logrank_chisq"], only["logrank_df"], only["logrank_p"]) == (0, 0, 1) and only["logrank_reason"]
    argv = ["stats", "km", "--csv", str(tmp_path / "table.csv"), "--time", "t", "--event", "e", "--by", "g"]
    assert main(argv) == 0 and "logrank_df: 0" in capfd.readouterr().out


def test_one_time_for_all_patients_is_told_as_by_r(run_stats: Callable[..., dict[str, Any]]) -> None:
    """R: survdiff(Surv(rep(7, 4), c(1, 0, 1, 1)) ~ c(0, 0, 1, 1)); coxph of the same table has no concordance."""
    table = pd.DataFrame({"t": 7, "e": [1, 0, 1, 1], "g": [0, 0, 1, 1], "x": [1.0, 2.0, 4.0, 3.0]})
    found = run_stats("km", table, "--time", "t", "--event", "e", "--by", "g")
    assert (found["logrank_chisq"], found["logrank_df"]) == pytest.approx((1, 1))
    cox = run_stats("cox", table.assign(e=1), "--time", "t", "--event", "e", "--covariates", "x")
    assert cox["concordance"] is None and cox["terms"][0]["coef"] == pytest.approx(0, abs=1e-12)


def test_rows_with_empty_cells_may_be_left_out(run_stats: Callable[..., dict[str, Any]]) -> None:
    table = _good()
    holes = table.assign(a=table["a"].mask(table.index % 7 == 0))
    found = run_stats("cox", holes, *_FLAGS["cox"], "--missing", "drop")
    assert found == run_stats("cox", table[table.index % 7 != 0], *_FLAGS["cox"])


def test_patients_with_several_rows_get_no_delong(run_stats: Callable[..., dict[str, Any]]) -> None:
    once = run_stats("roc", _good(), *_FLAGS["roc"], "--id", "id")
    assert once["s"]["ci95_delong"] and once["paired"]
    twice = run_stats("roc", pd.concat([_good(), _good()]), *_FLAGS["roc"], "--id", "id")
    assert twice["s"]["ci95_delong"] is None and twice["paired"] == [] and "several rows" in twice["s"]["reason"]
    assert twice["s"]["ci95_bootstrap"] == once["s"]["ci95_bootstrap"], "the same patients are drawn, with all rows"


def test_blank_lines_count_as_rows(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for text, words in (("\n\ny,s\n1,2\n\n0,x\n", "row 6, column s"), ("\n\ny;s\n1;2\n0;x\n", "row 5, column s"),
                        ("y,s\n\n\"1\n\",2\n0\n", "row 4; correct")):
        (tmp_path / "t.csv").write_text(text)
        assert main(["stats", "roc", "--csv", str(tmp_path / "t.csv"), "--label", "y", "--scores", "s"]) == 8
        assert words in capfd.readouterr().err


def test_a_score_named_as_a_result_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _good().rename(columns={"s": "n"}).to_csv(tmp_path / "t.csv", index=False)
    assert main(["stats", "roc", "--csv", str(tmp_path / "t.csv"), "--label", "y", "--scores", "n"]) == 8
    assert "a score is named 'n'" in capfd.readouterr().err


def test_a_bootstrap_too_large_for_memory_is_left_out(run_stats: Callable[..., dict[str, Any]]) -> None:
    """What is too large is told: leaving 40,000 patients out in turn, 1e9 weights of draws; DeLong's interval stays."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"y": np.arange(40_000) % 2, "s": rng.normal(size=40_000)})
    found = run_stats("roc", table, "--label", "y", "--scores", "s", "--draws", "100")["s"]
    assert found["bootstrap_method"] == "percentile" and "one by one" in found["bootstrap_reason"]
    assert np.allclose(found["ci95_bootstrap"], found["ci95_delong"], atol=0.002)
    told = run_stats("roc", table, "--label", "y", "--scores", "s", "--draws", "26000")
    assert told["n_bootstrap"] == 0 and told["s"]["ci95_bootstrap"] is None
    assert "lower the draws" in told["s"]["bootstrap_reason"]
    assert found["auc"] == pytest.approx(roc_auc_score(table["y"], table["s"])) and found["ci95_delong"]
    few = run_stats("roc", table.head(2000), "--label", "y", "--scores", "s", "--draws", "100")["s"]
    assert few["ci95_bootstrap"] and few["bootstrap_method"] == "bca" and few["bootstrap_reason"] is None


def test_selection_frequency(run_stats: Callable[..., dict[str, Any]]) -> None:
    strong = _good(200).assign(a=_good(200)["a"] + 2 * _good(200)["e"])
    frequency = run_stats("lasso-cox", strong, *_FLAGS["lasso-cox"], "--draws", "50")["selection_frequency"]
    assert frequency["a"] > 0.95 > frequency["b"] >= 0
    assert run_stats("lasso-cox", _good(200), *_FLAGS["lasso-cox"])["selection_frequency"] is None


def test_scores_that_differ_by_little_are_ordered_and_not_constant(tmp_path: Path) -> None:
    """The order of scores is all that counts, as in pROC: probabilities near 1 are no constant."""
    table = pd.DataFrame({"y": [0, 0, 1, 0, 1, 1], "s": [f"{1 - k * 1e-14:.16f}" for k in (6, 5, 4, 3, 2, 1)]})
    table.to_csv(tmp_path / "t.csv", index=False)
    report = tmp_path / "r.json"
    assert main(["stats", "roc", "--csv", str(tmp_path / "t.csv"), "--label", "y", "--scores", "s",
                 "--draws", "100", "--report", str(report)]) == 0
    assert json.loads(report.read_text())["results"]["s"]["auc"] == pytest.approx(8 / 9)


@pytest.mark.parametrize(("argv", "words"), [
    (["cox", "--time", "t", "--event", "e", "--covariates"], "--covariates names no column"),
    (["lasso-cox", "--time", "t", "--event", "e", "--covariates"], "--covariates names no column"),
    (["roc", "--label", "y", "--scores"], "--scores names no column"),
    (["cox", "--time", "t", "--event", "e", "--covariates", "a", "a"], "column 'a' is given as --covariates twice"),
    (["lasso-cox", "--time", "t", "--event", "e", "--covariates", "a", "a"], "'a' is given as --covariates twice"),
    (["roc", "--label", "y", "--scores", "s", "a", "s"], "column 's' is given as --scores twice"),
    (["roc", "--label", "y", "--scores", "y"], "column 'y' is given as --label and --scores"),
    (["cox", "--time", "t", "--event", "e", "--covariates", "t"], "column 't' is given as --time and --covariates"),
    (["km", "--time", "t", "--event", "e", "--by", "e"], "column 'e' is given as --event and --by"),
    (["table1", "--by", "g", "--columns", "a", "g"], "column 'g' is given as --by and --columns"),
    (["roc", "--label", "y", "--scores", "s", "--seed", "-1"], "--seed -1"),
    (["lasso-cox", "--time", "t", "--event", "e", "--covariates", "a", "--seed", str(2**32)], "--seed 4294967296"),
])  # fmt: skip
def test_flags_that_no_table_could_mend(
    argv: list[str], words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _good().to_csv(tmp_path / "t.csv", index=False)
    assert main(["stats", argv[0], "--csv", str(tmp_path / "t.csv"), *argv[1:]]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert words in line
