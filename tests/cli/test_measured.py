"""The terminal's lines about areas."""

from pathlib import Path

import pytest

from bonemet_jax import artifacts
from bonemet_jax.cli import main
from bonemet_jax.cli.measured import describe_agreement, describe_areas, describe_slices, describe_written


def test_what_is_cut_is_told_as_a_part() -> None:
    facts = {"sfa_cm2": None, "sfa_visible_cm2": 88.123, "vfa_cm2": 40.0, "esma_cm2": None}
    assert describe_areas(facts) == "SFA visible part 88.1 cm2 (field of view cuts it), VFA 40.0 cm2"
    assert describe_areas({}) == "no tissue segmented"


def test_the_source_of_an_area_is_told() -> None:
    facts = {"sfa_cm2": 84.61, "sfa_source": "hu", "vfa_cm2": 40.0, "vfa_source": "reader", "vfi_cm2_m2": 15.0,
             "esma_cm2": 20.0, "esma_source": None}
    assert describe_areas(facts) == "SFA 84.6 cm2 (by HU), VFA 40.0 cm2 (by reader, 15.0 cm2/m2), ESMA 20.0 cm2"


def test_many_slices_are_summed_up() -> None:
    slices = {f"input {n}": {"sfa_cm2": float(n), "vfa_cm2": 2.0 if n > 1 else None, "level": "T11", "z_mm": 0.0}
              for n in range(1, 22)}
    assert describe_slices(slices, "areas.csv") == [
        "21 slices: SFA median 11.0 (1.0 to 21.0) cm2, VFA median 2.0 (2.0 to 2.0) cm2 on 20; each in areas.csv"]
    few = dict(list(slices.items())[1:])
    assert describe_slices(few, "areas.csv")[0] == "input 2: SFA 2.0 cm2, VFA 2.0 cm2; T11 as given, z 0.0 mm"


def test_readers_agreement(tmp_path: Path) -> None:
    facts = [{"sfa_cm2_reader1": 1.0, "sfa_cm2_reader2": 1.1}]
    assert describe_agreement(tmp_path, facts) == []
    dice = {"0001": {"sfa_cm2": 0.9991, "esma_cm2": 0.818}}
    artifacts.write_json(tmp_path / "agreement.json", {"dice": dice})
    assert describe_agreement(tmp_path, facts) == ["readers 1 and 2: Dice SFA 0.999, ESMA 0.818"]
    artifacts.write_json(tmp_path / "agreement.json", {"dice": dice | {"0002": {"sfa_cm2": 0.9}}})
    assert describe_agreement(tmp_path, facts) == [
        "readers 1 and 2: Dice SFA 0.950, ESMA 0.818 (median of 2 patients)"]


def test_what_was_written(tmp_path: Path) -> None:
    artifacts.write_bytes(tmp_path / "overlays" / "0001.png", b"")
    assert describe_written(tmp_path, "areas.csv") == f"written: {tmp_path} (areas.csv, 1 overlay)"


def test_phantom_tells_the_best_auc_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = ["--n", "12", "--height", "112", "--width", "144", "--spacing-mm", "3"]
    assert main(["phantom", "-o", str(tmp_path / "cohort"), *size]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "Bayes-optimal AUC: both .920, clinical .789, imaging .844"
