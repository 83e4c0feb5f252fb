"""A finished run: opened, checked, and whether it was trained on synthetic patients."""

from pathlib import Path

from bonemet_jax import artifacts
from bonemet_jax.cli import stamps
from bonemet_jax.cli.stages import BY_NAME, Run, load_run_config
from bonemet_jax.errors import CorruptFileError, UsageError

#: Part of every output of a network that was trained on synthetic patients.
SYNTHETIC_WARNING = "trained on SYNTHETIC patients: the scores mean nothing for real ones"


def open_finished(directory: Path) -> Run:
    """The run in this directory.

    Raises: UsageError when it is none, or when its networks and classifiers do not belong together; CorruptFileError
        when a file of them is missing or changed.
    """
    if not (directory / "config.json").is_file():
        raise UsageError("not a run directory: it holds no config.json", directory, "run `bonemet run` first")
    run = Run(directory, load_run_config(directory / "config.json"))
    check_finished(run)
    return run


def check_finished(run: Run) -> None:
    """Check that networks, embeddings and classifiers belong together and to the run's config.json.

    The cohort is not needed. Raises: UsageError naming the stage that is missing or of another config;
        CorruptFileError when an output of one of them is missing or changed.
    """
    name = find_unfinished(run, ("cv", "embed", "fuse"))
    if name is not None:
        raise UsageError(f"stage '{name}' is not done with the config in config.json", run.directory,
                         "run the same `bonemet run` again")


def find_unfinished(run: Run, names: tuple[str, ...]) -> str | None:
    """The first of these stages that is missing or does not belong to those before it; None: all belong.

    Raises: CorruptFileError when an output of a finished stage is missing or changed.
    """
    found: dict[str, str] = {}
    for name in names:
        path = run.directory / "stages" / f"{name}.json"
        stamp = artifacts.load_json(path, stamps.Stamp) if path.is_file() else {"inputs": {}, "key": None}
        key = stamps.make_key(name, BY_NAME[name].settings(run), stamp["inputs"])
        of_this_run = all(stamp["inputs"].get(need) == found[need] for need in BY_NAME[name].needs if need in found)
        if not (of_this_run and stamps.is_stamped(run.directory, name, key)):
            return name
        if (damaged := stamps.find_damage(run.directory, name, key)) is not None:
            what = "changed since it was written (sha256)" if damaged.is_file() else "missing"
            raise CorruptFileError(f"output of stage '{name}': {what}", damaged,
                                   "restore it, or run the same `bonemet run` again")
        found[name] = key
    return None


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
