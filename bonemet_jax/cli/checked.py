"""What `bonemet doctor` says of one subject: facts in plain JSON values, problems with what repairs them."""

from typing import Any, NamedTuple


class Problem(NamedTuple):
    """What stands in a run's way."""

    what: str
    mend: str
    exit_code: int = 0
    """Of the verb; 0: a run is possible all the same."""


class Checked(NamedTuple):
    """Facts of one subject, and what is wrong there."""

    facts: dict[str, Any]
    problems: list[Problem]
