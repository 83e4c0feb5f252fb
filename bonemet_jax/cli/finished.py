"""A finished run: opened, checked, and whether it was trained on synthetic patients."""

from pathlib import Path

from bonemet_jax import artifacts
from bonemet_jax.cli.stages import Run, check_finished, load_run_config
from bonemet_jax.errors import CorruptFileError, UsageError

#: Part of every output of a network that was trained on synthetic patients.
SYNTHETIC_WARNING = "trained on SYNTHETIC patients: the scores mean nothing for real ones"


def open_finished(directory: Path) -> Run:
    """The run in this directory.

    Raises: UsageError when it is none, or when its networks and classifiers do not belong together.
    """
    if not (directory / "config.json").is_file():
        raise UsageError("not a run directory: it holds no config.json", directory, "run `bonemet run` first")
    run = Run(directory, load_run_config(directory / "config.json"))
    check_finished(run)
    return run


def is_trained_on_synthetic(run: Run) -> bool | None:
    """Whether the run's patients were synthetic; None where neither the run nor its cohort is left to decide."""
    if run.config.cohort_dir is None:
        return True
    for path, names in (
        (run.cohort_dir / artifacts.MANIFEST, ("facts", "kind")),
        (run.directory / "report.json", ("cohort", "kind")),
        (run.directory / "stats" / "planted.json", ("synthetic",)),
    ):
        try:
            value = artifacts.load_json(path)
            for name in names:
                value = value[name]
        except (CorruptFileError, OSError, KeyError, TypeError):
            continue
        if value in (True, False, "synthetic", "real"):
            return value in (True, "synthetic")
    return None


def check_training_patients(run: Run, allow_synthetic: bool) -> str:
    """The warning that every output must carry; empty for a run trained on real patients.

    Raises: UsageError for a run trained on synthetic patients, unless allowed.
    """
    is_synthetic = is_trained_on_synthetic(run)
    if is_synthetic is None:
        return "it is not known whether the training patients were real: the run's cohort is not there"
    if is_synthetic and not allow_synthetic:
        raise UsageError("the run was trained on synthetic patients: its scores mean nothing for real ones",
                         run.directory, "give a run trained on real patients, or --allow-synthetic to try the program")
    return SYNTHETIC_WARNING if is_synthetic else ""
