"""Installed versions of the packages that decide numbers and speed, read from metadata: nothing is imported."""

import platform
from collections.abc import Iterable
from importlib import metadata

from bonemet_jax import __version__

PACKAGES: tuple[str, ...] = (
    "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-cpu", "tensorflow-datasets", "apache-beam",
    "array-record", "scikit-image", "scikit-learn", "scikit-survival", "xgboost-cpu", "xgboost", "numpy", "pandas",
    "pydicom", "python-gdcm", "nibabel",
)


def find_versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """This project, python and every named package that is installed: name -> version."""
    found = {"bonemet-jax": __version__, "python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
