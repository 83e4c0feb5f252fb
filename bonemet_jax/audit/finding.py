"""What an audit says of one contradiction."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Severity = Literal["error", "warning"]


class Outcome(NamedTuple):
    """A comparison that failed: where, what is printed, what would agree, and why, in words."""

    where: str
    printed: str
    expected: str
    what: str


@dataclass(frozen=True)
class Finding:
    """A contradiction by the rule that found it (names: rules/__init__.py).

    error: no values that round to the printed ones agree, or one would need a body that does not exist.
    warning: they agree only under an assumption that the tables do not state.
    """

    rule: str
    severity: Severity
    where: str
    printed: str
    expected: str
    what: str
