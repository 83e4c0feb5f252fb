"""Records read back from their JSON-lines files (benchmarks/record.schema.json)."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bonemet_jax.errors import CorruptFileError, UsageError

Record = dict[str, Any]
SCHEMA_FILE = Path(__file__).with_name("record.schema.json")
_NEEDED = {"schema", "benchmark", "metric", "better", "samples", "ratio", "parameters", "commit", "dirty", "device",
           "versions"}  # fmt: skip


def load_records(paths: Iterable[Path]) -> list[Record]:
    """All records, file after file, in their order; those of schema 2 gain what their samples tell.

    Raises: CorruptFileError naming file and line, UsageError where a file is of another schema or holds none.
    """
    found: list[Record] = []
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise CorruptFileError(f"records cannot be read ({error})", path, "name a file of --json") from error
        records = [_read_line(path, i, line) for i, line in enumerate(lines, 1) if line.strip()]
        if not records:
            raise UsageError("no records", path, "name a file of --json")
        found += records
    return found


def _read_line(path: Path, number: int, line: str) -> Record:
    from benchmarks.harness import MIN_FOR_INTERVAL, SCHEMA, summarize

    where = f"{path}, line {number}"
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or not _NEEDED.issubset(record) or not record["samples"]:
        raise CorruptFileError("not a benchmark record", where, "delete the line, or name a file of --json")
    if record["schema"] not in (SCHEMA - 1, SCHEMA):
        raise UsageError(f"record of schema {record['schema']}; this version reads {SCHEMA - 1} and {SCHEMA}", where,
                         "measure again")
    if len(record["samples"]) < MIN_FOR_INTERVAL:  # earlier versions gave one whatever the number
        record["ci95"] = None
    return {"compared": None} | summarize(record["samples"]) | record | {"schema": SCHEMA}


def name_metric(record: Record) -> str:
    """The metric, and the network where the parameters name one and the metric does not."""
    network = record["parameters"].get("network", "")
    return record["metric"] if network in record["metric"] else f"{record['metric']} {network}"


def series_key(record: Record) -> tuple[Any, ...]:
    """What two records share that may be set beside each other from commit to commit."""
    device = record["device"]
    return record["benchmark"], name_metric(record), record["quick"], device["kind"], device["count"]


def find_latest(records: Iterable[Record]) -> list[Record]:
    """The last record of every series."""
    return list({series_key(record): record for record in records}.values())


def format_commit(record: Record) -> str:
    """Seven digits, + where changes were not committed."""
    return "no commit" if record["commit"] is None else record["commit"][:7] + "+" * record["dirty"]
