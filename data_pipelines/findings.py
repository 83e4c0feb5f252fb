"""A finding: one thing that the user should know of the data, with its code from check_codes."""

from dataclasses import dataclass

from bonemet_jax.errors import InputDataError
from data_pipelines.check_codes import VERDICTS, Severity


@dataclass(frozen=True)
class Finding:
    """One thing the user should know."""

    code: str
    what: str
    """One sentence: the meaning, and the figures of this case."""
    fact: str = ""
    """What decided: a header element and what it holds, a cell, a figure beside its limit."""
    where: str = ""
    """File, member of an archive, or table."""
    patient: str = ""
    """patient_id, where it concerns one."""
    row: int | None = None
    """Row of the table as a spreadsheet counts: 1 is the header."""
    column: str = ""
    remedy: str = ""
    """What to do in this case, where the table's remedy does not fit it."""
    ids: str = ""
    """Ids and names of files that the user must compare, quoted. Shown on the terminal and in findings.csv; left out of
    `str()`, which is stored with a slice."""

    @property
    def severity(self) -> Severity:
        """error or warning."""
        return VERDICTS[self.code].severity

    @property
    def mend(self) -> str:
        """What to do about it."""
        return self.remedy or VERDICTS[self.code].mend

    @property
    def line(self) -> str:
        """The finding with the ids that it concerns."""
        return f"{self}: {self.ids}" if self.ids else str(self)

    def __str__(self) -> str:
        return f"{self.what} ({self.fact})" if self.fact else self.what


def find(code: str, detail: str = "", fact: str = "", where: object = "", ids: str = "") -> Finding:
    """The finding of a code; `detail` replaces the table's words where this case needs figures."""
    return Finding(code, detail or VERDICTS[code].meaning, fact, str(where), ids=ids)


def refusal(code: str, where: object, detail: str = "", fact: str = "", mend: str = "") -> InputDataError:
    """The error of a code, to be raised; `mend` replaces the table's remedy where this case knows a better one."""
    verdict = VERDICTS[code]
    return InputDataError(detail or verdict.meaning, where, mend or verdict.mend, code, fact)


def finding_of(error: InputDataError) -> Finding:
    """The finding that an error carries."""
    return Finding(error.code, error.what, error.fact, error.where, remedy=error.mend)
