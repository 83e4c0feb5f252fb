"""`make core-check`: a light installation from requirements/core.lock, and most of what the README says it can do.

Makes the environment, measures it, trains in it on records that the full installation has made, and runs the benchmarks
at toy size. Prints one line per check; exit code 1 when one fails.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.core_alone import ROOT
from tests.end_to_end.small_run import SMALL, SMOKE

#: Mebibytes that the environment may take, byte code left out.
MOST_MIB = 700
BENCHMARKS = [[name, "--quick", "--peer", "none"]
              for name in ("step_time", "embed", "folds", "scaling", "dispatch", "checkpoint", "compile")]
BENCHMARKS += [["aot", "--target", "cpu8"], ["gate", "--target", "cpu8"]]
#: Commands that need more, with flags that parse.
REFUSED = {"stats": ["roc", "--csv", "table.csv", "--label", "y", "--scores", "score"], "phantom": ["-o", "cohort"],
           "measure": ["-i", "patient", "-o", "areas"]}


def main(folder: Path, python: str = sys.executable) -> int:
    """Do every check in `folder`, which is made anew, with an environment of this Python."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    check = _Checks(folder.resolve())
    check.install(python)
    check.measure_size()
    check.train()
    check.refuse()
    for argv in BENCHMARKS:
        check.run(f"benchmarks {' '.join(argv)}", [check.python, "-m", "benchmarks", *argv])
    print(f"{check.n_failed} of {check.n} checks failed; logs: {check.folder}")
    return 1 if check.n_failed else 0


class _Checks:
    """Checks in one folder, each with a line and a log."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.n, self.n_failed = folder, 0, 0
        self.python = str(folder / "env" / "bin" / "python")
        self.bonemet = str(folder / "env" / "bin" / "bonemet")
        self._environment = os.environ | {"BONEMET_CACHE_DIR": str(folder / "cache")}

    def install(self, python: str) -> None:
        """The two commands of the README, in a new environment of this Python."""
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        environment = str(self.folder / "env")
        if uv is None:
            self.run("environment", [python, "-m", "venv", environment])
            pip = [self.python, "-m", "pip", "install"]
        else:
            self.run("environment", [uv, "venv", "--python", python, environment])
            pip = [uv, "pip", "install", "--python", self.python]
        self.run("pip install -r core.lock", [*pip, "--require-hashes", "-r", "requirements/core.lock"])
        self.run("pip install --no-deps .", [*pip, "--no-deps", "."])

    def measure_size(self) -> None:
        """All files of the environment, byte code left out."""
        files = [f for f in (self.folder / "env").rglob("*") if f.is_file() and not f.is_symlink()]
        mib = sum(f.stat().st_size for f in files if "__pycache__" not in f.parts) / 2**20
        self._report(f"size: {mib:.0f} MiB, at most {MOST_MIB}", mib <= MOST_MIB, 0.0)

    def train(self) -> None:
        """Stages that the light installation does, on records of the full one."""
        run = self.folder / "run"
        flags = [SMOKE, "-o", str(run), *SMALL]
        full = "import sys; from bonemet_jax.cli import main; sys.exit(main(sys.argv[1:]))"
        self.run("cv with the full installation", [sys.executable, "-c", full, "cv", *flags])
        for fold in run.glob("fold_*"):
            shutil.rmtree(fold)
        (run / "stages" / "cv.json").unlink(missing_ok=True)
        for argv in (["cv", *flags], ["info"], ["--help"], ["doctor", SMOKE]):
            self.run(f"bonemet {argv[0]}", [self.bonemet, *argv])
        self.run("bonemet embed ends at Grad-CAM", [self.bonemet, "embed", *flags], wanted=2)
        self._report("embeddings.npz is there", (run / "embeddings.npz").is_file(), 0.0)
        self.run("bonemet fuse is refused", [self.bonemet, "fuse", *flags], wanted=2)

    def refuse(self) -> None:
        """Commands that need more name it in one line."""
        (self.folder / "table.csv").write_text("y,score\n0,0.1\n1,0.9\n")
        (self.folder / "patient").mkdir()
        for verb, argv in REFUSED.items():
            log = self.run(f"bonemet {verb} is refused", [self.bonemet, verb, *argv], wanted=2, cwd=self.folder)
            lines = log.read_text().splitlines()
            told = len(lines) == 1 and lines[0].startswith(f"bonemet: `{verb}` needs ")
            self._report(f"bonemet {verb} names it in one line", told, 0.0)

    def run(self, name: str, argv: Sequence[str], wanted: int = 0, cwd: Path = ROOT) -> Path:
        """Run a command that must end with this exit code; its log."""
        log = self.folder / f"{self.n:02}.log"
        began = time.monotonic()
        with open(log, "w", encoding="utf-8") as stream:
            code = subprocess.run(argv, cwd=cwd, env=self._environment, stdout=stream, stderr=stream,
                                  check=False).returncode  # fmt: skip
        self._report(name if code == wanted else f"{name}: exit code {code}, see {log}", code == wanted,
                     time.monotonic() - began)
        return log

    def _report(self, name: str, passed: bool, seconds: float) -> None:
        self.n += 1
        self.n_failed += not passed
        print(f"{'ok    ' if passed else 'FAILED'} {seconds:6.1f} s  {name}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), *sys.argv[2:3]))
