"""`bonemet stats`: which cells are one level, which are missing, and what is said of rows left out (decision 0033).

R's values: R 4.2.2 on the same table, read.csv(na.strings = "").
"""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bonemet_jax import artifacts
from bonemet_jax.cli import main
from bonemet_jax.patient_ids import quote

pytestmark = pytest.mark.filterwarnings("error")


class Ran(NamedTuple):
    """How the command ended."""

    exit_code: int
    results: dict[str, Any]
    table: dict[str, Any]
    """How the CSV was read."""
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """One statistic on the text of a CSV."""

    def run(name: str, text: str, *flags: str) -> Ran:
        (tmp_path / "t.csv").write_text(text, encoding="utf-8")
        argv = ["stats", name, "--csv", str(tmp_path / "t.csv"), *flags, "--report", str(tmp_path / "r.json")]
        code, told = main(argv), capfd.readouterr()
        report = artifacts.load_json(tmp_path / "r.json")
        assert report["exit_code"] == code and len(told.err.splitlines()) == (code != 0), told.err
        return Ran(code, report.get("results", {}), report.get("table", {}), told.out, told.err)

    return run


def _column(cells: Sequence[str], n: int = 24) -> str:
    """A column `c` that repeats these cells, each once in group 0 and once in group 1."""
    return "g,c\n" + "".join(f"{i % 2},{cells[i // 2 % len(cells)]}\n" for i in range(n))


def _table() -> str:
    """Forty rows; `age` and `grade` have gaps in different rows, and one treatment is called none."""
    rows = [(
        "ab"[i % 2], "" if i < 6 else str(40 + (i * 7) % 23 + 3 * (i % 2)),
        "" if 10 <= i < 18 else str(1 + (i * i + i % 2) % 3), ("none", "chemo", "endocrine")[(i * 5 + i // 7) % 3],
        1 + (i * 11) % 37, int(i % 3 != 0),
    ) for i in range(40)]
    return "g,age,grade,drug,t,e\n" + "".join(f"{','.join(map(str, row))}\n" for row in rows)


# --- Levels -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("cells", "levels"), [
    (["0", "0.0", "-0", "1", "1e0", "+1", "1."], ["0", "1"]),
    (["1000", "1e3", "2"], ["2", "1000"]),
    (["1.50", "1.5", ".5"], ["0.5", "1.5"]),
    (["yes ", " yes", "yes\u00a0", "no"], ["no", "yes"]),
    (["1", "1.0", "unknown"], ["1", "unknown"]),
    (["01", "02", "03"], ["01", "02", "03"]),
    (["I", "I-II", "III"], ["I", "I-II", "III"]),
    (["<0.05", "<0.5", ">=0.5"], ["<0.05", "<0.5", ">=0.5"]),
    (["+", "-"], ["+", "-"]),
    (["inf", "x"], ["inf", "x"]),
    (["1_0", "10", "0x10"], ["10", "0x10", "1_0"]),
    (["Jos\u00e9", "Jose\u0301", "Ann"], ["Ann", "Jos\u00e9"]),
])
def test_cells_of_one_level(run: Run, cells: list[str], levels: list[str]) -> None:
    for flags in (("table1", "--by", "g"), ("km", "--time", "g2", "--event", "e", "--by", "c")):
        rows = _column(cells).splitlines()
        text = "\n".join(["g,c,g2,e", *(f"{row},{i % 7 + 1},1" for i, row in enumerate(rows[1:]))])
        ran = run(flags[0], text, *flags[1:], *(["--columns", "c"] if flags[0] == "table1" else []))
        assert ran.exit_code == 0, ran.err
        found = list(ran.results["c"]["counts"]["0"]) if flags[0] == "table1" else [
            group["label"].removeprefix("c ") for group in ran.results["groups"]]
        assert sorted(found) == sorted(levels)


@pytest.mark.parametrize(("cells", "words"), [
    (["Yes", "yes", "no"], "'Yes' and 'yes' (case)"),
    (["TRUE", "true", "True"], "'TRUE' and 'True' (case), 'TRUE' and 'true' (case)"),
    (["01", "1", "2"], "'1' and '01' (leading zeros)"),
    (["stage I", "stage\u00a0I", "x"], "'stage\\u00a0I'"),
    (["yes", "yes\u200b", "no"], "'yes\\u200b' (invisible characters)"),
    (["1", "\uff11", "2"], "'\\uff11'"),
    (["A", "\u0410", "B"], "letters of another script"),
    (["pre-op", "pre\u2013op", "x"], "the kind of dash"),
    (["grade 2", "grade2", "x"], "blanks"),
    (["0.3", "0.30000000000000004", "1"], "'0.3' and '0.30000000000000004' (rounding)"),
    (["12345678901234567890", "12345678901234567891"], "(rounding)"),
    (['"1,0"', '"0,5"', "1"], "column 'c' holds numbers with a comma, such as '1,0'"),
])
def test_levels_that_look_alike_are_refused_by_name(run: Run, cells: list[str], words: str) -> None:
    ran = run("table1", _column(cells), "--by", "g", "--categorical", "c")
    assert ran.exit_code == 8 and words in ran.err, ran.err


def test_groups_written_in_two_ways_are_two(run: Run) -> None:
    once = run("table1", "g,c\n" + "".join(f"{i % 2},{i * 7 % 11}\n" for i in range(30)), "--by", "g")
    twice = run("table1", "g,c\n" + "".join(f"{('0', '1', '0.0', '1.0')[i % 4]},{i * 7 % 11}\n" for i in range(30)),
                "--by", "g")
    assert once.results == twice.results and list(once.results["c"]["quartiles"]) == ["0", "1"]


def test_composed_and_decomposed_text_is_one_level_and_named(run: Run) -> None:
    ran = run("table1", _column(["Jos\u00e9", "Jose\u0301", "Ann"]), "--by", "g")
    assert ran.table["notes"] == ["column c: 'Jose\\u0301' is read as 'José', the same text in Unicode's composed form"]


def test_ids_are_text_and_those_that_look_alike_are_named(run: Run) -> None:
    text = "y,s,id\n" + "".join(f"{i % 2},{i * i % 19 + i % 2},{i}\n" for i in range(3, 24))
    text += "0,3,007\n0,4,7.0\n"
    ran = run("roc", text, "--label", "y", "--scores", "s", "--draws", "200", "--id", "id")
    assert ran.exit_code == 0 and ran.results["n_patients"] == 23
    assert "look alike, not joined: '007' and '7' (leading zeros)" in ran.table["notes"][0]
    assert "'7.0'" in ran.table["notes"][0] and ran.table["notes"][0] in ran.out


def test_a_patient_of_both_labels_is_named(run: Run) -> None:
    text = "y,s,id\n" + "".join(f"{i % 2},{i},{i // 2}\n" for i in range(24))
    ran = run("roc", text, "--label", "y", "--scores", "s", "--id", "id")
    assert ran.exit_code == 8 and "patient '0' has both labels in 'y'" in ran.err


def test_signs_that_move_the_cursor_are_spelled_out(run: Run) -> None:
    ran = run("table1", _column(["x", "z\x1b[31m", '"a\nb"']), "--by", "g")
    assert ran.exit_code == 0 and "\x1b" not in ran.out and "z\\x1b[31m 4" in ran.out and "a\\nb 4" in ran.out


# --- Missing values ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("word", ["None", "none", "NA", "NaN", "nan", "null", "n/a", ".", "unknown", "#N/A"])
def test_a_word_among_words_is_a_level_and_named(run: Run, word: str) -> None:
    for missing in ("refuse", "drop"):
        ran = run("table1", _column([word, "chemo", "endocrine"]), "--by", "g", "--missing", missing)
        assert ran.exit_code == 0 and ran.results["c"]["counts"]["0"][word] == 4
        assert ran.table["left_out"] == {"rows": 0, "by_column": {}} and ran.table["missing"] == {}
        assert f"'{word}' (8 cells) is read as a value, not as missing" in ran.table["notes"][0]
        assert f"add --missing-codes {shlex.quote(f'c={word}')}\n" in ran.out


@pytest.mark.parametrize("word", ["NA", "NaN", "nan", "null", "n/a", ".", "", '""', " ", "\u00a0", "\u200b"])
def test_a_word_of_programs_among_numbers_is_missing(run: Run, word: str) -> None:
    text = _column(["0", "1", word])
    refused = run("table1", text, "--by", "g")
    shown = "empty" if not word.strip('" \u00a0\u200b') else f"'{word}'"
    assert refused.exit_code == 8 and f"8 missing values: c 8 ({shown}); " in refused.err
    assert "row 6, column c" in refused.err and "--missing drop" in refused.err
    ran = run("table1", text, "--by", "g", "--missing", "drop")
    assert ran.results["c"]["counts"] == {"0": {"0": 4, "1": 4}, "1": {"0": 4, "1": 4}}
    assert (ran.results["c"]["n"], ran.results["c"]["n_missing"]) == ([8, 8], [4, 4])
    assert sum(ran.table["missing"]["c"].values()) == 8 and ran.table["notes"] == []


@pytest.mark.parametrize(("cells", "code", "n_missing"), [
    (["0", "1", "999"], "999", 8), (["0", "1", "999.0"], "c=999", 8), (["0", "1", "-1"], "-1", 8),
    (["a", "b", "Unknown"], "c=unknown", 8), (["a", "b", "not known"], "c=not known", 8),
    (["a", "b", "\uff19"], "9", 8), (["0", "1", "none"], "none", 8),
])
def test_declared_codes(run: Run, cells: list[str], code: str, n_missing: int) -> None:
    text = _column(cells)
    ran = run("table1", text, "--by", "g", "--missing", "drop", "--missing-codes", code)
    assert ran.exit_code == 0, ran.err
    assert ran.table["missing"] == {"c": {cells[2]: n_missing}} and ran.results["c"]["n_missing"] == [4, 4]
    assert ran.table["notes"] == [] and f"c {n_missing} ({quote(cells[2])})" in ran.out
    assert run("table1", text, "--by", "g", "--missing-codes", code).exit_code == 8


def test_codes_without_effect_and_of_no_column_are_named(run: Run) -> None:
    text = "g,lvi,d\n" + "".join(f"{i % 2},{i // 2 % 2},x\n" for i in range(20))
    ran = run("table1", text, "--by", "g", "--columns", "lvi", "--missing-codes", "lvi=9", "d=x", "888")
    assert ran.exit_code == 0 and ran.table["notes"] == [
        "no cell of column lvi holds the missing code '9'",
        "column d is not used: its missing code 'x' has no effect",
        "no cell of the columns used holds the missing code '888'",
    ]
    assert all(f"note: {note}" in ran.out for note in ran.table["notes"])
    unknown = run("table1", text, "--by", "g", "--missing-codes", "lvj=9")
    assert unknown.exit_code == 8 and "no column 'lvj'" in unknown.err and "such as lvi" in unknown.err
    assert run("table1", text, "--by", "g", "--missing-codes", "lvi=").exit_code == 2


def test_numbers_often_written_for_unknown_are_named(run: Run) -> None:
    text = "t,e,x\n" + "".join(f"{i + 1},{i % 2},{999 if i % 5 == 0 else i * 7 % 11}\n" for i in range(30))
    flags = ("--time", "t", "--event", "e", "--covariates", "x")
    ran = run("cox", text, *flags)
    assert "column x: '999' (6 cells) is read as a value" in ran.table["notes"][0] and ran.results["n"] == 30
    declared = run("cox", text, *flags, "--missing-codes", "x=999", "--missing", "drop")
    assert declared.table["notes"] == [] and declared.results["n"] == 24


# --- Table 1 over the known values ------------------------------------------------------------------------

def test_each_column_of_table1_uses_its_known_values(run: Run) -> None:
    flags = ("--by", "g", "--columns", "age", "grade", "drug")
    ran = run("table1", _table(), *flags, "--missing", "drop")
    age, grade, drug = (ran.results[name] for name in ("age", "grade", "drug"))
    assert [age["student_p"], age["welch_p"], age["wilcoxon_p"]] == pytest.approx(
        [0.431350859380182, 0.431359838199951, 0.427819498507754], abs=1e-12)
    assert age["mean"] == pytest.approx([51.9411764705882, 53.8235294117647])
    assert age["sd"] == pytest.approx([6.74972766335145, 7.01992961251791])
    assert (age["n"], age["n_missing"]) == ([17, 17], [3, 3])
    assert grade["chisq_p"] == pytest.approx(0.000203468369010644, abs=1e-12)
    assert grade["fisher_p"] == pytest.approx(7.54142054110262e-05, rel=1e-6)
    assert grade["counts"]["a"] == {"1": 6, "2": 10, "3": 0} and grade["n"] == [16, 16]
    assert drug["chisq_p"] == pytest.approx(0.927867524497541, abs=1e-12) and drug["n_missing"] == [0, 0]
    assert ran.table["missing"] == {"age": {"": 6}, "grade": {"": 8}} and ran.table["left_out"]["rows"] == 0
    assert "missing, each column over its known values: age 6 (empty), grade 8 (empty)" in ran.out
    refused = run("table1", _table(), *flags)
    assert refused.exit_code == 8 and "14 missing values: age 6 (empty), grade 8 (empty)" in refused.err
    assert "row 2, column age" in refused.err and "known values with --missing drop" in refused.err


def test_rows_without_a_group_are_left_out_and_counted(run: Run) -> None:
    text = "g,c\n" + "".join(f"{('0', '1', '', '1.0', 'NA')[i % 5]},{i * 7 % 11}\n" for i in range(40))
    ran = run("table1", text, "--by", "g", "--missing", "drop")
    assert ran.results["c"]["n"] == [8, 16] and ran.table["n_rows"] == 40
    assert ran.table["left_out"] == {"rows": 16, "by_column": {"g": 16}}
    assert "left out: 16 of 40 rows with a missing value: g 16 (8 empty, 8 'NA')" in ran.out


@pytest.mark.parametrize(("text", "flags", "words"), [
    (_column(["", "NA"]), ("--missing", "drop"), "column 'c' has no known value"),
    (_column(["x", ""]), ("--missing", "drop"), "column 'c' is constant, 'x' in every row with a value"),
    (_column(["1.0", "1"]), (), "column 'c' is constant, '1' in every row"),
    (_column(["0.3", "0.30000000000000004"]), ("--continuous", "c"), "constant but for rounding, 0.3 in every row"),
    (_column([*"01234567", "4O"]), (), "'4O' is not a finite number"),
    (_column([*"01234567", "inf"]), (), "'inf' is not a finite number"),
    (_column([*"01234567", "none"]), (), "if it means missing, add --missing-codes c=none"),
    (_column(["1", "2"]), ("--continuous", "c", "--categorical", "c"), "as categorical and as continuous"),
    (_column(["1", "2"]), ("--categorical", "d"), "no column 'd'"),
    (_column(["1", "2"]).replace("g,c", "g,cc"), ("--columns", "cc", "--categorical", "g"), "is not described"),
    ("g,c\n" + "x,1\nNA,2\ny,3\n" * 4, (), "'g' has 3 groups ('NA', 'x', 'y')"),
    ("g,c\n" + "x,1\n,2\n" * 9, ("--missing", "drop"), "'g' has 1 groups ('x'), Table 1 compares two; "),
    ("g,c\n" + ",1\n,2\n" * 9, ("--missing", "drop"), "no row has a value in every column used: g 18 (empty)"),
])
def test_reasons_of_table1(run: Run, text: str, flags: tuple[str, ...], words: str) -> None:
    ran = run("table1", text, "--by", "g", *flags)
    assert ran.exit_code == 8 and words in ran.err, ran.err


def test_a_column_known_in_one_group_has_a_reason(run: Run) -> None:
    text = "g,c,d\n" + "".join(f"{i % 2},{'' if i % 2 else i},{'' if i % 2 else 'xy'[i // 2 % 2]}\n" for i in range(24))
    ran = run("table1", text, "--by", "g", "--missing", "drop")
    assert ran.results["c"]["reason"] == "groups of 12 and 0 known values" and ran.results["c"]["student_p"] is None
    assert ran.results["d"]["reason"] == "one group alone has known values" and ran.results["d"]["n"] == [12, 0]


# --- Rows left out of the other statistics ----------------------------------------------------------------

@pytest.mark.parametrize(("name", "flags", "missing"), [
    ("roc", ("--label", "y", "--scores", "x", "--draws", "200"), {"y": 2, "x": 5}),
    ("cox", ("--time", "t", "--event", "y", "--covariates", "x"), {"y": 2, "x": 5}),
    ("lasso-cox", ("--time", "t", "--event", "y", "--covariates", "x"), {"y": 2, "x": 5}),
    ("km", ("--time", "t", "--event", "y", "--by", "x", "--cutoff", "5"), {"y": 2, "x": 5}),
    ("km", ("--time", "t", "--event", "y", "--by", "w"), {"y": 2}),
])
def test_rows_left_out_are_printed_and_reported(run: Run, name: str, flags: tuple[str, ...],
                                                missing: dict[str, int]) -> None:
    rows = [[str(i * 13 % 47 + 1), str(i % 2), str(i * 7 % 11), ("NA", "none", "v")[i % 3]] for i in range(47)]
    for i in (3, 8):
        rows[i][1] = "."
    for i in (8, 10, 11, 12, 13):
        rows[i][2] = "NA" if i < 11 else ""
    text = "t,y,x,w\n" + "".join(f"{','.join(row)}\n" for row in rows)
    assert run(name, text, *flags).exit_code == 8
    ran = run(name, text, *flags, "--missing", "drop")
    n = 6 if "x" in missing else 2
    assert ran.exit_code == 0, ran.err
    assert ran.table["n_rows"] == 47 and ran.table["left_out"] == {"rows": n, "by_column": missing}
    named = "y 2 ('.')" + (", x 5 (3 empty, 2 'NA')" if "x" in missing else "")
    assert f"left out: {n} of 47 rows with a missing value: {named}\n" in ran.out
    kept = [row for row in rows if row[1] != "." and ("x" not in missing or row[2].isdigit())]
    again = run(name, "t,y,x,w\n" + "".join(f"{','.join(row)}\n" for row in kept), *flags)
    assert again.results == ran.results and "left out" not in again.out
    assert again.table["left_out"] == {"rows": 0, "by_column": {}}


def test_a_level_called_none_in_survival(run: Run) -> None:
    flags = ("km", _table(), "--time", "t", "--event", "e", "--by", "drug")
    ran = run(*flags)
    assert ran.results["logrank_chisq"] == pytest.approx(1.3767372255761, abs=1e-9) and len(ran.results["groups"]) == 3
    declared = run(*flags, "--missing-codes", "drug=none", "--missing", "drop")
    assert declared.results["logrank_chisq"] == pytest.approx(4.48312084770111, abs=1e-9)
    assert declared.table["left_out"] == {"rows": 17, "by_column": {"drug": 17}}


@pytest.mark.parametrize(("flags", "words"), [
    (("--by", "g", "--missing", "drop"), "constant, 'a' in every row; {}, without the 10 of 20 rows left out"),
    (("--by", "x", "--cutoff", "4"), "no value is at or above 4, they range from 1 to 3"),
    (("--by", "x", "--cutoff", "1"), "no value is below 1, they range from 1 to 3"),
    (("--by", "x", "--cutoff", "nan"), "--cutoff nan; give a finite number"),
    (("--by", "id"), "'id' has 20 groups, more than 12"),
])
def test_reasons_of_groups(run: Run, tmp_path: Path, flags: tuple[str, ...], words: str) -> None:
    text = "t,e,g,x,id\n" + "".join(
        f"{i + 1},{i % 3 % 2},{'a' if i % 2 else ''},{i % 3 + 1},{i}\n" for i in range(20))
    ran = run("km", text, "--time", "t", "--event", "e", *flags)
    assert ran.exit_code and words.format(tmp_path / "t.csv") in ran.err, ran.err


def test_the_cutoff_belongs_to_the_upper_group_and_is_named_in_full(run: Run) -> None:
    text = "t,e,x\n" + "".join(f"{i + 1},{i % 2},{('1.0', '2', '2.0', '3')[i % 4]}\n" for i in range(20))
    flags = ("km", text, "--time", "t", "--event", "e", "--by", "x")
    assert [group["n"] for group in run(*flags, "--cutoff", "2").results["groups"]] == [5, 15]
    assert run(*flags, "--cutoff", "2.123456789").results["groups"][0]["label"] == "x < 2.123456789"


@pytest.mark.parametrize(("text", "words"), [
    ("y;s\n" + "0;1,5\n1;2,5\n" * 5, "'1,5' is not a finite number"),
    ("y,s\n" + "FALSE,1\nTRUE,2\n" * 5, "'FALSE' is not a finite number; {}, row 2, column y; correct the cell"),
    ("y,s\n0,1\n1,NA\n0,high\n1,3\n", "'high' is not a finite number"),
    ("y,s\n0,1\n1,1e400\n0,2\n", "'1e400' is not a finite number"),
    ("y,s\n0,1\n1,\uff12\n0,2\n", "'\\uff12' is not a finite number"),
])
def test_cells_that_are_no_numbers(run: Run, tmp_path: Path, text: str, words: str) -> None:
    ran = run("roc", text, "--label", "y", "--scores", "s")
    assert ran.exit_code == 8 and words.format(tmp_path / "t.csv") in ran.err, ran.err


@pytest.mark.parametrize(("header", "asked"), [
    ("e\u0301tat", "\u00e9tat"), ("\u00e9tat", "e\u0301tat"), ("c\u200b", "c"), ("SFI\u00a0cm2", "SFI cm2"),
    (" c ", "c"),
])  # fmt: skip
def test_a_column_is_found_by_the_name_that_a_reader_sees(run: Run, header: str, asked: str) -> None:
    text = _column(["1", "2", "4"]).replace("g,c\n", f"g,{header}\n")
    found = run("table1", text, "--by", "g", "--columns", asked, "--missing-codes", f"{asked}=4", "--missing", "drop")
    assert found.exit_code == 0 and found.results[asked]["n_missing"] == [4, 4]


def test_headers_that_look_the_same_are_one_name(run: Run) -> None:
    assert "comes twice" in run("table1", "g,e\u0301,\u00e9\n0,1,2\n1,2,3\n", "--by", "g").err


@pytest.mark.parametrize(("cell", "remedy"), [
    ("1,234", "write 1.234 or 1234, whichever is meant"), ("1,5", "write a decimal point"),
    ("1,234,567", "leave out the separator of thousands"), ("1,234.5", "leave out the separator of thousands"),
])  # fmt: skip
def test_a_comma_in_a_number_is_explained(run: Run, cell: str, remedy: str) -> None:
    told = run("cox", f't,e,x\n1,1,"{cell}"\n2,1,2\n3,0,1\n', "--time", "t", "--event", "e", "--covariates", "x").err
    assert remedy in told


def test_every_code_beyond_the_numbers_is_named(run: Run) -> None:
    notes = run("table1", _column(["3", "999", "2", "888", "1", "-9"]), "--by", "g").table["notes"]
    assert [code for code in ("999", "888", "-9") if any(f"'{code}'" in note for note in notes)] == ["999", "888", "-9"]
    assert run("table1", _column(["3", "999", "2", "1200"]), "--by", "g").table["notes"] == []


def test_numbers_that_differ_by_rounding_are_told_where_they_are_compared(run: Run) -> None:
    text = "t,e,y,x\n" + "".join(f"{i},1,{i % 2},{x}\n" for i, x in enumerate(
        ("0.09999999999999998", "0.05", "0.2", "0.1", "0.3", "0.15"), start=1))
    km = ("--time", "t", "--event", "e", "--by", "x")
    (note,) = run("km", text, *km, "--cutoff", "0.1").table["notes"]
    assert "0.09999999999999998 and 0.1 differ by rounding alone; it is compared with the cut-off exactly" in note
    assert run("km", text, *km, "--cutoff", "0.12").table["notes"] == []
    (note,) = run("roc", text, "--label", "y", "--scores", "x").table["notes"]
    assert "are compared as two values" in note


def test_a_spreadsheets_first_line_is_named(run: Run) -> None:
    told = run("table1", "sep=;\ng;c\n0;1\n1;2\n", "--by", "g").err
    assert "the first line, 'sep=;', is a spreadsheet's own" in told and "delete it" in told
