"""Errors a user can mend: one line that says what, where and how to mend; one exit code per kind."""


class BonemetError(Exception):
    """A fault with a remedy. `str()` is the one line shown: what is wrong; where; how to mend it."""

    exit_code = 1

    def __init__(self, what: str, where: object = "", mend: str = "") -> None:
        self.what, self.where, self.mend = what, str(where), mend
        super().__init__("; ".join(part for part in (what, str(where), mend) if part))


class UsageError(BonemetError):
    """A flag, verb or config value that does not exist or is out of range."""

    exit_code = 2


class DeviceError(BonemetError):
    """The device asked for is not there."""

    exit_code = 3


class CorruptFileError(BonemetError):
    """A file of ours is damaged, truncated or not what its manifest says."""

    exit_code = 4


class DiskError(BonemetError):
    """A write failed: disk full, quota, read-only."""

    exit_code = 5


class NumericsError(BonemetError):
    """A NaN or an infinity where a finite number must be."""

    exit_code = 6


class LeakageError(BonemetError):
    """Test data would reach a fit."""

    exit_code = 7


class InputDataError(BonemetError):
    """The user's data cannot be used as they are.

    `code` names the verdict in data_pipelines.check_codes, `fact` what decided it: a header element and what it holds.
    """

    exit_code = 8

    def __init__(self, what: str, where: object = "", mend: str = "", code: str = "input", fact: str = "") -> None:
        super().__init__(f"{what} ({fact})" if fact else what, where, mend)
        self.what, self.code, self.fact = what, code, fact


class TryAgainError(BonemetError):
    """Something died under the work, which the same command takes up again."""

    exit_code = 75


class Terminated(TryAgainError):
    """SIGTERM or SIGHUP ended the process: what was done is saved. The exit code is 128 + the signal's number."""

    exit_code = 143

    def __init__(self, what: str, where: object = "", mend: str = "", number: int = 15) -> None:
        super().__init__(what, where, mend)
        self.exit_code = 128 + number


#: Exit code after Ctrl-C.
INTERRUPTED = 130
