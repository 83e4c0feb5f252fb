"""What is found while a clinical table is read: faults one by one, readings once a column with their cells counted."""

from data_pipelines.check_codes import VERDICTS
from data_pipelines.findings import Finding

#: Errors listed, and warnings listed about single rows; the rest is counted.
MAX_FINDINGS = 500


class Journal:
    """Findings in the order found; each names its row and column in its own words too, so that it stands alone."""

    def __init__(self, where: str, findings: list[Finding]) -> None:
        self.where, self._findings = where, findings
        self._told: dict[tuple[str, str], tuple[int, int, dict[str, None]]] = {}
        self._once: set[tuple[str, str]] = set()
        self._n = {"error": 0, "warning": 0}
        self._patients: dict[int, str] = {}

    def name(self, row: int, patient: str) -> None:
        """Findings added about this row concern this patient; no finding's words say so."""
        self._patients[row] = patient

    def add(self, code: str, detail: str = "", row: int | None = None, column: str = "", ids: str = "") -> None:
        """One finding; beyond MAX_FINDINGS of a severity it is only counted."""
        self._put(code, detail, row, column, "" if row is None else self._patients.get(row, ""), ids)

    def _put(self, code: str, detail: str, row: int | None, column: str, patient: str, ids: str = "") -> None:
        severity = VERDICTS[code].severity
        self._n[severity] += 1
        if self._n[severity] <= MAX_FINDINGS:
            place = [f"row {row}"] * (row is not None) + [f"column {column}"] * bool(column)
            what = ": ".join([", ".join(place)] * bool(place) + [detail or VERDICTS[code].meaning])
            self._findings.append(Finding(code, what, where=self.where, patient=patient, row=row, column=column,
                                          ids=ids))

    def add_once(self, code: str, detail: str, row: int, column: str) -> None:
        """One finding for all rows: the first row stands for the others."""
        if (code, column) not in self._once:
            self._once.add((code, column))
            self._put(code, detail, row, column, "")

    def tell(self, code: str, detail: str, row: int, column: str) -> None:
        """A reading of one cell, told with all others of its column in `finish`."""
        first, n, details = self._told.get((code, column), (row, 0, {}))
        self._told[code, column] = (first, n + 1, details | {detail: None})

    def finish(self) -> tuple[Finding, ...]:
        """All findings."""
        for (code, column), (row, n, details) in self._told.items():
            cells = "1 cell" if n == 1 else f"{n} cells, the first"
            what = f"column {column}: {'; '.join(details)} ({cells} in row {row})"
            self._findings.append(Finding(code, what, where=self.where, row=row, column=column))
        for severity, code in (("error", "csv-more-errors"), ("warning", "csv-more-warnings")):
            if self._n[severity] > MAX_FINDINGS:
                n = self._n[severity] - MAX_FINDINGS
                self._findings.append(Finding(code, f"{n} more {severity}s are not listed", where=self.where))
        return tuple(self._findings)
