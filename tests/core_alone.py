"""Makes a process see only the packages of a light installation (requirements/core.lock), whatever else is there."""

import re
import sys
from collections.abc import Iterable
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_OURS = {"bonemet-jax", "pip", "setuptools"}


def normalise(name: str) -> str:
    """A package's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def load_core_lock() -> set[str]:
    """Names of all packages in requirements/core.lock."""
    text = (ROOT / "requirements" / "core.lock").read_text()
    return {normalise(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.M)}


def hide_the_rest() -> None:
    """Make imports, look-ups and versions of all packages outside the lock fail as if they were not installed."""
    core = load_core_lock() | _OURS
    hidden = {root for root, packages in metadata.packages_distributions().items()
              if not core & set(map(normalise, packages))}

    class CoreFinder(PathFinder):
        """Finds modules on sys.path, except the hidden ones."""

        @classmethod
        def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
            if fullname.partition(".")[0] in hidden:
                return None
            return super().find_spec(fullname, path, target)

        @classmethod
        def find_distributions(cls, *args: Any, **options: Any) -> Iterable[Any]:
            found = super().find_distributions(*args, **options)
            return (one for one in found if normalise(one.metadata["Name"]) in core)

    for name in [name for name in sys.modules if name.partition(".")[0] in hidden]:
        del sys.modules[name]
    sys.meta_path[:] = [CoreFinder if finder is PathFinder else finder for finder in sys.meta_path]
