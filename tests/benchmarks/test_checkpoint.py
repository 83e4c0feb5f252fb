"""Saves timed at toy size: what is restored is what was saved."""

import pytest

from .conftest import RunQuick


@pytest.mark.every_change
def test_stall_and_restore(run_quick: RunQuick) -> None:
    records = {record["metric"]: record for record in run_quick("checkpoint")}
    assert {"steps_s_without", "in_background_over_without", "waiting_over_without", "save_call_s", "restore_s"} < set(
        records)
    for record in records.values():
        assert record["quality"] == {"restored_equal": 1.0} and record["median"] > 0
        assert record["parameters"]["file_mb"] > 0 and record["parameters"]["state_mb"] > 0
