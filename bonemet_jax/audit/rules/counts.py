"""Rules on the counts of Table 1: sums, percentages, p."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import combinations
from typing import Literal

from scipy import stats

from bonemet_jax.audit.finding import Outcome
from bonemet_jax.audit.printed import Printed
from bonemet_jax.audit.tables import Cell, Counted, Tables
from bonemet_jax.stats.table1 import compare_counts

#: Beyond so many patients or levels Fisher's exact test takes long, and nobody prints it.
_MOST_PATIENTS, _MOST_LEVELS = 20_000, 6
Verdict = Literal["rounded", "truncated", "swapped", "wrong"]


def check_sum(tables: Tables) -> Iterator[Outcome | None]:
    """The levels of a variable add up to the group."""
    for row in tables.counted:
        for group, n in row.n.items():
            counts = row.counts(group)
            if counts is not None:
                yield None if sum(counts) == n else Outcome(
                    f"{row.where}.{group}", " + ".join(map(str, counts)), str(n),
                    f"the levels add up to {sum(counts)}, {'more' if sum(counts) > n else 'fewer'} than the group has")


def check_percent(tables: Tables) -> Iterator[Outcome | None]:
    """A percentage is its count over the group, or over those the levels add up to, rounded or cut off."""
    for row, group, verdicts in _judge(tables):
        for level, verdict in verdicts.items():
            cell = row.levels[level][group]
            yield None if verdict != "wrong" else Outcome(
                f"{row.where}.{level}.{group}", _text(cell), _share(cell, row.n[group]),
                f"{cell.n} of {row.n[group]} is another percentage")


def check_swapped(tables: Tables) -> Iterator[Outcome | None]:
    """Percentages stand beside their own counts, not beside those of another level."""
    for row, group, verdicts in _judge(tables):
        wrong = [row.levels[level][group] for level, verdict in verdicts.items() if verdict == "swapped"]
        yield None if not wrong else Outcome(
            f"{row.where}.{group}", ", ".join(map(_text, wrong)),
            ", ".join(_share(cell, row.n[group]) for cell in wrong), "the percentages of two levels are swapped")


def check_truncated(tables: Tables) -> Iterator[Outcome | None]:
    """Percentages are rounded, not cut off."""
    for row, group, verdicts in _judge(tables):
        for level, verdict in verdicts.items():
            cell = row.levels[level][group]
            yield None if verdict != "truncated" else Outcome(
                f"{row.where}.{level}.{group}", _text(cell), _share(cell, row.n[group]), "cut off, not rounded")


def _judge(tables: Tables) -> Iterator[tuple[Counted, str, dict[str, Verdict]]]:
    """Row, group, and a verdict on each of its percentages that has a count."""
    for row in tables.counted:
        for group in row.n:
            cells = {level: cells[group] for level, cells in row.levels.items()
                     if cells[group].n is not None and cells[group].percent is not None}
            counts = row.counts(group) or []
            yield row, group, _judge_cells(cells, [n for n in (row.n[group], sum(counts)) if n])


def _judge_cells(cells: Mapping[str, Cell], denominators: list[int]) -> dict[str, Verdict]:
    verdicts = {level: _judge_one(cell.percent, cell.n, denominators) for level, cell in cells.items()}
    wrong = [level for level, verdict in verdicts.items() if verdict == "wrong"]
    for a, b in combinations(wrong, 2):
        crossed = (_judge_one(cells[x].percent, cells[y].n, denominators) for x, y in ((a, b), (b, a)))
        if "wrong" not in crossed:
            verdicts[a] = verdicts[b] = "swapped"
    return verdicts


def _judge_one(percent: Printed | None, n: int | None, denominators: list[int]) -> Verdict:
    if percent is None or n is None:
        return "wrong"
    shares = [Fraction(100 * n, whole) for whole in denominators]
    if any(percent.exact_low <= share <= percent.exact_high for share in shares):
        return "rounded"
    bottom, unit = (percent.exact_low + percent.exact_high) / 2, percent.exact_high - percent.exact_low
    return "truncated" if any(bottom <= share < bottom + unit for share in shares) else "wrong"


def _text(cell: Cell) -> str:
    return f"{cell.n} ({cell.percent.text if cell.percent else ''})"


def _share(cell: Cell, n: int) -> str:
    return f"{100 * (cell.n or 0) / n:.2f}"


def check_chi_square(tables: Tables) -> Iterator[Outcome | None]:
    """p of the chi-square test, with or without Yates' correction, or of Fisher's, from the counts."""
    for row in tables.counted:
        counts = {group: row.counts(group) for group in row.n}
        if row.p is None or row.test in ("student", "welch", "other") or None in counts.values() or len(counts) < 2:
            continue
        found = [p for table in _tables(row, [c for c in counts.values() if c]) for p in _compute_p(table, row.test)]
        if found:
            yield None if any(row.p.meets(p, p) for p in found) else Outcome(
                f"{row.where}.p", row.p.text, f"{found[0]:.2g}", "p does not follow from the counts")


def _tables(row: Counted, counts: list[list[int]]) -> list[list[list[int]]]:
    """The printed counts, and those with the patients that no level holds as a level of their own."""
    rest = [n - sum(c) for n, c in zip(row.n.values(), counts, strict=True)]
    with_rest = [[*c, r] for c, r in zip(counts, rest, strict=True)]
    return [counts, with_rest] if min(rest) >= 0 and max(rest) > 0 else [counts]


def _compute_p(counts: list[list[int]], test: str | None) -> list[float]:
    """p of the test that is stated, of all three where none is; empty where there is no p."""
    if sum(map(sum, counts)) > _MOST_PATIENTS or len(counts[0]) > _MOST_LEVELS:
        held = [level for level in zip(*counts, strict=True) if sum(level)]
        if len(held) < 2 or not all(map(sum, counts)):
            return []
        return [float(stats.chi2_contingency(list(zip(*held, strict=True)), correction=test == "yates").pvalue)]
    found = compare_counts(counts)
    by_test = {"chisq": found.chisq_p, "yates": found.chisq_yates_p, "fisher": found.fisher_p}
    return [p for name, p in by_test.items() if p is not None and test in (None, name)]
