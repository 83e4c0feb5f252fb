"""`bonemet configs list | show NAME | copy NAME FILE`: the configs that come with the package."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bonemet_jax import artifacts
from bonemet_jax.cli.parse import Choice, parse_choice
from bonemet_jax.cli.path_flags import check_paths
from bonemet_jax.cli.verb_report import CommonArgs, VerbReport
from bonemet_jax.config_files import describe, find_packaged, list_configs
from bonemet_jax.errors import UsageError

Name = Annotated[str, tyro.conf.arg(metavar="NAME")]


@dataclass(frozen=True)
class ListArgs(CommonArgs):
    """Print the name of every packaged config with one line about it."""


@dataclass(frozen=True)
class ShowArgs(CommonArgs):
    """Print a packaged config."""

    name: tyro.conf.Positional[Name] = tyro.MISSING
    """Name of a packaged config, for example smoke."""


@dataclass(frozen=True)
class CopyArgs(CommonArgs):
    """Write a packaged config to a new file, which you can edit and run: `bonemet run FILE -o RUN`."""

    name: tyro.conf.Positional[Name] = tyro.MISSING
    """Name of a packaged config, for example smoke."""
    output: tyro.conf.Positional[Path] = tyro.MISSING
    """The file to write, for example my.py. Nothing is replaced."""


#: Action -> its flags.
ACTIONS: dict[str, type[CommonArgs]] = {"list": ListArgs, "show": ShowArgs, "copy": CopyArgs}
_CHOICE = Choice("action", "no action given", 14, {"show": "show NAME", "copy": "copy NAME FILE"})


def main(verb: str, argv: list[str]) -> int:
    """Do one action."""
    args = parse_choice(ACTIONS, verb, argv, "ACTION ...", _CHOICE)
    report = VerbReport(verb, argv, args.report)
    match args:
        case ShowArgs():
            _show(args, report)
        case CopyArgs():
            _copy(args, report)
        case _:
            _list(report)
    return 0


def _list(report: VerbReport) -> None:
    lines = {name: describe(path) for name, path in list_configs().items()}
    report.write({"configs": lines})
    width = max(map(len, lines))
    print(*(f"{name:<{width}}  {text}" for name, text in lines.items()), sep="\n")


def _show(args: ShowArgs, report: VerbReport) -> None:
    path = find_packaged(args.name)
    report.write({"name": args.name}, inputs=[path])
    print(path.read_text(encoding="utf-8"), end="")


def _copy(args: CopyArgs, report: VerbReport) -> None:
    path = find_packaged(args.name)
    if str(args.output) in list_configs():
        raise UsageError("PATH: this name means the packaged config, and would not find the copy", args.output,
                         "give a name that ends in .py")
    data = path.read_bytes()
    with artifacts.atomic_path(args.output, len(data)) as partial:
        partial.write_bytes(data)
        check_paths(args)  # a file may have appeared since the first check
    report.write({"name": args.name}, inputs=[path], outputs=[args.output])
    print(args.output)
