"""`bonemet audit`: lines, report, exit codes; files that are no tables."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bonemet_jax.audit.audit import EXAMPLE
from bonemet_jax.audit.rules import RULES
from bonemet_jax.cli import main

ROW = '{"no": [1.0, 1.0, 0.0, 2.0, 1.0, 1.0, 1.0], "yes": [1.0, 1.0, 0.0, 2.0, 1.0, 1.0, 1.0]}'
GROUPS = 'groups: {"no": 9, "yes": 9}\n'
#: What is in the file -> what the one line says.
BAD: dict[str, tuple[str | bytes, str]] = {
    "not YAML": ("groups: [1", "not valid YAML"),
    "no text": (b"\xff\xfe\x00", "not a text file"),
    "control characters": ("groups: \x01", "not valid YAML"),
    "nothing in it": ("", "0 YAML documents"),
    "two documents": ("a: 1\n---\nb: 2", "2 YAML documents"),
    "aliases": ("a: &a [1, 2]\nb: [*a, *a]", "an alias (*a)"),
    "an object": ("groups: !!python/object/apply:os.system [ls]", "a tag (!)"),
    "a key twice": (GROUPS + "table2: {lvi: [1, 1, 1, 1, 1], lvi: [1, 1, 1, 1, 1]}", "'lvi' comes twice, line 2"),
    "a bomb of brackets": ("[" * 100_000, "deeper than 10 levels"),
    "far too many values": (f"a: [{'1,' * 60_000}]", "more than 50000 values"),
    "more than 1 MB": ("# " + "x" * 1_000_000, "larger than 1 MB"),
    "a list": ("[1, 2]", "a mapping is wanted here"),
    "no table": (GROUPS, "no table in the file"),
    "an unknown part": (GROUPS + "tabel2: {}", "tabel2; the parts are"),
    "no groups": (f"table1_continuous: {{age_years: {ROW}}}", "groups are missing"),
    "a group of nobody": ('groups: {"no": 0}\ntable2: {}', "groups.no"),
    "six statistics": (GROUPS + 'table1_continuous: {age: {"no": [1, 2, 3, 4, 5, 6]}}', "6 values, 7 are wanted"),
    "no number": (GROUPS + "table2: {lvi: [1, big, 1, 1, 0.5]}", "table2.lvi[1]"),
    "a decimal comma": (GROUPS + 'table2: {lvi: ["1,5", 1, 1, 1, 0.5]}', "'1,5' is no number"),
    "a p above 1": (GROUPS + "table2: {lvi: [1, 1, 1, 1, 1.5]}", "'1.5' is no p value"),
    "half a patient": (GROUPS + 'table1_counts: {er: {levels: {"yes": {"no": [1.5, 20]}}}}', "is no whole number"),
    "an unknown group": (GROUPS + 'table1_counts: {er: {levels: {"yes": {maybe: [1, 20]}}}}', "'maybe' is not known"),
    "an unknown doubt": (GROUPS + f"table1_continuous: {{age: {ROW[:-1]}, doubtful: [no.q9]}}}}", "names nothing"),
    "an unknown claim": (GROUPS + "table2: {hr_is: guess}", "'guess' is none of exp_coef, refit"),
    "a pair of nothing": (GROUPS + f"table1_continuous: {{age: {ROW}}}\npairs: {{sfi: sfa}}", "no continuous variable"),
    "a cut-off without value": (GROUPS + "sfi_cutoff: {sens: 0.5}", "one value_UNIT is wanted"),
    "half a formula": ("table2: {}\nformulas: [{text: a}]", "of and text are wanted"),
}


def _run(argv: list[str], capfd: pytest.CaptureFixture[str]) -> tuple[int, list[str], list[str]]:
    code = main(["audit", *argv])
    told = capfd.readouterr()
    return code, told.out.splitlines(), told.err.splitlines()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line_and_exit_8(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content, said = BAD[name]
    file = tmp_path / "tables.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    code, out, err = _run([str(file)], capfd)
    assert (code, out, len(err)) == (8, [], 1)
    assert err[0].startswith("bonemet: ") and said in err[0] and "tables.yaml" in err[0]


def test_a_missing_file_and_a_folder_are_one_line_and_exit_8(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for path, said in ((tmp_path / "absent.yaml", "No such file"), (tmp_path, "no finished run")):
        code, out, err = _run([str(path)], capfd)
        assert (code, out, len(err)) == (8, [], 1) and said in err[0]


@pytest.mark.parametrize("argv", [[], [str(EXAMPLE), "--example"], ["a", "b"]])
def test_usage_is_exit_2(argv: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = _run(argv, capfd)
    assert (code, out, len(err)) == (2, [], 1)


def test_the_example_contradicts_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A line a finding and a count; the report holds the same."""
    code, out, err = _run(["--example", "--report", str(tmp_path / "report.json")], capfd)
    assert code == 8 and err == []
    report = json.loads((tmp_path / "report.json").read_text())
    results = report["results"]
    assert report["exit_code"] == 8 and report["inputs"].keys() == {str(EXAMPLE)}
    assert set(results) == {"n_errors", "n_warnings", "findings", "n_checked"}
    assert set(results["n_checked"]) == set(RULES)
    assert len(out) == results["n_errors"] + results["n_warnings"] + 1 == len(results["findings"]) + 1
    assert [f["severity"] for f in results["findings"]] == (
        ["error"] * results["n_errors"] + ["warning"] * results["n_warnings"])
    assert all(set(f) == {"rule", "severity", "where", "printed", "expected", "what"} for f in results["findings"])
    assert all(f["where"] in line and f["rule"] in line for f, line in zip(results["findings"], out, strict=False))
    counted = f"{results['n_errors']} errors, {results['n_warnings']} warnings"
    n = sum(results["n_checked"].values())
    assert out[-1] == f"verdict: contradicts itself: {counted} in {n} comparisons; {EXAMPLE}"


def test_clean_tables_are_exit_0(clean: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tables.yaml"
    file.write_text(yaml.safe_dump(clean))
    code, out, _ = _run([str(file), "--report", str(tmp_path / "report.json")], capfd)
    assert code == 0 and len(out) == 1 and out[0].startswith("verdict: no contradiction: 0 errors, 0 warnings in ")
    assert json.loads((tmp_path / "report.json").read_text())["results"]["findings"] == []


def test_warnings_alone_are_exit_0(clean: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clean["table2"]["x_cm2"] = ["0.0050", "1.005", "0.999", "1.011", "0.083"]
    file = tmp_path / "tables.yaml"
    file.write_text(yaml.safe_dump(clean))
    code, out, _ = _run([str(file)], capfd)
    assert code == 0 and out[0].startswith("warning: table2.x_cm2.p: ") and len(out) == 2


def test_help_loads_nothing_heavy() -> None:
    snippet = ("import sys\nfrom bonemet_jax.cli import main\ntry:\n    main(['audit', '--help'])\n"
               "except SystemExit:\n    pass\n"
               "assert not {'jax', 'numpy', 'scipy', 'pandas', 'yaml'} & set(sys.modules)")
    done = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "[PATH]" in done.stdout, done.stderr


def test_no_jax_is_loaded(find: Callable[[Any], Any]) -> None:
    snippet = ("import sys\nfrom bonemet_jax.audit.audit import EXAMPLE, audit\nassert audit(EXAMPLE)\n"
               "assert not {'jax', 'tensorflow', 'sksurv'} & set(sys.modules)")
    done = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_damaged_characters_never_crash(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every 197th character of the example replaced: findings or one line, never a traceback."""
    text = EXAMPLE.read_text()
    for i, place in enumerate(range(400, len(text), 197)):
        file = tmp_path / f"{i}.yaml"
        file.write_text(text[:place] + "]}:,\"-x0&*"[i % 10] + text[place + 1:])
        code, out, err = _run([str(file)], capfd)
        assert code in (0, 8) and (bool(out) != bool(err)) and len(err) <= 1
