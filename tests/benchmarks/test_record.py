"""What a record holds, how it is read back, and the interval of a median."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.__main__ import BENCHMARKS
from benchmarks.harness import Measurement, Ratio, make_record, median_interval, summarize
from benchmarks.record import SCHEMA_FILE, find_latest, format_commit, load_records, name_metric
from bonemet_jax.config import Config
from bonemet_jax.errors import CorruptFileError, UsageError

BASELINES = SCHEMA_FILE.parent / "baselines"
SCHEMA = json.loads(SCHEMA_FILE.read_text())
RATIO = Measurement("x", "speedup", "1", "higher", [2.0, 4.0], {}, Config("x"), {"loss": 0.5}, Ratio(3.0, 2.0, 4.0),
                    ("a_s", "b_s"))  # fmt: skip


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return json.loads(json.dumps(make_record(RATIO, quick=True)))


def test_schema_names_every_field_and_no_other(record: dict[str, Any]) -> None:
    assert set(record) == set(SCHEMA["properties"]) == set(SCHEMA["required"])
    assert SCHEMA["additionalProperties"] is False
    assert record["schema"] == SCHEMA["properties"]["schema"]["const"] == 3
    assert record["compared"] == ["a_s", "b_s"]


@pytest.mark.parametrize("path", sorted(BASELINES.glob("*.jsonl")), ids=lambda path: path.stem)
def test_committed_baselines_are_records(path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: no record is validated")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        jsonschema.validate(record, SCHEMA)
    assert {record["benchmark"] for record in records} <= set(BENCHMARKS) and not any(r["dirty"] for r in records)


def test_schema_refuses_what_is_no_record(record: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: no record is validated")
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    validator.validate(record)
    damages: list[dict[str, Any]] = [
        {"unit": None}, {"better": "more"}, {"samples": []}, {"mad": -1.0}, {"interval": [1.0]}, {"n": 0}, {"new": 1},
        {"commit": "abc"}, {"config_fingerprint": "no"}, {"device": {"kind": "cpu"}}, {"quality": {"loss": "low"}},
        {"schema": 2},
    ]  # fmt: skip
    assert not [damage for damage in damages if validator.is_valid(record | damage)]


@pytest.mark.parametrize(("n", "rank"), [(6, 1), (8, 1), (9, 2), (10, 2), (20, 6), (25, 8), (50, 18), (100, 40)])
def test_interval_of_the_median_has_the_ranks_of_the_sign_test(n: int, rank: int) -> None:
    """One above the sign test's tabled critical values, two-sided, 5 %: 0, 0, 1, 1, 5, 7, 17, 39."""
    shuffled = np.random.default_rng(n).permutation(np.arange(1.0, n + 1))
    assert median_interval(shuffled) == [rank, n + 1 - rank]


@pytest.mark.parametrize("n", [1, 5])
def test_few_samples_have_no_interval(n: int) -> None:
    assert median_interval(np.arange(float(n))) is None


def test_interval_covers_a_skewed_median_at_least_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    ends = np.array([median_interval(random.lognormal(0, 1, 11)) for _ in range(2000)])
    covered = np.mean((ends[:, 0] <= 1) & (ends[:, 1] >= 1))
    assert 0.98 <= covered <= 0.995, "by the binomial 98.8 % between ranks 2 and 10, 93.5 % between 3 and 9"


def test_deviation_is_no_matter_how_far_one_sample_lies() -> None:
    for far in (10.0, 1e6):
        told = summarize([1.0, 2.0, 3.0, 4.0, far])
        assert (told["median"], told["mad"], told["interval"], told["n"]) == (3.0, 1.0, None, 5)


def _write(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_records_of_the_schema_before_gain_what_their_samples_tell(tmp_path: Path, record: dict[str, Any]) -> None:
    missing = ("mad", "interval", "compared")
    old = {name: value for name, value in record.items() if name not in missing} | {"schema": 2}
    first, second = load_records([_write(tmp_path / "a", record), _write(tmp_path / "b", old)])
    assert first == record and second["mad"] == 1.0 and second["interval"] is second["compared"] is None


def test_what_is_no_file_of_records_is_one_clear_line(tmp_path: Path, record: dict[str, Any]) -> None:
    with pytest.raises(CorruptFileError, match="cannot be read"):
        load_records([tmp_path / "nowhere"])
    with pytest.raises(CorruptFileError, match="line 2"):
        load_records([_write(tmp_path / "half", record, {"schema": 3})])
    with pytest.raises(UsageError, match="schema 1; this version reads 2 and 3"):
        load_records([_write(tmp_path / "old", record | {"schema": 1})])
    with pytest.raises(UsageError, match="no records"):
        load_records([_write(tmp_path / "empty")])


def test_series_differ_by_network_size_and_device(record: dict[str, Any]) -> None:
    other = [record | {"parameters": {"network": "resnet50"}}, record | {"quick": False},
             record | {"device": record["device"] | {"count": 8}}]  # fmt: skip
    newer = record | {"median": 9.0, "commit": "f" * 40}
    assert find_latest([record, *other, newer]) == [newer, *other]
    assert name_metric(other[0]) == "speedup resnet50"
    assert name_metric(other[0] | {"metric": "wait_resnet50"}) == "wait_resnet50"


def test_commits_are_short_and_say_when_they_are_not_the_whole_truth(record: dict[str, Any]) -> None:
    assert format_commit(record | {"commit": "0123456789" * 4, "dirty": True}) == "0123456+"
    assert format_commit(record | {"commit": None, "dirty": False}) == "no commit"
