"""Runs a small study on a disk that fills up at one write site after another; prints one JSON line a trial.

Called by test_disk_full.py inside a private mount namespace: `python full_disk_sites.py DISK`, DISK a small tmpfs.
"""

import contextlib
import io
import json
import os
import sys
from pathlib import Path

from bonemet_jax import artifacts
from bonemet_jax.cli import main
from bonemet_jax.cli.run import RunArgs, parse_run
from bonemet_jax.study import stage_cache
from bonemet_jax.study.run import Run
from bonemet_jax.study.runner import run_stages, stage_keys
from bonemet_jax.study.stages import BY_NAME, STAGES

SMOKE = str(Path(__file__).parents[2] / "configs" / "smoke.py")
SMALL = ["--phantom.n", "24", "--phantom.spacing-mm", "3.0", "--phantom.height", "112", "--phantom.width", "144",
         "--records.height", "112", "--records.width", "144", "--records.spacing-mm", "3.0",
         "--records.patients-per-shard", "12", "--train.epochs", "2", "--train.batch-size", "8"]
#: Bytes left free at each trial: nothing at all, a little, and enough for some of a stage's files.
LEAVE = {"cv": (0, 8_192, 262_144), "build": (0, 16_384, 65_536)}
LEAVE_ELSE = (0,)


def fill(disk: Path, leave: int) -> None:
    """Fill the disk until `leave` bytes are free; with 0 until not one more page is had."""
    stat = os.statvfs(disk)
    free = stat.f_bavail * stat.f_frsize
    with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as stream:
        while free > leave:
            free -= stream.write(b"x" * min(1 << 20, free - leave))
        while leave == 0:
            stream.write(b"x" * 4096)


def call(argv: list[str]) -> tuple[int, list[str]]:
    """Exit code and the error lines of one command; progress lines are left out."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        code = main(argv)
    return code, [row for row in errors.getvalue().splitlines() if row.startswith(("bonemet:", "Traceback"))]


def leftovers(run: Run, stage: str) -> list[str]:
    """Files of the stage that stand under their final name though it did not finish; training keeps its checkpoints."""
    if stage == "cv":
        return []
    outputs = next(s for s in STAGES if s.name == stage).outputs(run)
    return [str(f) for path in outputs for f in ([path] if path.is_file() else artifacts.list_files(path))]


def is_done(run: Run, name: str, keys: dict[str, str]) -> bool:
    """Whether the stage finished with its key and all its files are whole."""
    is_current = stage_cache.is_current(run.directory, name, keys[name], BY_NAME[name].needs)
    return is_current and stage_cache.find_damage(run.directory, name) is None


def study(disk: Path) -> None:
    """Every stage: fails with exit 5 on a full disk, leaves what was there, then succeeds with space."""
    argv = ["run", SMOKE, "-o", str(disk / "run"), *SMALL]
    run = Run(disk / "run", parse_run(RunArgs, "run", argv[1:]).config)
    keys = stage_keys(run)
    for position, stage in enumerate(STAGES):
        earlier = [s.name for s in STAGES[:position]]
        for leave in LEAVE.get(stage.name, LEAVE_ELSE):
            fill(disk, leave)
            code, told = call(argv)
            (disk / "filler").unlink()
            finished = is_done(run, stage.name, keys)
            print(json.dumps({
                "site": stage.name, "leave": leave, "code": code, "told": told, "finished": finished,
                "leftovers": [] if finished else leftovers(run, stage.name),
                "earlier_intact": all(is_done(run, n, keys) for n in earlier),
            }), flush=True)
            if finished:
                break
        with contextlib.redirect_stderr(io.StringIO()):
            run_stages(run, (*earlier, stage.name))


def single_files(disk: Path) -> None:
    """The files that verbs write outside a run: the JSON report, a copied config, a cohort, records."""
    size = ["--height", "112", "--width", "144", "--spacing-mm", "3.0"]
    cases = {
        "--report": ["info", "--report", str(disk / "report.json")],
        "configs copy": ["configs", "copy", "smoke", str(disk / "my.py")],
        "phantom": ["phantom", "-o", str(disk / "cohort"), "--n", "12", *size],
        "build": ["build", "-i", str(disk / "run" / "cohort"), "-o", str(disk / "records"), *size],
    }
    for site, argv in cases.items():
        before = sorted(disk.rglob("*"))
        fill(disk, 0)
        code, told = call(argv)
        (disk / "filler").unlink()
        # What an unfinished build keeps to go on with lies in a folder of its own.
        new = sorted(str(f) for f in set(disk.rglob("*")) - set(before) if f.is_file() and ".partial" not in str(f))
        print(json.dumps({"site": site, "leave": 0, "code": code, "told": told, "finished": False,
                          "leftovers": new, "earlier_intact": True}), flush=True)


if __name__ == "__main__":
    study(Path(sys.argv[1]))
    single_files(Path(sys.argv[1]))
