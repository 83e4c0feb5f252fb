"""Run by the tests that kill trainings: forks one a line of standard input, so that none waits for imports.

A line is JSON: `run_dir`, `config`, and `env` to set. Out come "began" and the process id, then "ended" and the exit
code. What the training says is left in `run_dir`/told.txt.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from bonemet_jax.cohort.folds import make_folds
from bonemet_jax.config import Config, from_dict
from bonemet_jax.errors import BonemetError
from bonemet_jax.process_state import process_control
from bonemet_jax.telemetry.compile_cache import COMPILE_CACHE
from bonemet_jax.train.dry_run import make_random_records
from bonemet_jax.train.loop import train_folds


def train(run_dir: Path, config: Config) -> int:
    """Fold 0 of the cohort that the fixtures have; the exit code."""
    records = make_random_records(24, 64, 80, seed=0)
    folds = make_folds(records.patient_id, records.label.tolist(), config.folds)
    try:
        with process_control(), COMPILE_CACHE:  # as the command line does
            train_folds(records, folds, config, run_dir, (0,))
    except BonemetError as error:
        print(f"bonemet: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


def fork(command: dict[str, Any]) -> int:
    """The process id of a training."""
    pid = os.fork()
    if pid:
        return pid
    os.environ.update(command["env"])
    run_dir = Path(command["run_dir"])
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / "told.txt").open("wb") as told:
        os.dup2(told.fileno(), 2)
        code = train(run_dir, from_dict(Config, command["config"]))
    os._exit(code)


if __name__ == "__main__":
    for line in sys.stdin:
        print("began", pid := fork(json.loads(line)), flush=True)
        print("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
