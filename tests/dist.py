"""`python -m tests.dist [PYTHON ...]`, or `make dist`: builds sdist and wheel into dist/ and checks what a user gets.

On every Python the wheel is installed with its dependencies into an environment of its own. There `bonemet configs
list`, a small study and a prediction from DICOM run in an empty folder. Without arguments: the supported Pythons that
are on PATH. Ends with a table, and exit code 1 if a check failed. An environment takes 3 GB in the temporary folder
($TMPDIR) while it is tried.
"""

import filecmp
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.end_to_end.small_run import SMALL

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
NAMES = ("python3.13", "python3.12", "python3.11")
_TIMEOUT_S = 3600
#: Variables that would let an environment see this one or the checkout.
_LEAKS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP")


class FailedCheckError(Exception):
    """A check that failed, and why."""


@dataclass(frozen=True)
class Row:
    """One check and its outcome."""

    name: str
    seconds: float
    passed: bool
    result: str


class Table:
    """Runs checks and collects their rows; each row is printed as soon as its check ends."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def check(self, name: str, work: Callable[[], str]) -> bool:
        """Run one check. Returns: whether it passed."""
        start = time.perf_counter()
        try:
            passed, result = True, work()
        except (FailedCheckError, OSError, subprocess.TimeoutExpired) as error:
            passed, result = False, str(error)
        self.rows.append(Row(name, time.perf_counter() - start, passed, result))
        print(self.format(self.rows[-1]), flush=True)
        return passed

    @staticmethod
    def format(row: Row) -> str:
        """One line of the table."""
        return f"{'passed' if row.passed else 'FAILED':<6}  {row.seconds:>7.1f} s  {row.name:<43}  {row.result}"


def main(pythons: Sequence[str]) -> int:
    """Build, check, try, print the table."""
    table = Table()
    if not table.check("sdist and wheel", lambda: build(DIST)):
        return 1
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    table.check("the sdist builds the same wheel", lambda: compare_rebuilt(sdist, wheel))
    table.check("twine check", lambda: check_metadata(sdist, wheel))
    table.check("check-wheel-contents", lambda: check_contents(wheel))
    found = {name: find_python(name) for name in pythons or NAMES}
    missing = [name for name, python in found.items() if python is None]
    for name in missing if pythons else ():
        table.check(name, lambda: fail("does not run, or is not supported"))
    for name, python in found.items():
        if python is not None:
            with tempfile.TemporaryDirectory(prefix="bonemet-dist-") as scratch:
                try_wheel(table, name, python, wheel, Path(scratch))
    print("", *map(table.format, table.rows), sep="\n")
    if missing:
        print(f"not found and not tried: {', '.join(missing)}; name others: make dist PYTHONS=\"/path/to/python3.12\"")
    return 0 if len(missing) < len(found) and all(row.passed for row in table.rows) else 1


def fail(reason: str) -> str:
    """Raises: FailedCheckError, always."""
    raise FailedCheckError(reason)


def run(command: Sequence[str | Path], cwd: Path = ROOT, **variables: str) -> str:
    """Standard output of a command that must succeed.

    Raises: FailedCheckError with the last line that it printed; all of them go to standard error.
    """
    env = {name: value for name, value in os.environ.items() if name not in _LEAKS} | variables
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=env, text=True, capture_output=True,
                          check=False, timeout=_TIMEOUT_S)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        print(*lines[-40:], sep="\n", file=sys.stderr)
        raise FailedCheckError(f"exit code {done.returncode}: {lines[-1] if lines else 'nothing printed'}")
    return done.stdout


def build(folder: Path) -> str:
    """Build both into a folder, in place of earlier ones."""
    for old in (*folder.glob("*.whl"), *folder.glob("*.tar.gz")):
        old.unlink()
    run([sys.executable, "-m", "hatchling", "build", "-d", folder])
    return ", ".join(f"{file.name} {file.stat().st_size / 1e6:.1f} MB" for file in sorted(folder.glob("bonemet_jax*")))


def check_metadata(*files: Path) -> str:
    """The metadata are complete and PyPI can render the README."""
    run([sys.executable, "-m", "twine", "check", "--strict", *files])
    return "metadata and README of both"


def check_contents(wheel: Path) -> str:
    """Nothing is in a wrong place, twice, or empty where it should not be."""
    run([Path(sys.executable).with_name("check-wheel-contents"), wheel])
    return "nothing misplaced"


def compare_rebuilt(sdist: Path, wheel: Path) -> str:
    """Build a wheel from the sdist; it must equal `wheel` byte for byte."""
    with tempfile.TemporaryDirectory(prefix="bonemet-dist-") as scratch, tarfile.open(sdist) as archive:
        archive.extractall(scratch, filter="data")
        (source,) = Path(scratch).iterdir()
        run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", Path(scratch) / "out"], source)
        rebuilt = Path(scratch) / "out" / wheel.name
        if not filecmp.cmp(wheel, rebuilt, shallow=False):
            return fail(f"these differ: {', '.join(find_different(wheel, rebuilt)) or 'the archives alone'}")
    return f"{len(zipfile.ZipFile(wheel).namelist())} files, the same bytes"


def find_different(one: Path, other: Path) -> list[str]:
    """Names of members of two wheels that are in one alone or have other contents."""
    left, right = ({i.filename: i.CRC for i in zipfile.ZipFile(wheel).infolist()} for wheel in (one, other))
    return sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))


def find_python(name: str) -> str | None:
    """Path of a Python; None when it does not run or is not a supported one."""
    done = subprocess.run(["bash", ROOT / "requirements" / "find_python.sh", name], text=True, check=False,
                          capture_output=True)
    return done.stdout.strip() or None


def try_wheel(table: Table, name: str, python: str, wheel: Path, scratch: Path) -> None:
    """Install the wheel into a new environment in `scratch` and use it there, in an empty folder."""
    uv = shutil.which("uv") or Path(sys.executable).with_name("uv")
    inside, empty, temporary = scratch / "env" / "bin" / "python", scratch / "empty", scratch / "tmp"
    empty.mkdir()
    temporary.mkdir()
    places = {"TMPDIR": str(temporary), "BONEMET_CACHE_DIR": str(scratch / "cache")}
    name = f"{Path(name).name}: "

    def install() -> str:
        run([uv, "venv", "--no-python-downloads", "--python", python, scratch / "env"])
        run([uv, "pip", "install", "--python", inside, wheel], **places)
        return f"{len(run([uv, 'pip', 'freeze', '--python', inside]).splitlines())} packages"

    def check_dependencies() -> str:
        run([uv, "pip", "check", "--python", inside])
        return "all compatible"

    def list_configs() -> str:
        return f"{len(run([inside.with_name('bonemet'), 'configs', 'list'], empty).splitlines())} configs"

    def use(*argv: str) -> str:
        page = run([inside.with_name("bonemet"), *argv], empty, **places).splitlines()[-1].partition(": ")[0]
        return f"{page} {(empty / page).stat().st_size / 1e6:.1f} MB"

    def predict() -> str:
        size = ("--n", "12", "--height", "112", "--width", "144", "--spacing-mm", "3.0")
        use("phantom", "-o", "cohort", "--dicom", "export", *size)
        patients = sorted(str(path) for path in (empty / "export" / "patients").iterdir())[:2]
        return use("predict", "--run", "runs/smoke", "--allow-synthetic", "-i", *patients, "--slice-index", "0", "-o",
                   "prediction")

    if table.check(f"{name}install with dependencies", install):
        table.check(f"{name}pip check", check_dependencies)
        table.check(f"{name}bonemet configs list", list_configs)
        if table.check(f"{name}bonemet run smoke, small", lambda: use("run", "smoke", "-o", "runs/smoke", *SMALL)):
            table.check(f"{name}bonemet predict, two from DICOM", predict)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
