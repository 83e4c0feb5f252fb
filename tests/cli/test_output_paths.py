"""Every option that writes against every kind of path: nothing is overwritten, and bad paths end with exit code 2."""

import dataclasses
import importlib
import os
import re
import stat
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.__main__ import main as benchmarks_main
from bonemet_jax import artifacts
from bonemet_jax.cli import main
from bonemet_jax.cli.path_flags import CONFIG_PATHS, READS, RUN, WRITES, find_check, find_named_paths
from bonemet_jax.cli.verb_report import CommonArgs
from bonemet_jax.cli.verbs import VERBS
from bonemet_jax.config import Config, to_dict
from bonemet_jax.errors import UsageError
from bonemet_jax.output_paths import RUN_ENTRIES, check_local, check_output_folder, has_scheme, is_within
from bonemet_jax.study.run import Run as RunFolder
from bonemet_jax.study.stages import STAGES

ROOT = Path(__file__).parents[2]
SMOKE = str(ROOT / "configs" / "smoke.py")
#: Kind of path -> whether the path must be refused before any work.
KINDS = {
    "existing foreign file": True, "the input itself": True, "in an input folder": True, "file of a run": True,
    "in a cohort": True, "link to the input": True, "hard link to the input": True, "dangling link": True,
    "folder": True, "device": True, "pipe": True, "socket": True, "below a file": True, "missing parent": False,
    "scheme": True, "scheme as pathlib has it": True,
}  # fmt: skip
Argv = Callable[[SimpleNamespace, str], list[str]]
#: (dataclass, field) -> command lines that write there.
COMMANDS: dict[tuple[str, str], list[Argv]] = {
    ("CommonArgs", "report"): [
        lambda p, out: ["verify", "-i", p.folder, "--clinical", p.file, "--report", out],
        lambda p, out: ["stats", "table1", "--csv", p.file, "--by", "g", f"--report={out}"],
        lambda p, out: ["audit", p.file, "--report", out],
        lambda p, out: ["measure", "-i", p.folder, p.file, "-o", p.free, "--report", out],
        lambda p, out: ["measure", "-i", p.folder, p.file, "--no-such-flag", "--report", out],
        lambda p, out: ["run", SMOKE, "-o", p.free, "--cohort-dir", p.cohort, "--folds.file", p.file, "--report", out],
    ],
    ("PlaceArgs", "output"): [
        lambda p, out: ["measure", "-i", p.folder, "--clinical", p.file, "-o", out],
        lambda p, out: ["ingest", "-i", p.folder, "--masks", p.file, "-o", out],
    ],
    ("CheckedArgs", "output"): [lambda p, out: ["verify", "-i", p.folder, "--clinical", p.file, "-o", out]],
    ("BuildArgs", "output"): [lambda p, out: ["build", "-i", p.folder, "-o", out]],
    ("CopyArgs", "output"): [lambda p, out: ["configs", "copy", "smoke", out]],
    ("ExportArgs", "output"): [lambda p, out: ["export", p.run, "-o", out]],
    ("PhantomArgs", "output"): [lambda p, out: ["phantom", "-o", out]],
    ("PhantomArgs", "dicom"): [lambda p, out: ["phantom", "-o", p.free, "--dicom", out]],
    ("PredictArgs", "output"): [lambda p, out: ["predict", "--run", p.run, "-i", p.folder, "-o", out]],
    ("JoinedArgs", "output"): [lambda p, out: ["report", "--runs", p.run, "-o", out]],
    ("StageArgs", "output"): [
        lambda p, out: ["fuse", SMOKE, "--cohort-dir", p.folder, "-o", out],
        lambda p, out: ["cv", SMOKE, "--folds.file", p.file, "-o", out],
    ],
    ("TrainArgs", "dump_hlo"): [
        lambda p, out: ["cv", SMOKE, "-o", p.free, "--cohort-dir", p.folder, "--dump-hlo", out],
    ],
    ("WeightsArgs", "output"): [lambda p, out: ["weights", "import", p.file, "-o", out]],
}
BENCHMARKS: dict[str, Argv] = {
    "--json": lambda p, out: ["checkpoint", "--quick", "--json", out],
    "export -o": lambda p, out: ["export", "--to", "markdown", p.file, "-o", out],
    "plot -o": lambda p, out: ["plot", p.file, "-o", out],
    "compare --json": lambda p, out: ["compare", p.file, p.file, "--json", out],
    "sweep --json": lambda p, out: ["sweep", "--config", p.file, "--json", out],
    "sweep -o": lambda p, out: ["sweep", "--config", p.file, "-o", out],
    "aot --json": lambda p, out: ["aot", "--figures", p.file, "--json", out],
    "aot --plot": lambda p, out: ["aot", "--figures", p.file, "--plot", out],
    "aot --dump": lambda p, out: ["aot", "--config", p.file, "--figures", p.file, "--dump", out],
}


def list_args() -> Iterator[type[Any]]:
    """The flags' dataclasses of all verbs."""
    for path in sorted((ROOT / "bonemet_jax" / "cli").glob("*.py")):
        importlib.import_module(f"bonemet_jax.cli.{path.stem}")
    found = [CommonArgs]
    for kind in found:
        found += kind.__subclasses__()
        yield kind


def find_path_fields(kind: type[Any]) -> set[str]:
    hints = typing.get_type_hints(kind)
    return {one.name for one in dataclasses.fields(kind) if re.search(r"\bPath\b", str(hints[one.name]))}


def test_every_path_is_either_read_or_written() -> None:
    """A new option with a path that is in neither table, or in both, fails here."""
    kinds = list(list_args())
    assert len(kinds) > len(VERBS)
    for kind in kinds:
        for name in find_path_fields(kind):
            assert (name in READS) != (find_check(kind, name) is not None), f"{kind.__name__}.{name}"
    written = {key for kind in kinds for key in WRITES if kind.__name__ == key[0] and key[1] in find_path_fields(kind)}
    assert written == set(WRITES) == set(COMMANDS)


def test_every_path_in_a_config_is_known() -> None:
    found = {f"config.{name}" for name in _text_fields(Config, "")}
    assert found == set(CONFIG_PATHS)


def _text_fields(kind: type[Any], prefix: str) -> Iterator[str]:
    hints = typing.get_type_hints(kind)
    for one in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[one.name]):
            yield from _text_fields(typing.cast(type[Any], hints[one.name]), f"{prefix}{one.name}.")
        elif hints[one.name] == (str | None):
            yield prefix + one.name


def test_benchmarks_have_no_unchecked_path() -> None:
    texts = [path.read_text() for path in (ROOT / "benchmarks").rglob("*.py")]
    assert not [text for text in texts if re.search(r"add_argument\([^)]*type=Path", text)]
    options = {flag for text in texts
               for flag in re.findall(r'add_argument\((?:"-\w", )?"([\w-]+)",[^)]*(?:local|config)_path', text)}
    assert options == {"--json", "--out", "--plot", "--dump", "records", "--config", "--figures", "--budgets"}


def test_the_entries_of_a_run_are_those_that_stages_write(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, Config("x"))
    names = {path.name for stage in STAGES for path in stage.outputs(run)} | {"config.json", "stages", "variants"}
    assert all(any(Path(name).match(pattern) for pattern in RUN_ENTRIES) for name in names)


# --- The table ------------------------------------------------------------------------------------------


@pytest.fixture
def places(tmp_path: Path) -> SimpleNamespace:
    """Inputs of every kind, and a free name."""
    folder, run, cohort = tmp_path / "input", tmp_path / "run", tmp_path / "cohort"
    for one in (folder, run, cohort):
        one.mkdir()
    (folder / "slice.csv").write_text("patient_id,g\na,1\n")
    (tmp_path / "table.csv").write_text("patient_id,g\na,1\nb,0\n")
    config = Config("smoke")
    artifacts.write_json(run / "config.json", {"fingerprint": config.fingerprint, "config": to_dict(config)})
    artifacts.write_json(run / "folds.json", {"folds": []})
    (cohort / "cohort.parquet").write_bytes(b"PAR1")
    artifacts.write_manifest(cohort, {"kind": "ingest"})
    return SimpleNamespace(root=tmp_path, folder=str(folder), file=str(tmp_path / "table.csv"), run=str(run),
                           cohort=str(cohort), free=str(tmp_path / "free"))


def make_target(places: SimpleNamespace, kind: str) -> str:
    """A path of this kind."""
    root, path = places.root, places.root / "target"
    fixed = {
        "the input itself": places.file, "in an input folder": f"{places.folder}/new",
        "in a cohort": f"{places.cohort}/new", "file of a run": f"{places.run}/folds.json",
        "below a file": f"{places.file}/new",
        "missing parent": str(root / "no" / "such" / "target"), "scheme": "gs://bucket/x",
        "scheme as pathlib has it": "s3:/bucket/x",
    }  # fmt: skip
    makers: dict[str, Callable[[], object]] = {
        "existing foreign file": lambda: path.write_text("mine"),
        "link to the input": lambda: path.symlink_to(places.file), "pipe": lambda: os.mkfifo(path),
        "hard link to the input": lambda: path.hardlink_to(places.file),
        "dangling link": lambda: path.symlink_to(root / "gone"), "folder": lambda: make_folder(path),
        "device": lambda: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
        "socket": lambda: os.mknod(path, stat.S_IFSOCK | 0o600),
    }  # fmt: skip
    if kind in makers:
        try:
            makers[kind]()
        except PermissionError:
            pytest.skip(f"a {kind} cannot be made here")
    return fixed.get(kind, str(path))


def make_folder(path: Path) -> None:
    path.mkdir()
    for name in ("mine.txt", "config.json", "joined.html", "predictions.json", "train.stablehlo.mlir", "history_x.svg",
                 "x.hlo.txt"):  # fmt: skip
        (path / name).write_text("mine")


def snapshot(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Type, inode and content of everything below `root`; links are not followed."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found[str(path)] = (status.st_mode, status.st_ino, content)
    return found


def call(run: Callable[[list[str]], int], argv: list[str]) -> int:
    try:
        return run(argv)
    except SystemExit as stop:  # argparse
        return int(stop.code or 0)


def check(
    run: Callable[[list[str]], int], argv: Argv, places: SimpleNamespace, kind: str, capsys: pytest.CaptureFixture[str]
) -> int:
    """The exit code; nothing that existed is changed."""
    target = make_target(places, kind)
    before = snapshot(places.root)
    code = call(run, argv(places, target))
    after = snapshot(places.root)
    told = capsys.readouterr().err
    assert {path: after.get(path) for path in before} == before, (argv(places, target), told)
    if KINDS[kind]:
        assert code in (2, 8) and after == before, (argv(places, target), code, told)
        assert code == 2 or "no cohort.parquet" in told  # build reads its input before it looks into the output
        assert "Traceback" not in told
    return code


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_replaces_nothing(
    kind: str, places: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(places.root)
    assert check(main, COMMANDS["CommonArgs", "report"][0], places, kind, capsys) == 2


@pytest.mark.parametrize("option", [(name, "output") for name in ("PlaceArgs", "StageArgs", "WeightsArgs", "CopyArgs")])
@pytest.mark.parametrize("kind", ["existing foreign file", "in an input folder", "dangling link", "folder", "scheme"])
def test_an_output_replaces_nothing(
    option: tuple[str, str], kind: str, places: SimpleNamespace, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(places.root)
    places.folder = places.file if option[0] == "WeightsArgs" and kind != "in an input folder" else places.folder
    if kind != "in an input folder" or option[0] not in ("WeightsArgs", "CopyArgs"):
        check(main, COMMANDS[option][0], places, kind, capsys)


def is_in_question(option: object, kind: str, words: list[str], folder: str) -> bool:
    """Whether the command reads what the kind of path is about, and does not start long work."""
    if kind == "missing parent":
        return option == ("CommonArgs", "report")
    return kind != "in an input folder" or folder in words


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_option_replaces_nothing(
    kind: str, places: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One row of the table: a kind of path against every option that writes."""
    monkeypatch.chdir(places.root)
    codes: list[str] = []
    options = [(option, main, argv) for option, many in COMMANDS.items() for argv in many]
    options += [(name, benchmarks_main, argv) for name, argv in BENCHMARKS.items()]
    for option, run, argv in options:
        if is_in_question(option, kind, argv(places, ""), places.folder):
            code = check(run, argv, places, kind, capsys)
            codes.append(str(code))
            target = places.root / "target"
            if os.path.lexists(target) and target.is_dir() and not target.is_symlink():
                for file in target.iterdir():
                    file.unlink()
                target.rmdir()
            elif os.path.lexists(target):
                target.unlink()
    with capsys.disabled():
        print(f"\noutputs, {kind}: {codes.count('2')}/{len(codes)} options exit 2, nothing changed")


# --- Rules ----------------------------------------------------------------------------------------------


def test_an_earlier_report_is_replaced(places: SimpleNamespace) -> None:
    report = f"{places.root}/report.json"
    for _ in range(2):
        assert main(["info", "--report", report]) == 0
    assert artifacts.load_json(report)["exit_code"] == 0


def test_a_partial_file_that_is_a_link_does_not_lead_to_an_input(places: SimpleNamespace) -> None:
    """The temporary name next to the report is predictable."""
    before = Path(places.file).read_bytes()
    (places.root / ".report.partial.json").symlink_to(places.file)
    assert main(["info", "--report", f"{places.root}/report.json"]) == 0
    assert Path(places.file).read_bytes() == before


def test_a_line_is_never_appended_through_a_link(places: SimpleNamespace) -> None:
    (places.root / "log.jsonl").symlink_to(places.file)
    before = Path(places.file).read_bytes()
    with pytest.raises(OSError, match="symbolic link"):
        artifacts.append_line(places.root / "log.jsonl", "{}")
    assert Path(places.file).read_bytes() == before


@pytest.mark.parametrize("name", [".out.old", ".out.partial", "out"])
def test_an_input_with_the_temporary_name_of_an_output_folder(name: str, tmp_path: Path) -> None:
    """Both names are deleted when the output takes its place."""
    (tmp_path / name).mkdir()
    with pytest.raises(UsageError, match="holds an input"):
        check_output_folder(tmp_path / "out", "areas", [tmp_path / name])


@pytest.mark.parametrize(("text", "wanted"), [
    ("gs://b/x", True), ("gs:/b/x", True), ("gs:", True), ("file:///x", True), ("HTTPS://x", True), ("C:/x", False),
    ("C:\\x", False), ("./gs/x", False), ("/gs:/x", False), ("a:b", False), ("12:/x", False), ("s3a+b.c-d://x", True),
])  # fmt: skip
def test_schemes(text: str, wanted: bool) -> None:
    assert has_scheme(text) == has_scheme(Path(text)) == wanted


def test_a_path_with_a_scheme_is_named_as_it_was_given() -> None:
    with pytest.raises(UsageError, match=r"--input: .*; gs://b/x; "):
        check_local(Path("gs://b/x"), "--input")


def test_links_are_resolved(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert is_within(tmp_path / "link" / "b" / "new", tmp_path / "a")
    assert is_within(tmp_path / "a" / "new", tmp_path / "link")
    assert not is_within(tmp_path / "ab", tmp_path / "a")


def test_two_outputs_of_a_command_are_distinct(places: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["phantom", "-o", "{}/a", "--dicom", "{}/a/b"], ["measure", "-i", "{}/input", "-o", "{}/m",
                                                                   "--report", "{}/m"]):  # fmt: skip
        assert main([word.format(places.root) for word in argv]) == 2
        assert "give each its own path" in capsys.readouterr().err


def test_a_folder_of_logs_may_become_a_run(tmp_path: Path) -> None:
    (tmp_path / "slurm.log").write_text("x")
    WRITES["StageArgs", "output"](tmp_path, [], "-o")
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(UsageError, match=r"report\.html exists there"):
        WRITES["StageArgs", "output"](tmp_path, [], "-o")
    assert RUN.may_be_link


def test_paths_are_found_in_flags_that_do_not_parse() -> None:
    argv = ["-i", "a", "b", "--level", "T11", "--masks=m", "--report", "r", "--bogus", "-o", "out"]
    assert find_named_paths(argv) == [Path(name) for name in ("a", "b", "m", "out")]
    assert find_named_paths(["km", "--csv", "t", "--by", "g", "--report=r"]) == [Path("t")]
    assert find_named_paths(["configs/x.py", "--cohort-dir", "c"]) == [Path("configs/x.py"), Path("c")]
    assert find_named_paths(["smoke", "--cohort-dir", "smoke"]) == [Path("smoke")]  # first a name, then a folder
    assert find_named_paths(["copy", "smoke", "my.py"]) == [Path("my.py")]


@pytest.mark.parametrize("out", [".", "", "/"])
def test_folders_without_a_name_are_refused_in_one_line(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert main(["phantom", "-o", out, "--n", "3"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("report", ["mine.txt/x", "./x/../mine.txt", "out", "out/r.json"])
def test_a_fault_of_the_report_flag_is_one_line(
    report: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert main(["phantom", "-o", "out", "--n", "3", "--report", report]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
