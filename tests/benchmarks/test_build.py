import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import build
from benchmarks.__main__ import main
from bonemet_jax import schema
from data_pipelines.bonemet_ct.rows import load_rows
from data_pipelines.bonemet_ct.tasks import make_tasks


@pytest.mark.every_change
def test_every_slice_is_built_and_deleted(tmp_path: Path) -> None:
    case, out = build.QUICK[0], tmp_path / "records.jsonl"
    assert main(["build", "--quick", "--json", str(out)]) == 0
    found = {record["metric"]: record for record in map(json.loads, out.read_text().splitlines())}
    label = "112x144_1p"
    assert found[f"images_per_s_{label}"]["quality"] == {"n": case.n}
    assert found[f"images_per_s_{label}"]["samples"][0] > 0
    assert found[f"peak_memory_{label}"]["samples"][0] > 50
    raw_bytes = 112 * 144 * 5 + 4 * 7 * 9 * 8 * 4
    assert raw_bytes < found[f"disk_bytes_per_image_{label}"]["samples"][0] < 1.1 * raw_bytes
    assert set(found[f"images_per_s_{label}"]["parameters"]["stage_core_ms_per_image"]) == {
        "read", "measure", "channels", "write",
    }  # fmt: skip


def test_pool_is_varied(small_cohort: Path) -> None:
    """Ids that sort as they count, slices that differ from each other, equal ones for equal ids."""
    source = build.VariedPool(small_cohort, 1000, load_rows(small_cohort))
    rows = [row for task in make_tasks(len(source), 64) for row in source.read_rows(task.start, task.stop)]
    ids = [row[schema.PATIENT_ID] for row in rows]
    assert len(set(ids)) == 1000 and ids == sorted(ids)
    first, again, same_phantom = (source.read_slice(str(i)) for i in (2, 2, 15))
    assert np.array_equal(first.hu, again.hu) and not np.array_equal(first.hu, same_phantom.hu)
    assert np.array_equal(first.tissue, same_phantom.tissue)
