"""A run directory and its config."""

from dataclasses import dataclass
from pathlib import Path

from bonemet_jax import artifacts
from bonemet_jax.config import Config, from_dict
from bonemet_jax.errors import CorruptFileError, UsageError
from bonemet_jax.telemetry.observe import NOTHING, Observe


@dataclass(frozen=True)
class Run:
    """A run directory and its config."""

    directory: Path
    config: Config
    observe: Observe = NOTHING

    @property
    def cohort_dir(self) -> Path:
        """The given cohort, or the synthetic one inside the run."""
        given = self.config.cohort_dir
        return Path(given) if given is not None else self.directory / "cohort"

    @property
    def records_dir(self) -> Path:
        """Folder of the records. Raises: UsageError where there are none, CorruptFileError where there are several."""
        folder = self.directory / "tfds" / "bonemet_ct" / self.config.name
        found = sorted(folder.glob(f"*/{artifacts.MANIFEST}"))
        if not found:
            raise UsageError("the run has no records yet", self.directory, "run `bonemet run` first")
        if len(found) > 1:
            raise CorruptFileError(f"{len(found)} versions of the records in one run: "
                                   f"{', '.join(path.parent.name for path in found)}", folder,
                                   "delete all but the one that this run built")
        return found[0].parent

    @property
    def is_honest(self) -> bool:
        """Whether the classifiers learn from cross-fitted embeddings."""
        return self.config.fusion.mode == "honest"

    @property
    def cross_dir(self) -> Path:
        """Networks of every two folds, and their embeddings."""
        return self.directory / "cross"

    @property
    def near_duplicates(self) -> Path:
        """The file of patients who share an image."""
        return self.directory / "near_duplicates.json"

    def fold_dirs(self) -> list[Path]:
        """fold_0, fold_1, ..."""
        return [self.directory / f"fold_{k}" for k in range(self.config.folds.n_folds)]


def load_run_config(path: str | Path) -> Config:
    """The config of a run's config.json.

    Raises: CorruptFileError when the file is damaged, or its values are of another version, type or range.
    """
    values = artifacts.load_config_values(path)
    try:
        return from_dict(Config, values)
    except UsageError as error:
        raise CorruptFileError(error.what, path, f"restore the file, or run again ({error.mend})") from error
