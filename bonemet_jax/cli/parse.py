"""Flags from dataclasses, with every mistake told in one line (exit code 2)."""

import contextlib
import io
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

from bonemet_jax.errors import UsageError

T = TypeVar("T")
_FRAME = re.compile(r"[─│╭╮╰╯]")
_RULE = re.compile(r"─{8,}")


def parse(kind: type[T], verb: str, argv: Sequence[str], default: T | None = None, **options: Any) -> T:
    """Parse `argv` into a `kind`.

    Raises: UsageError with the flag and what it takes. SystemExit(0) after `--help`.
    """
    errors = io.StringIO()
    given: dict[str, Any] = dict(options) if default is None else {"default": default, **options}
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(kind, prog=f"bonemet {verb}", args=list(argv), **given)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UsageError(one_line(errors.getvalue()), "", f"see `bonemet {verb} --help`") from None


def one_line(box: str) -> str:
    """The text of the parser's framed messages as one line, its help excerpts left out."""
    parts: list[str] = [""]
    for row in box.splitlines():
        if row.startswith("╭"):
            continue
        if _RULE.search(row):
            parts.append("")
        else:
            parts[-1] += " " + _FRAME.sub("", row).strip()
    texts = [" ".join(part.split()) for part in parts]
    told = [text for text in texts if text and not text.startswith(("For full helptext", "Argument helptext"))]
    return ", ".join(told) or "flags not understood"
