"""The benchmark of LBP and HOG at toy size, and what its figures are made of."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from skimage.feature import hog, local_binary_pattern

from benchmarks import channels
from benchmarks.__main__ import main

# The module's fixture times every program for nearly twenty seconds.
pytestmark = pytest.mark.every_change


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Any]]]:
    out = tmp_path_factory.mktemp("channels") / "records.jsonl"
    assert main(["channels", "--quick", "--json", str(out)]) == 0
    yield {record["metric"]: record for record in map(json.loads, out.read_text().splitlines())}


def test_every_program_has_its_throughput_and_its_ratio_with_an_interval(records: dict[str, dict[str, Any]]) -> None:
    for part in ("lbp", "hog", "both"):
        assert records[f"images_per_core_s_scikit_image_{part}"]["median"] > 0
        for mode in ("fast", "exact"):
            assert records[f"images_per_core_s_{part}_{mode}"]["median"] > 0
            speedup = records[f"speedup_vs_scikit_image_{part}_{mode}"]
            assert speedup["ratio"] > 0 and len(speedup["samples"]) == speedup["n"] == 2
            assert speedup["ci95"] is None, "of two rounds there is none"
    assert records["speedup_vs_scikit_image_both_fast_batch_1"]["parameters"]["batch_size"] == 1


def test_records_carry_the_parity_of_what_they_timed(records: dict[str, dict[str, Any]]) -> None:
    exact, fast = (records[f"speedup_vs_scikit_image_both_{mode}"]["quality"] for mode in ("exact", "fast"))
    assert exact["lbp_equal_percent"] == 100.0 and fast["lbp_equal_percent"] >= 99.9
    for parity in (exact, fast):
        assert max(parity["hog_features_difference_over_max"], parity["hog_picture_difference_over_max"]) <= 1e-6
    assert set(records["images_per_core_s_lbp_exact"]["quality"]) == {"lbp_equal_percent"}


def test_growth_and_distance_from_bandwidth(records: dict[str, dict[str, Any]]) -> None:
    for n in (8, 16):
        assert records[f"ms_per_image_both_fast_{n}"]["parameters"]["images"] == n
        assert records[f"peak_memory_both_fast_{n}"]["median"] > 50
    moved = records["times_copy_time_both_fast"]["parameters"]
    # 112 x 144: one byte in; code and picture of four bytes each; 7 x 9 cells of 8 floats.
    assert moved["bytes_per_image"] == 112 * 144 * (1 + 4 + 4) + 7 * 9 * 8 * 4
    assert moved["limited_by"] in ("arithmetic", "memory traffic") and moved["copy_gb_per_s"] > 0


def test_peer_is_scikit_image_as_its_users_call_it() -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64), dtype=np.uint8)
    found = channels.run_reference(("lbp", "hog"), image[None])
    features, picture = hog(image, 8, (16, 16), (1, 1), visualize=True)
    np.testing.assert_array_equal(found["lbp"][0], local_binary_pattern(image, 24, 3))
    np.testing.assert_array_equal(found["hog_features"][0], features)
    np.testing.assert_array_equal(found["hog_picture"][0], picture)


def test_parity_counts_what_differs() -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32), dtype=np.uint8)

    def damaged(batch: np.ndarray) -> dict[str, np.ndarray]:
        found = channels.run_reference(("lbp", "hog"), batch)
        found["lbp"][:, 0, :16] += 1
        found["hog_picture"][0, 3, 3] += 0.25 * channels.run_reference(("hog",), images)["hog_picture"].max()
        return found

    parity = channels.compute_parity(damaged, images, 2)
    assert parity["lbp_equal_percent"] == pytest.approx(100 * (1 - 16 / 1024))
    assert parity["hog_picture_difference_over_max"] == pytest.approx(0.25)
    assert parity["hog_features_difference_over_max"] == 0


def test_batches_come_round_again() -> None:
    images = np.arange(5, dtype=np.uint8)[:, None, None]
    seen: list[int] = []
    channels.run_batches(lambda batch: seen.extend(batch[:, 0, 0].tolist()) or {}, images, 2, n=8)
    assert seen == [0, 1, 2, 3, 4, 0, 1, 2]
