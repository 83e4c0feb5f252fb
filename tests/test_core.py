"""A light installation (README): training, readout and their benchmarks need only the packages of core.lock."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from benchmarks.__main__ import main as main_benchmarks
from bonemet_jax import artifacts, missing_package
from bonemet_jax.cli import main
from bonemet_jax.config import load_config, to_dict
from bonemet_jax.missing_package import EXTRAS, PACKAGES, install_command, list_missing, to_missing_package
from bonemet_jax.study.run import Run
from tests.core_alone import ROOT, normalise
from tests.end_to_end.small_run import SMALL, SMOKE
from tests.study.stamped import stamp_stages

#: Rooms and benchmarks that a light installation imports.
ROOMS = ("channels", "models", "input_pipeline", "train", "readout", "telemetry", "study")
BENCHMARKS = ("step_time", "embed", "folds", "scaling", "dispatch", "checkpoint", "compile", "compiled.aot",
              "compiled.gate", "sweep", "export", "compared.compare")
IMPORT_ALL = f"""
import importlib, pkgutil, sys
import bonemet_jax
for room in {ROOMS!r}:
    package = importlib.import_module(f"bonemet_jax.{{room}}")
    for module in pkgutil.iter_modules(package.__path__, f"bonemet_jax.{{room}}."):
        importlib.import_module(module.name)
for module in pkgutil.iter_modules(bonemet_jax.__path__, "bonemet_jax."):
    if not module.ispkg:
        importlib.import_module(module.name)
for name in {BENCHMARKS!r}:
    importlib.import_module(f"benchmarks.{{name}}")
"""
HIDE = "from tests.core_alone import hide_the_rest; hide_the_rest()\n"
#: Runs every command of a JSON list, and prints exit codes.
COMMANDS = """
import json, sys
from bonemet_jax.cli import main
for argv in json.loads(sys.argv[1]):
    print(f"--- {' '.join(argv[:2])}", file=sys.stderr, flush=True)
    try:
        code = main(argv)
    except SystemExit as stop:
        code = stop.code or 0
    print(f"=== {code}", file=sys.stderr, flush=True)
"""


def _core_packages() -> set[str]:
    lines = (ROOT / "requirements" / "core.in").read_text().splitlines()
    return {normalise(line) for line in lines if line and not line.startswith("#")}


def _heavy_roots() -> set[str]:
    """Import names of the packages that a light installation lacks."""
    return {root for root, package in PACKAGES.items() if normalise(package) not in _core_packages()}


def _start(program: str, *args: str, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT), "BONEMET_CACHE_DIR": str(cache or "off"), "PYTHONWARNINGS": "ignore",
                        "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    return subprocess.run([sys.executable, "-c", program, *args], cwd=ROOT, env=env, capture_output=True, text=True,
                          check=False)


def _run_commands(commands: list[list[str]], cache: Path | None = None) -> list[tuple[int, list[str]]]:
    """Exit code and lines of standard error of every command, in one process with the core's packages alone."""
    done = _start(HIDE + COMMANDS, json.dumps(commands), cache=cache)
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^--- .*\n((?:.*\n)*?)=== (\d+)$", done.stderr, re.M)
    assert len(found) == len(commands), done.stderr
    return [(int(code), text.splitlines()) for text, code in found]


def _stamp_run(directory: Path, stages: tuple[str, ...]) -> Path:
    """A run in which these stages look finished."""
    run = Run(directory, load_config(SMOKE))
    artifacts.write_json(directory / "config.json",
                         {"fingerprint": run.config.fingerprint, "config": to_dict(run.config)})
    stamp_stages(run, stages, {})
    return directory


def test_lists_agree_with_the_project() -> None:
    """PACKAGES holds what pyproject.toml asks for, and core.in a part of it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {normalise(re.split(r"[^\w.-]", text)[0]) for text in project["dependencies"]}
    assert {normalise(p) for root, p in PACKAGES.items() if root not in EXTRAS} == names - {"tensorflow"}
    extras = {normalise(re.split(r"[^\w.-]", text)[0])
              for texts in project["optional-dependencies"].values() for text in texts}
    assert {PACKAGES[root] for root in EXTRAS} <= extras
    assert _core_packages() < names
    assert list_missing() == []


def test_packages_are_installed_by_uv_where_there_is_no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing_package, "_is_found", lambda root: True)
    assert install_command("xgboost") == "pip install xgboost"
    assert install_command("a 'b[c]'", remove="d e") == "pip uninstall -y d e; pip install a 'b[c]'"
    monkeypatch.setattr(missing_package, "_is_found", lambda root: root != "pip")
    assert install_command("xgboost") == "uv pip install xgboost"
    assert install_command("a 'b[c]'", remove="d e") == "uv pip uninstall d e; uv pip install a 'b[c]'"


def test_only_known_missing_packages_are_put_in_one_line() -> None:
    missing = ModuleNotFoundError("No module named 'distributed.x'", name="distributed.x")
    told = to_missing_package(missing, "fuse")
    if told is not None:  # the extra is not installed here
        assert str(told) == f"`fuse` needs distributed, which is not installed; {install_command('distributed')}"
        wrapped = ImportError("please install it")
        wrapped.__cause__ = missing
        assert str(to_missing_package(wrapped, "fuse")) == str(told)
    for name in ("bonemet_jax.nothing", "numpy.nothing", "nothing", None):
        assert to_missing_package(ModuleNotFoundError("no", name=name), "fuse") is None
    assert to_missing_package(ImportError("no", name="pandas"), "fuse") is None


def test_beams_error_without_a_name_is_put_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beam raises a new ModuleNotFoundError, whose context alone has the name."""
    monkeypatch.setattr(missing_package, "_is_found", lambda root: False)
    try:
        try:
            raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"{error} [while running 'Map(write)']").with_traceback(None) from None
    except ModuleNotFoundError as error:
        told = to_missing_package(error, "build")
    assert told is not None and str(told).startswith("`build` needs tensorflow") and told.exit_code == 2


def test_a_missing_module_of_ours_is_seen_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        import bonemet_jax.nothing  # noqa: F401  # pyrefly: ignore

    monkeypatch.setattr("bonemet_jax.cli.info.collect_info", fail)
    with pytest.raises(ModuleNotFoundError, match=r"bonemet_jax\.nothing"):
        main(["info"])
    monkeypatch.setattr("benchmarks.__main__._list", fail)
    with pytest.raises(ModuleNotFoundError, match=r"bonemet_jax\.nothing"):
        main_benchmarks(["list"])


@pytest.mark.every_change
def test_rooms_import_nothing_else() -> None:
    """Neither when the rest is installed, nor when it is not."""
    program = IMPORT_ALL + f"print(sorted({_heavy_roots()!r} & {{name.partition('.')[0] for name in sys.modules}}))"
    for text in (program, HIDE + program):
        done = _start(text)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == "[]"


@pytest.mark.every_change
def test_commands_name_the_package_that_they_need(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("y,score\n0,0.1\n1,0.9\n")
    (tmp_path / "patient").mkdir()
    report = tmp_path / "report.json"
    patient = ["-i", str(tmp_path / "patient"), "-o", str(tmp_path / "out")]
    commands = {
        "stats": ["roc", "--csv", str(tmp_path / "table.csv"), "--label", "y", "--scores", "score", "--report",
                  str(report)],
        "phantom": ["-o", str(tmp_path / "cohort"), "--n", "24"],
        "measure": patient,
        "verify": patient,
        "ingest": [*patient, "--clinical", str(tmp_path / "table.csv")],
        "run": [SMOKE, "-o", str(tmp_path / "run")],
        "fuse": [SMOKE, "-o", str(_stamp_run(tmp_path / "trained", ("embed", "cross")))],
        "report": [SMOKE, "-o", str(_stamp_run(tmp_path / "fused", ("fuse", "gradcam")))],
    }
    stage_of = {"run": "cohort", "fuse": "fuse", "report": "stats"}
    for (verb, argv), (code, lines) in zip(
        commands.items(), _run_commands([[verb, *argv] for verb, argv in commands.items()]), strict=True
    ):
        assert code == 2 and len(lines) == 1, (verb, argv, code, lines)
        needed = re.fullmatch(rf"bonemet: `{verb}` needs (\S+), which is not installed; (?:stage '(\w+)'; )?"
                              r"(?:uv )?pip install bonemet-jax \(or (?:uv )?pip install \1\)", lines[0])
        assert needed and needed[1] in {PACKAGES[root] for root in _heavy_roots()}, lines
        assert needed[2] == stage_of.get(verb)
    assert artifacts.load_json(report)["exit_code"] == 2 and "pandas" in artifacts.load_json(report)["error"]["what"]


@pytest.mark.every_change
def test_benchmarks_name_the_package_that_they_need() -> None:
    program = HIDE + "import sys\nfrom benchmarks.__main__ import main\nsys.exit(main(sys.argv[1:]))"
    for argv, package in ((["stats", "--quick"], "scikit-learn"), (["plot", "x.jsonl", "-o", "x"], "matplotlib")):
        done = _start(program, *argv)
        wanted = f"error: `{argv[0]}` needs {package}, which is not installed; "
        assert done.returncode == 2 and done.stderr.startswith(wanted) and done.stderr.count("\n") == 1, done.stderr
    done = _start(program, "list")
    assert done.returncode == 0 and re.search(r"^plot +\S", done.stdout, re.M) and not done.stderr, done.stderr


@pytest.mark.every_change
def test_cv_trains_on_the_records_of_a_full_installation(tmp_path: Path) -> None:
    """The same weights as before; no TensorBoard logs, which is said once."""
    run, cache = tmp_path / "run", tmp_path / "cache"
    argv = ["cv", SMOKE, "-o", str(run), *SMALL]
    made = _start("import sys; from bonemet_jax.cli import main; sys.exit(main(sys.argv[1:]))", *argv, cache=cache)
    assert made.returncode == 0, made.stderr
    folds = sorted(run.glob("fold_*"))
    weights = [artifacts.load_json(fold / "done.json")["params_sha256"] for fold in folds]
    assert len(folds) == 3 and all((fold / "tensorboard").is_dir() for fold in folds)
    for fold in folds:
        shutil.rmtree(fold)
    (run / "stages" / "cv.json").unlink()

    (code, lines), *others = _run_commands([argv, ["info"], ["--help"], ["doctor", SMOKE]], cache)
    assert [code, *(code for code, _ in others)] == [0, 0, 0, 0], lines
    told = [line for line in lines if "tensorboardX" in line]
    assert len(told) == 1 and told[0].startswith("no TensorBoard logs: ") and "pip install tensorboardX" in told[0]
    assert [artifacts.load_json(fold / "done.json")["params_sha256"] for fold in folds] == weights
    assert not any((fold / "tensorboard").exists() for fold in folds)
    assert main(argv) == 0, "done, also for a full installation"
