"""`python -m benchmarks export --to github|markdown|pyperf RECORDS.jsonl [...] -o FILE`: for other tools to read.

github: what github-action-benchmark takes as `customSmallerIsBetter`, with `--better higher` as
`customBiggerIsBetter`. markdown: a table for $GITHUB_STEP_SUMMARY. pyperf: every number in seconds with its samples,
for `python -m pyperf stats` and `compare_to`. Of each number the last record counts.
Exit codes: 0 written; 2 usage; 4 not a file of records.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import outputs
from benchmarks.record import Record, find_latest, format_commit, load_records, name_metric
from benchmarks.summary import format_number, make_markdown
from bonemet_jax import artifacts
from bonemet_jax.errors import BonemetError, UsageError

#: Unit -> seconds.
_SECONDS = {"s": 1.0, "ms": 1e-3, "core-s": 1.0, "core-ms": 1e-3}


def main(argv: Sequence[str]) -> int:
    """Write one export; returns the exit code."""
    parser = argparse.ArgumentParser("python -m benchmarks export", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("records", type=outputs.local_path, nargs="+", help="JSON-lines files of --json")
    parser.add_argument("--to", required=True, choices=["github", "markdown", "pyperf"], help="which tool reads it")
    parser.add_argument("--better", choices=["lower", "higher"], default="lower", help="github: numbers of this kind")
    parser.add_argument("-o", "--out", type=outputs.local_path, required=True, help="file to write")
    args = parser.parse_args(argv)
    exports: dict[str, Callable[[list[Record]], str]] = {
        "github": lambda records: make_github(records, args.better), "markdown": make_markdown, "pyperf": make_pyperf,
    }  # fmt: skip
    try:
        outputs.check_file(args.out, outputs.EXPORTS[args.to], "--out", args.records)
        artifacts.write_text(args.out, exports[args.to](load_records(args.records)))
    except BonemetError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def name_series(record: Record) -> str:
    """The same from commit to commit, different for all that must not be compared."""
    device = record["device"]
    quick = " quick" if record["quick"] else ""
    return f"{record['benchmark']}: {name_metric(record)} ({device['count']} x {device['kind']}{quick})"


def make_github(records: list[Record], better: str) -> str:
    """An array of {name, unit, value, range, extra}: the value is the median, of a ratio that of both medians.

    The tool reads of a range only a number after ±: half the width of the 95 % interval, where there is one.

    Raises: UsageError where no number is of this kind: the tool fails on an empty array.
    """
    entries = [_make_entry(record) for record in find_latest(records) if record["better"] == better]
    if not entries:
        raise UsageError(f"no number of which {better} is better", "records", "give the other --better")
    return json.dumps(entries, indent=1, ensure_ascii=False) + "\n"


def _make_entry(record: Record) -> dict[str, Any]:
    is_ratio = record["ratio"] is not None
    interval = record["ci95" if is_ratio else "interval"]
    extra = [f"n {record['n']}, median absolute deviation {format_number(record['mad'])}",
             f"commit {format_commit(record)}, {record['cpu_model']}, load {record['load_average'][0]:.1f}"]
    if interval:
        extra.insert(0, f"95 % interval {format_number(interval[0])} to {format_number(interval[1])}")
    extra += [f"{name} {format_number(value)}" for name, value in record["quality"].items()]
    entry = {"name": name_series(record), "unit": "times" if is_ratio else record["unit"],
             "value": record["ratio" if is_ratio else "median"], "extra": "\n".join(extra)}  # fmt: skip
    return entry | {"range": f"± {(interval[1] - interval[0]) / 2:.4g}"} if interval else entry


def make_pyperf(records: list[Record]) -> str:
    """A suite in pyperf's own file format: one run a number, a value a sample, seconds.

    Raises: UsageError where no number is in seconds: pyperf reads no empty suite.
    """
    timed = [record for record in find_latest(records) if record["unit"] in _SECONDS and min(record["samples"]) > 0]
    if not timed:
        raise UsageError("no number in seconds", "records", "export them --to markdown")
    benchmarks = [
        {"metadata": {"name": name_series(record), "unit": "second", "loops": 1, **_make_metadata(record)},
         "runs": [{"values": [_SECONDS[record["unit"]] * sample for sample in record["samples"]]}]}
        for record in timed
    ]  # fmt: skip
    return json.dumps({"version": "1.0", "metadata": {}, "benchmarks": benchmarks}, indent=1) + "\n"


def _make_metadata(record: Record) -> dict[str, Any]:
    """By pyperf's own names where it has one; an empty text it refuses."""
    found = {
        "commit": format_commit(record), "python_version": record["versions"]["python"],
        "jax_version": record["versions"].get("jax", ""), "cpu_model_name": record["cpu_model"],
        "cpu_count": record["cpu_count"] or 1, "load_avg_1min": record["load_average"][0],
        "platform": record["system"], "xla_flags": record["xla_flags"],
        "config_fingerprint": record["config_fingerprint"],
    }  # fmt: skip
    return {name: value for name, value in found.items() if value != ""}
