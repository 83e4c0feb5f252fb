"""A whole study timed at toy size: every stage is there, and together they are the study."""

import pytest

from bonemet_jax.study.stages import STAGES

from .conftest import RunQuick


@pytest.mark.slow
def test_every_stage_is_timed(run_quick: RunQuick) -> None:
    records = {record["metric"]: record for record in run_quick("study")}
    stages = [f"stage_{stage.name}_s" for stage in STAGES]
    assert set(records) == {"total_s", "goodput", "peak_memory", *stages}
    assert sum(records[name]["median"] for name in stages) < records["total_s"]["median"]
    assert len(records["goodput"]["samples"]) == 3 and 0 < records["goodput"]["median"] < 1
    assert 0 < records["total_s"]["quality"]["auc_gbdt_both"] <= 1
