"""Packages that this project imports, and the one-line error for one that is not installed.

A light installation (requirements/core.in) has only some of them: enough to train, embed and export. A command that
needs another one ends with exit code 2.
"""

import importlib.util
import platform
import sys

from bonemet_jax.errors import BonemetError

#: Import name -> name on PyPI, of every package in pyproject.toml that the code imports.
PACKAGES: dict[str, str] = {
    "PIL": "pillow",
    "apache_beam": "apache-beam",
    "array_record": "array-record",
    "distributed": "distributed",
    "filelock": "filelock",
    "flatbuffers": "flatbuffers",
    "flax": "flax",
    "gdcm": "python-gdcm",
    "highdicom": "highdicom",
    "importlib_resources": "importlib-resources",
    "jax": "jax",
    "jaxtyping": "jaxtyping",
    "jinja2": "jinja2",
    "joblib": "joblib",
    "matplotlib": "matplotlib",
    "nibabel": "nibabel",
    "numpy": "numpy",
    "optax": "optax",
    "orbax": "orbax-checkpoint",
    "pandas": "pandas",
    "pebble": "pebble",
    "pyarrow": "pyarrow",
    "pydicom": "pydicom",
    "rich": "rich",
    "roifile": "roifile",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "sksurv": "scikit-survival",
    "tensorboardX": "tensorboardX",
    "tensorflow": "tensorflow-cpu" if sys.platform == "linux" and platform.machine() == "x86_64" else "tensorflow",
    "tensorflow_datasets": "tensorflow-datasets",
    "torch": "torch",
    "tyro": "tyro",
    "xgboost": "xgboost",
    "yaml": "pyyaml",
}
#: Of optional extras: pip does not install them with the project.
EXTRAS = ("distributed", "highdicom", "torch")


class MissingPackageError(BonemetError):
    """A command needs a package that is not installed."""

    exit_code = 2


def to_missing_package(error: BaseException, command: str) -> MissingPackageError | None:
    """The one-line error for a failed import of one of PACKAGES or a part of it.

    Args:
        error: What was raised, by the import itself or by a library because of it; its notes say where.
        command: The user's command, for the text.

    Returns: None for any other error, also for a missing module of this project or of another package: those are
        faults, and their traceback is needed.
    """
    root = _find_root(error)
    if root not in PACKAGES or _is_found(root):
        return None
    package = PACKAGES[root]
    alone = install_command(package)
    remedy = alone if root in EXTRAS else f"{install_command('bonemet-jax')} (or {alone})"
    where = ", ".join(getattr(error, "__notes__", []))
    return MissingPackageError(f"`{command}` needs {package}, which is not installed", where, remedy)


def install_command(packages: str, remove: str = "") -> str:
    """Shell command that installs packages into this environment, after removing others: pip's, or uv's where there is
    no pip, as in environments that uv makes.

    Args:
        packages: as a shell reads them, with blanks between.
        remove: the same.
    """
    has_pip = _is_found("pip")
    installer = "pip" if has_pip else "uv pip"
    removal = f"{installer} uninstall {'-y ' if has_pip else ''}{remove}; " if remove else ""
    return f"{removal}{installer} install {packages}"


def _find_root(error: BaseException | None) -> str:
    """First part of the missing module's name; empty for other errors."""
    while isinstance(error, ImportError):
        if isinstance(error, ModuleNotFoundError) and error.name:
            return error.name.partition(".")[0]
        error = error.__cause__ or error.__context__  # Beam raises a new one without the name
    return ""


def list_missing() -> list[str]:
    """Names on PyPI of the packages that are not installed, those of EXTRAS left out; nothing is imported."""
    return [package for root, package in PACKAGES.items() if root not in EXTRAS and not _is_found(root)]


def _is_found(root: str) -> bool:
    try:
        return importlib.util.find_spec(root) is not None
    except (ModuleNotFoundError, ValueError):  # an import hook refuses it
        return False
