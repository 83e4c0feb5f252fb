"""Every record that a test has written is held against its schema."""

import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks import harness
from benchmarks.__main__ import main
from benchmarks.record import SCHEMA_FILE, find_latest

RunQuick = Callable[[str], list[dict[str, Any]]]
WRITE = harness.append_records


def check_records(path: Path, records: list[dict[str, Any]]) -> None:
    """Write them after each, as it stands in the file, has been found to be what the schema says."""
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(json.loads(SCHEMA_FILE.read_text()))
    assert len(find_latest(records)) == len(records), "a number is told from the next by its metric and network"
    metrics = {record["metric"] for record in records}
    for record in records:
        validator.validate(json.loads(json.dumps(record)))
        assert metrics >= set(record["compared"] or ()), "both numbers of a ratio are records of the same run"
    WRITE(path, records)


@pytest.fixture(scope="session", autouse=True)
def records_keep_the_schema() -> Iterator[None]:
    """Where jsonschema is installed; test_record.py says so where it is not."""
    with pytest.MonkeyPatch.context() as patch:
        if find_spec("jsonschema") is not None:
            patch.setattr(harness, "append_records", check_records)
        yield


@pytest.fixture
def run_quick(tmp_path: Path) -> RunQuick:
    """Runs one benchmark at toy size and gives the records that it wrote."""

    def run(name: str) -> list[dict[str, Any]]:
        out = tmp_path / f"{name}.jsonl"
        assert main([name, "--quick", "--json", str(out)]) == 0
        return [json.loads(line) for line in out.read_text().splitlines()]

    return run
