"""Files of a run exchanged for another run's: a command refuses, or writes what it writes without the exchange."""

import contextlib
import io
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bonemet_jax import artifacts
from bonemet_jax.cli import main
from bonemet_jax.study.run import Run, load_run_config
from bonemet_jax.study.stages import BY_NAME
from tests.end_to_end.small_run import SMALL, SMOKE, digest_results

#: Mode honest has every kind of file: networks of two folds each, and the scores of both modes.
OPTIONS = [*SMALL, "--fusion.mode", "honest", "--fusion.classifiers", "gbdt"]
OTHER = ["--phantom.seed", "1", "--folds.seed", "1", "--train.seed", "1"]
#: Files that tell how to find others, or of which a stage is made: those of a fast look.
TELLING = (
    "config.json", "folds.json", "near_duplicates.json", "embeddings.npz", "scores.parquet", "paper_scores.parquet",
    "cohort/cohort.parquet", "cohort/truth.json", "cohort/manifest.json", "fold_0/metrics.jsonl", "fold_1/done.json",
    "fold_2/timing.json", "cross/embeddings.npz", "cross/fold_0/metrics.jsonl", "models/fold_0.json",
    "models/manifest.json", "shap.json", "gradcam.npz", "gradcam.json", "stats/roc.json", "report.json",
    "stages/cv.json", "stages/embed.json", "stages/fuse.json", "stages/cv.started.json",
)  # fmt: skip


class Command(NamedTuple):
    """A command on a run, and what it leaves."""

    redone: tuple[str, ...]
    """Stages whose stamps are removed before it, so that it works."""
    argv: Callable[[Path, Path], list[str]]
    """Flags, from the run and a free path."""
    read: Callable[[Path, Path], Any]
    """What it wrote, recorded times left out; None where it says that it refused what was exchanged."""


def _stage(verb: str, *more: str) -> Callable[[Path, Path], list[str]]:
    return lambda run, out: [verb, SMOKE, "-o", str(run), *OPTIONS, *more]


def _outputs(*stages: str) -> Callable[[Path, Path], Any]:
    """Digests of what the stages of a run write."""

    def read(run: Path, _out: Path) -> Any:
        config = load_run_config(run / "config.json")
        tops = {path.relative_to(run).parts[0] for name in stages for path in BY_NAME[name].outputs(Run(run, config))}
        return {name: digest for name, digest in digest_results(run).items() if Path(name).parts[0] in tops}

    return read


def _read_predictions(_run: Path, out: Path) -> Any:
    """Without the pictures' names, which are random in every new output; None where the run's statistics were refused:
    every risk is left out then, and this is the reason given.
    """
    found = artifacts.load_json(out / "predictions.json", dict[str, Any])
    reasons = [one["risk"]["reason"] or "" for one in found["patients"].values()]
    if all("the run's statistics are missing or of other models" in reason for reason in reasons):
        return None
    patients = {name: {k: v for k, v in one.items() if k != "files"} for name, one in found["patients"].items()}
    return found | {"patients": patients}


COMMANDS: dict[str, Command] = {
    "cv": Command(("cv", "cross"), _stage("cv"), _outputs("cv", "cross")),
    "cv, nothing to do": Command((), _stage("cv"), _outputs("cv", "cross")),
    "embed": Command(("embed", "gradcam"), _stage("embed"), _outputs("embed", "gradcam")),
    "fuse": Command(("fuse",), _stage("fuse"), _outputs("fuse")),
    "report": Command(("stats", "report"), _stage("report"), _outputs("stats", "report")),
    "export": Command((), lambda run, out: ["export", str(run), "-o", str(out)], lambda run, out: digest_results(out)),
    "audit": Command((), lambda run, out: ["audit", str(run), "--report", str(out)],
                     lambda run, out: artifacts.load_json(out)["results"]),
    "report --runs": Command(
        (), lambda run, out: ["report", "--runs", str(run), str(run.parent / "whole"), "-o", str(out)],
        lambda run, out: json.dumps(artifacts.load_json(out / "joined.json")).replace(run.name, "whole")),
    "predict": Command(
        (), lambda run, out: ["predict", "--run", str(run), "-i", *sorted(map(str, (run.parent / "new").iterdir())),
                              "--slice-index", "0", "--allow-synthetic", "-o", str(out)],
        _read_predictions),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """whole/, a finished run; other/, one of the same size with other patients, folds and weights; new/, images."""
    folder = tmp_path_factory.mktemp("swaps")
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["run", SMOKE, "-o", str(folder / "whole"), *OPTIONS]) == 0
        assert main(["run", SMOKE, "-o", str(folder / "other"), *OPTIONS, *OTHER]) == 0
        size = ["--n", "12", "--height", "112", "--width", "144", "--spacing-mm", "3.0", "--seed", "7"]
        assert main(["phantom", "-o", str(folder / "cohort"), "--dicom", str(folder / "dicom"), *size]) == 0
    for patient in sorted((folder / "dicom" / "patients").iterdir())[:2]:
        shutil.copytree(patient, folder / "new" / patient.name)
    return folder


def _list_swaps(folder: Path) -> Iterator[str]:
    """Names of files and folders that the other run has, with other content or none here."""
    for path in sorted((folder / "other").rglob("*")):
        name = str(path.relative_to(folder / "other"))
        here = folder / "whole" / name
        is_equal = here.is_file() and path.is_file() and here.read_bytes() == path.read_bytes()
        if not is_equal and path.name not in (".lock",) and not name.endswith(".svg"):
            yield name


def _swap(folder: Path, run: Path, names: Sequence[str]) -> None:
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(folder / "whole", run)
    for name in names:
        source, target = folder / "other" / name, run / name
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def _call(command: Command, run: Path, out: Path) -> tuple[bool, Any, str]:
    """Whether it was refused; else exit code and what was written; what was said."""
    for path in (out, *(run / "stages" / f"{name}.json" for name in command.redone)):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        code = main(command.argv(run, out))
    lines = said.getvalue().strip().splitlines()
    is_refused = code != 0 and bool(lines) and lines[-1].startswith("bonemet: ")
    assert not is_refused or code in (2, 4, 7, 8), lines
    found = None if is_refused else command.read(run, out)
    return found is None, (code, found), said.getvalue()


def _judge(folder: Path, tmp_path: Path, name: str, swaps: Sequence[Sequence[Sequence[str]]]) -> dict[str, int]:
    """How many exchanges were refused, and how many changed nothing; one that changes something fails.

    Args:
        folder: see the fixture.
        tmp_path: free.
        name: of a command.
        swaps: groups of exchanges. Exchanges of a group are made together; where that is refused, of each half, and so
            on to single ones.
    """
    command, run, out = COMMANDS[name], folder / "swapped", tmp_path / "out"
    _swap(folder, run, [])
    is_refused, wanted, said = _call(command, run, out)
    assert not is_refused, said
    counts, left = {"refused": 0, "without influence": 0, "calls": 0}, [*swaps]
    while left:
        group = left.pop()
        names = [name for exchange in group for name in exchange]
        _swap(folder, run, names)
        is_refused, found, said = _call(command, run, out)
        assert "Traceback" not in said, (names, said)
        assert is_refused or found == wanted, (name, names, said)
        counts["calls"] += 1
        if is_refused and len(group) > 1:
            left += [group[: len(group) // 2], group[len(group) // 2:]]
        else:
            counts["refused" if is_refused else "without influence"] += len(group)
    return counts


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fuse", "report", "audit", "report --runs"])
def test_telling_files_of_another_run(name: str, folder: Path, tmp_path: Path) -> None:
    present = [swap for swap in TELLING if (folder / "other" / swap).is_file()]
    assert len(present) == len(TELLING)
    print(f"swaps, {name}: {_judge(folder, tmp_path, name, [[[swap]] for swap in present])}")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_file_of_another_run(name: str, folder: Path, tmp_path: Path) -> None:
    """One by one, folders as a whole, and what each stage wrote together with its stamp."""
    config = load_run_config(folder / "other" / "config.json")
    outputs = {stage: [str(path.relative_to(folder / "other")) for path in BY_NAME[stage].outputs(
        Run(folder / "other", config))] for stage in BY_NAME}
    with_stamps = [[*names, f"stages/{stage}.json"] for stage, names in outputs.items()]
    singles = [list(group) for _, group in groupby(_list_swaps(folder), key=lambda name: Path(name).parts[0])]
    swaps = [*([[name] for name in group] for group in singles), *([together] for together in with_stamps)]
    counts = _judge(folder, tmp_path, name, swaps)
    print(f"swaps of another run's files, {name}: {counts}, 0 silent")
