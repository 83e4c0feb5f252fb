"""Config files: those that come with the package, by name, and all others by path.

In a checkout the packaged files are in configs/, next to the package; in a wheel they are data of the package.
"""

import ast
import difflib
from pathlib import Path

from bonemet_jax.errors import UsageError

_PACKAGE = Path(__file__).parent


def find_folder() -> Path:
    """Folder of the packaged config files."""
    in_wheel = _PACKAGE / "configs"
    return in_wheel if in_wheel.is_dir() else _PACKAGE.parent / "configs"


def list_configs() -> dict[str, Path]:
    """Name -> file of every packaged config. The name is the path in the folder without .py: smoke, ablation/ct."""
    folder = find_folder()
    files = (file for file in folder.rglob("*.py") if file.is_file() and not file.name.startswith("."))
    names = {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}
    return dict(sorted(names.items(), key=lambda item: (item[0].count("/"), item[0])))


def find_config(given: str | Path) -> Path:
    """File of a config.

    Args:
        given: Name of a packaged config, or a path. A name means the packaged config in every working directory; a file
            of that name is given as ./NAME. A Path is never a name.

    Raises: UsageError listing the names when there is no such config.
    """
    configs = list_configs()
    if isinstance(given, str) and given in configs:
        return configs[given]
    if Path(given).is_file():
        return Path(given)
    raise UsageError(f"no config '{given}': neither a packaged config nor a file", "", suggest(str(given)))


def find_packaged(name: str) -> Path:
    """File of a packaged config. Raises: UsageError listing the names when there is none of this name."""
    configs = list_configs()
    if name in configs:
        return configs[name]
    raise UsageError(f"no packaged config '{name}'", "", suggest(name))


def suggest(given: str) -> str:
    """Names of packaged configs similar to `given`, then all names."""
    names = list(list_configs())
    known = {name.rpartition("/")[2]: name for name in names} | {name: name for name in names}
    wanted = given.lower().removesuffix(".py").removeprefix("./").removeprefix("configs/")
    similar = list(dict.fromkeys(known[name] for name in difflib.get_close_matches(wanted, known, cutoff=0.7)))
    question = f"did you mean {' or '.join(similar)}? " if similar else ""
    return f"{question}packaged configs: {', '.join(names)}"


def describe(path: Path) -> str:
    """First line of a config file's docstring; the file is parsed without being executed."""
    try:
        parsed = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        return f"(cannot be read: {error})"
    return (ast.get_docstring(parsed) or "").partition("\n")[0]
