"""Flags from dataclasses, with every mistake told in one line (exit code 2)."""

import contextlib
import io
import re
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import tyro

from bonemet_jax.cli.path_flags import check_paths
from bonemet_jax.errors import UsageError
from bonemet_jax.process_state import REPLACING_STREAMS

T = TypeVar("T")
_FLAG, _ALIASES = re.compile(r"(--?[A-Za-z][\w.-]*)(=.*)?", re.DOTALL), {"-i": "--input", "-o": "--output"}
_FRAME = re.compile(r"[─│╭╮╰╯]")
_RULE = re.compile(r"\W*(─{8,}|-{8,})\W*")
_KINDS = {"FLOAT": "number", "INT": "whole number"}
_UNION = re.compile(r"Error parsing (\S+): no type matching (.+?) could be instantiated from \[(.*?)\]\. Got errors:.*")
_NUMBER = re.compile(r"Error parsing (\S+): (could not convert string to float|invalid literal for int\(\)).*?: ('.*')")
_MISSING = re.compile(r"Missing value for argument '(\S+)'\. Expected (\d+) values\.")
_CHOICE = re.compile(r"invalid choice ('.*') for argument '(\S+)'\. Expected one of \((.*)\)\.")


class Choice(NamedTuple):
    """Words about the first argument of a command that names one of several actions."""

    noun: str
    missing: str
    """The error where it is left out."""
    width: int
    """Of the names in the help, characters."""
    usages: Mapping[str, str] = MappingProxyType({})
    """Name -> name with its own arguments, where it takes any."""


def parse(
    kind: type[T], verb: str, argv: Sequence[str], default: T | None = None, repeatable: Collection[str] = (),
    **options: Any,
) -> T:
    """Parse `argv` into a `kind`; flags may not come twice, but the repeatable ones. Output paths are checked.

    Raises: UsageError with the flag and what it takes, or why an output path is refused. SystemExit(0) after `--help`.
    """
    if default is None:  # over a config the last value wins, as its users expect
        _refuse_repeated(argv, repeatable)
    errors = io.StringIO()
    # Without a config file nothing is there that the word None could take back: it is no value then, nor in the help.
    given: dict[str, Any] = {"config": (tyro.conf.DisallowNone,)} if default is None else {"default": default}
    try:
        with REPLACING_STREAMS, contextlib.redirect_stderr(errors):
            args = tyro.cli(kind, prog=f"bonemet {verb}", args=list(argv), **given, **options)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UsageError(one_line(errors.getvalue()), "", f"see `bonemet {verb} --help`") from None
    check_paths(args)
    return args


def parse_choice(
    kinds: Mapping[str, type[T]], verb: str, argv: Sequence[str], usage: str, choice: Choice,
) -> T:
    """Parse `argv`, whose first word names one of the kinds; `--help` alone lists them.

    Args:
        kinds: Word -> its flags.
        verb: The command.
        argv: Its arguments.
        usage: What follows the command in the help.
        choice: Words of the help and the errors.

    Raises: as `parse`; UsageError for another word or none.
    """
    if argv and argv[0] in {"-h", "--help"}:
        texts = {choice.usages.get(name, name): kind.__doc__ for name, kind in kinds.items()}
        print(f"usage: bonemet {verb} {usage} (bonemet {verb} {usage.split()[0]} --help)\n")
        print(*(f"  {name:<{choice.width}}  {text}" for name, text in texts.items()), sep="\n")
        raise SystemExit(0)
    if not argv or argv[0] not in kinds:
        known = ", ".join(choice.usages.get(name, name) for name in kinds)
        raise UsageError(f"no {choice.noun} '{argv[0]}'" if argv else choice.missing, "", f"use one of {known}")
    return parse(kinds[argv[0]], f"{verb} {argv[0]}", argv[1:])


def _refuse_repeated(argv: Sequence[str], repeatable: Collection[str]) -> None:
    """Of a flag given twice the parser keeps the last value alone, silently."""
    found = [flag[1] for flag in map(_FLAG.fullmatch, argv) if flag]
    flags = [_ALIASES.get(flag, flag) for flag in found]
    for flag in flags:
        if flags.count(flag) > 1 and flag not in repeatable:
            raise UsageError(f"{flag} is given twice", flag, "give it once, with all its values behind it")


def one_line(box: str) -> str:
    """The text of the parser's framed messages as one line, its help excerpts left out."""
    parts: list[str] = [""]
    for row in box.splitlines()[1:]:  # the first is the title, in a frame or (terminal without UTF-8) over a rule
        if _RULE.fullmatch(row):
            parts.append("")
        else:
            parts[-1] += " " + _FRAME.sub("", row).strip()
    texts = [" ".join(part.split()) for part in parts]
    told = [text for text in texts if text and not text.startswith(("For full helptext", "Argument helptext"))]
    return ", ".join(map(_plain, told)) or "flags not understood"


def _plain(text: str) -> str:
    """The parser's sentence in a user's words; one that is not known here stays as it is."""
    if found := _UNION.fullmatch(text):
        return _plain_union(found[1], found[2], re.findall(r"'(?:[^'\\]|\\.)*'|\"[^\"]*\"", found[3]))
    if found := _NUMBER.fullmatch(text):
        return f"{found[1]}: {found[3]} is not a {'number' if 'float' in found[2] else 'whole number'}"
    if found := _MISSING.fullmatch(text):
        return f"{found[1]} takes {found[2]} value{'' if found[2] == '1' else 's'}"
    if found := _CHOICE.fullmatch(text):
        return f"{found[2]}: {found[1]} is none of {found[3].replace(chr(39), '').rstrip(', ')}"
    return text


def _plain_union(flag: str, metavar: str, values: list[str]) -> str:
    """What an optional value should have been: metavar names its parts, as in {None}|{FLOAT FLOAT}."""
    parts = re.sub(r"\{None\}\||[{}]", "", metavar).split()
    kind = _KINDS.get(parts[0], "value")
    if len(values) != len(parts):
        return f"{flag} takes {len(parts)} {kind}{'' if len(parts) == 1 else 's'}"
    many = f"are not {len(parts)} {kind}s" if len(parts) > 1 else f"is not a {kind}"
    return f"{flag}: {', '.join(values)} {many}"
