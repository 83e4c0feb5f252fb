"""`python -m tests.across_versions FOLDER PYTHON OTHER`: what one Python and jax have written, another reads.

Each makes a small study and an export, and leaves a training half-finished. The other then trains on its records,
embeds with its checkpoints, runs its exported program, and goes on with the training; the numbers are compared. Both
environments hold every package. Prints a line per check; exit code 1 when one fails.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bonemet_jax import artifacts
from tests.end_to_end.small_run import SMALL, SMOKE

ROOT = Path(__file__).parents[1]
#: Sums are made in another order: share of the largest embedding.
EMBEDDING_TOLERANCE = 2e-3
_COMMAND = "from bonemet_jax.cli import run_from_shell; run_from_shell()"
_READ_EXPORT = """
import sys
import numpy as np
from jax import export
from safetensors.numpy import load_file
folder = sys.argv[1]
with open(f"{folder}/model.stablehlo", "rb") as stream:
    program = export.deserialize(bytearray(stream.read()))
taken = {name: np.zeros([4 if not isinstance(n, int) else n for n in x.shape], x.dtype)
         for name, x in program.in_tree.unflatten(program.in_avals)[0][1].items()}
found = program.call(load_file(f"{folder}/fold_0/model.safetensors"), taken)
print(np.asarray(found["embedding"]).sum())
"""


class _Side:
    """One Python with its packages, and what it writes."""

    def __init__(self, python: str, folder: Path) -> None:
        self.python, self.folder = python, folder
        self.name = subprocess.check_output(
            [python, "-c", "import platform, jax; print(f'{platform.python_version()} jax {jax.__version__}')"],
            text=True, env=self.environment).strip()  # fmt: skip
        folder.mkdir(parents=True)

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(ROOT), "BONEMET_CACHE_DIR": str(self.folder / "cache"),
                             "JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "ignore"}

    def python_says(self, script: str, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self.python, "-c", script, *argv], env=self.environment, text=True, capture_output=True,
                              check=False)  # fmt: skip

    def bonemet(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return self.python_says(_COMMAND, *argv)

    def study(self, verb: str, run: Path, *more: str) -> subprocess.CompletedProcess[str]:
        return self.bonemet(verb, SMOKE, "-o", str(run), *SMALL, *more)

    def write(self) -> None:
        """A finished study with its export, and one killed after the first epoch of three."""
        for argv in (["run", SMOKE, "-o", str(self.folder / "run"), *SMALL],
                     ["export", str(self.folder / "run"), "-o", str(self.folder / "export")]):  # fmt: skip
            done = self.bonemet(*argv)
            if done.returncode:
                raise SystemExit(f"{self.name}: {argv[0]}: exit code {done.returncode}\n{done.stderr[-3000:]}")
        half = self.folder / "half"
        process = subprocess.Popen([self.python, "-c", _COMMAND, "cv", SMOKE, "-o", str(half), *SMALL, *LONGER],
                                   env=self.environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None and not any((half / "fold_0" / "checkpoints").glob("1")):
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            raise SystemExit(f"{self.name}: the training ended with {process.returncode} before it was killed")


LONGER = ["--train.epochs", "3"]


def main(folder: Path, python: str, other: str) -> int:
    """Both write, then each reads the other's; 1 when a check fails."""
    shutil.rmtree(folder, ignore_errors=True)
    sides = [_Side(python, folder.resolve() / "a"), _Side(other, folder.resolve() / "b")]
    for side in sides:
        side.write()
    results = [read(reader, writer) for reader, writer in (sides, sides[::-1])]
    return 0 if all(results) else 1


def read(reader: _Side, writer: _Side) -> bool:
    """What `reader` makes of the files of `writer`; each check's line is printed."""
    results: list[bool] = []

    def tell(what: str, done: subprocess.CompletedProcess[str], holds: bool, figures: str = "") -> None:
        results.append(done.returncode == 0 and holds)
        ending = figures if results[-1] else f"exit code {done.returncode}: {done.stderr.strip()[-1500:]} {figures}"
        state = "ok    " if results[-1] else "FAILED"
        print(f"{state} {reader.name} reads {writer.name}: {what}; {ending}", flush=True)

    run = reader.folder / "others_run"
    shutil.copytree(writer.folder / "run", run)
    for name in ("stages/embed.json", "embeddings.npz"):
        (run / name).unlink()
    done = reader.study("embed", run)
    off = _compare(run, writer.folder / "run") if done.returncode == 0 else np.inf
    tell("checkpoints", done, off <= EMBEDDING_TOLERANCE, f"embeddings differ by {off:.1e} of their largest value")

    for fold in run.glob("fold_*"):
        shutil.rmtree(fold)
    (run / "stages" / "cv.json").unlink()
    done = reader.study("cv", run)
    tell("records", done, (run / "fold_2" / "done.json").is_file(), "three folds trained")

    value = reader.python_says(_READ_EXPORT, str(writer.folder / "export"))
    own = writer.python_says(_READ_EXPORT, str(writer.folder / "export"))
    if value.returncode == 0 and own.returncode == 0:
        near = bool(np.isclose(float(value.stdout), float(own.stdout), rtol=1e-4, atol=1e-3))
        tell("export", value, near, f"sums {float(value.stdout):.6f} and {float(own.stdout):.6f}")
    else:
        tell("export", value, False)

    half = reader.folder / "others_half"
    shutil.copytree(writer.folder / "half", half)
    done = reader.study("cv", half, *LONGER)
    noted = "sound, but not equal bit for bit" in done.stderr
    epochs = [_read_metrics(half / f"fold_{i}") for i in range(3)]
    tell("half-finished training", done, noted and [len(fold) for fold in epochs] == [3, 3, 3],
         "goes on after epoch 1, with a note that names both versions")
    return all(results)


def _compare(run: Path, other: Path) -> float:
    ours, theirs = (artifacts.load_npz(folder / "embeddings.npz")["embedding"] for folder in (run, other))
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def _read_metrics(fold: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (fold / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), *sys.argv[2:4]))
