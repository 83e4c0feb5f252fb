"""An error with a remedy on its way back from a Beam worker, where only an exception's text arrives."""

import json
from collections.abc import Callable
from typing import Any

from bonemet_jax import errors
from bonemet_jax.errors import BonemetError

_MARK = "refused: "


class WorkerRefusalError(Exception):
    """Carries a BonemetError as text."""


def call_stage(element: Any, stage: Callable[..., Any], *settings: Any) -> Any:
    """`stage(element, *settings)`, with a BonemetError raised as an exception whose text holds all of it."""
    try:
        return stage(element, *settings)
    except BonemetError as error:
        told = {"kind": type(error).__name__, "what": error.what, "where": error.where, "mend": error.mend}
        raise WorkerRefusalError(_MARK + json.dumps(told)) from error


def find_refusal(error: BaseException) -> BonemetError | None:
    """The BonemetError that a runner's error tells of, if any."""
    text = str(error)
    at = text.find(_MARK + "{")
    if at < 0:
        return None
    told, _ = json.JSONDecoder().raw_decode(text, at + len(_MARK))
    return getattr(errors, told["kind"])(told["what"], told["where"], told["mend"])
