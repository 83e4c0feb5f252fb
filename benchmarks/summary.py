"""What was measured in one table, a line a number: ours, what it is compared with, their ratio."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.record import Record, format_commit, name_metric, series_key

HEAD = ("benchmark", "metric", "ours", "peer", "ratio", "quality", "n")
NOTE = "[ ]: 95 % interval of the median, of the ratio; ↑ higher is better, ↓ lower"
#: Characters that each column of a printed table takes: 120 with a space between.
_WIDTHS = (10, 26, 23, 16, 22, 14, 3)
_ARROWS = {"higher": "↑", "lower": "↓"}


class Row(NamedTuple):
    """One line, as text."""

    benchmark: str
    metric: str
    ours: str = ""
    peer: str = ""
    ratio: str = ""
    quality: str = ""
    n: str = ""


def make_rows(records: Iterable[Record]) -> list[Row]:
    """A row for each number, last measured, and for each peer of it; a peer's number has none of its own."""
    latest = {series_key(record): record for record in records}
    pairs = {key: pair for key, record in latest.items() if (pair := _find_pair(latest, record))}
    told = {series_key(number) for pair in pairs.values() for number in pair}
    return [
        _compare(record, *pairs[key]) if key in pairs else _describe(record)
        for key, record in latest.items() if key in pairs or key not in told
    ]  # fmt: skip


def describe_run(records: Sequence[Record]) -> list[str]:
    """Where the newest of the records were measured, and what its numbers are worth, in lines."""
    last = records[-1]
    device = last["device"]
    lines = [f"{device['count']} x {device['kind']} ({last['cpu_model']}), commit {format_commit(last)}, "
             f"jax {last['versions'].get('jax')}, load {last['load_average'][0]:.1f}", NOTE]  # fmt: skip
    return [*lines, "quick: toy sizes, not results"] if any(record["quick"] for record in records) else lines


def print_table(records: Sequence[Record], failed: Mapping[str, str]) -> None:
    """Print the rows, and of each benchmark that failed why; at most 120 columns."""
    print(_lay_out(HEAD).upper())
    before = Row("", "")
    for row in make_rows(records):
        same = row.benchmark == before.benchmark
        ditto = same and row.quality and row.quality == before.quality
        print(("" if same else "\n") + _lay_out(row._replace(quality='"') if ditto else row))
        before = row
    for name, reason in failed.items():
        print(f"\n{name:<{_WIDTHS[0]}} FAILED: {reason}"[: sum(_WIDTHS) + len(_WIDTHS)])
    print("\n" + "\n".join(describe_run(records) if records else ["nothing was measured"]))


def _lay_out(row: Sequence[str]) -> str:
    """One row of a printed table: cells in columns, what is too long on further lines."""
    cells = [_wrap(cell, width) for cell, width in zip(row, _WIDTHS, strict=True)]
    lines = itertools.zip_longest(*cells, fillvalue="")
    padded = (" ".join(part.ljust(width) for part, width in zip(line, _WIDTHS, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def _wrap(text: str, width: int) -> list[str]:
    """Lines of at most so many characters, broken after spaces and underscores, within a longer word where it must."""
    lines = [""]
    for word in re.findall(rf"[^_ ]{{1,{width - 1}}}[_ ]?|[_ ]", text):
        if len(lines[-1]) + len(word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
    return [line.rstrip() for line in lines]


def make_markdown(records: Sequence[Record]) -> str:
    """The rows as a table of GitHub's Markdown, under a line that says where they were measured."""
    rows = [HEAD, ("---", "---", *["---:"] * 3, "---", "---:"), *make_rows(records)]
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(["### Benchmarks", "", *lines, "", "  \n".join(describe_run(records)), ""])


def format_number(value: float) -> str:
    """Three digits; more where there are more before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def name_peer(ours: str, other: str) -> str:
    """What is left of the other's metric without the words that both begin and end with; a number keeps its word."""
    a, b = ours.split("_"), other.split("_")
    start = _count_equal(a, b)
    end = len(b) - _count_equal(a[start:][::-1], b[start:][::-1])
    if start and "".join(b[start:end]).isdigit():
        start -= 1
    return "_".join(b[start:end]) or other


def _count_equal(a: Sequence[str], b: Sequence[str]) -> int:
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _find_pair(latest: Mapping[tuple[Any, ...], Record], ratio: Record) -> list[Record]:
    """The two numbers of a ratio, ours first; nothing where they are no records."""
    found = [latest.get(series_key(ratio | {"metric": metric})) for metric in ratio["compared"] or ()]
    return [record for record in found if record is not None] if None not in found else []


def _describe(record: Record) -> Row:
    """A number by itself; of a ratio whose numbers are no records, the ratio."""
    ours, ratio = ("", _format_ratio(record)) if record["ratio"] is not None else (_format_median(record), "")
    return Row(record["benchmark"], name_metric(record), ours, "", ratio, _format_quality(record), str(record["n"]))


def _compare(ratio: Record, ours: Record, other: Record) -> Row:
    peer = f"{name_peer(ours['metric'], other['metric'])} {format_number(other['median'])}"
    return Row(ours["benchmark"], name_metric(ours), _format_median(ours), peer, _format_ratio(ratio),
               _format_quality(ratio) or _format_quality(ours), str(ratio["n"]))  # fmt: skip


def _format_median(record: Record) -> str:
    unit = "" if record["unit"] == "1" else f" {record['unit']}"
    return f"{format_number(record['median'])}{unit}{_format_interval(record['interval'])} {_ARROWS[record['better']]}"


def _format_ratio(record: Record) -> str:
    return f"{format_number(record['ratio'])}{_format_interval(record['ci95'])} {_ARROWS[record['better']]}"


def _format_interval(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f" [{format_number(interval[0])}, {format_number(interval[1])}]"


def _format_quality(record: Record) -> str:
    """The first figure, and how many more the record holds."""
    parts = [f"{name} {format_number(value)}" for name, value in record["quality"].items()]
    return "" if not parts else parts[0] + (f" +{len(parts) - 1}" if len(parts) > 1 else "")
