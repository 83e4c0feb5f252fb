"""Many inputs: in the order of their ids, the bad ones listed, areas in part never told as whole, readers' means."""

import json
import math
import shutil
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from bonemet_jax import artifacts, schema
from bonemet_jax.cli import main
from bonemet_jax.errors import InputDataError, UsageError
from data_pipelines.canonical import CanonicalSlice
from data_pipelines.check_codes import VERDICTS
from data_pipelines.clinical.table import ClinicalTable
from data_pipelines.findings import find
from data_pipelines.ingest import Choice, Failure, IngestedSlice, Patient, ingest, measure, read_patients
from data_pipelines.ingest.cohort import Batch, make_csv, make_facts
from data_pipelines.ingest.patients import Drawn, Input, join_row, name_inputs
from data_pipelines.ingest.readers import Agreement
from tests.ingest.conftest import make_dicom, make_hu, save_dicom


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """p3, p1 and p5 are sound and differ by a pixel of air, p4 is empty, p2 no CT."""
    folder = tmp_path_factory.mktemp("inputs")
    for number, name in enumerate(("p3", "p1", "p5", "p2")):
        hu = make_hu()[0]
        hu[0, 0] = -990 + number
        save_dicom(make_dicom(hu), folder / name / "a.dcm")
    (folder / "p4").mkdir()
    header = make_dicom(make_hu()[0])
    header.Modality = "MR"
    save_dicom(header, folder / "p2" / "a.dcm")
    return [folder / name for name in ("p3", "p4", "p1", "p2", "p5")]


def _read(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_the_sound_are_measured_and_the_others_listed_whatever_the_workers(
    inputs: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    summaries = [measure(inputs, tmp_path / str(workers), workers=workers) for workers in (1, 2)]
    assert summaries[0] == summaries[1] and _read(tmp_path / "1") == _read(tmp_path / "2")
    assert [row["patient_id"] for row in summaries[0]["patients"]] == ["p1", "p3", "p5"]
    assert [row["overlay"] for row in summaries[0]["patients"]] == [f"overlays/000{n}.png" for n in (3, 1, 5)]
    told = [(failed["input"], failed["code"]) for failed in summaries[0]["failed"]]
    assert told == [(2, "file-not-understood"), (4, "dicom-not-ct")]
    lines = capfd.readouterr().err.splitlines()
    failed = [line for line in lines if line.startswith("failed: ")]
    assert len(failed) == 4 and failed[0].startswith("failed: input 2 of 5: ") and "Modality MR" in failed[1]
    assert lines[-2:] == failed[2:], "at the end"
    assert artifacts.load_json(tmp_path / "1" / "areas.json") == summaries[0]


@pytest.mark.slow
def test_a_cohort_has_equal_bytes_whatever_the_workers(inputs: list[Path], tmp_path: Path) -> None:
    """The salt is kept, so the names are equal too. The command ends with 8."""
    out = str(tmp_path / "cohort")
    assert main(["ingest", "-i", *map(str, inputs), "-o", out, "--workers", "2"]) == InputDataError.exit_code
    before = _read(tmp_path / "cohort")
    assert main(["ingest", "-i", *map(str, inputs), "-o", out, "--workers", "1"]) == InputDataError.exit_code
    assert _read(tmp_path / "cohort") == before and len(before) == 3 * len(("slice", "overlay", "regions")) + 4


def test_nobody_could_be_read(inputs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match="none of 2 inputs could be read; the first: no DICOM files"):
        ingest([inputs[1], inputs[3]], tmp_path / "out", workers=1)
    assert not list(tmp_path.iterdir())


def test_inputs_need_names_of_their_own(inputs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match="inputs 1 and 2 have the same name"):
        name_inputs([inputs[0], inputs[0]])
    with pytest.raises(InputDataError, match="gives no patient_id"):
        name_inputs([Path("/")])
    with pytest.raises(UsageError, match="no input"):
        name_inputs([])
    with pytest.raises(UsageError, match="--seconds"):
        measure(inputs, tmp_path / "out", seconds=0)
    with pytest.raises(UsageError, match="--workers 0"):
        measure(inputs, tmp_path / "out", workers=0)


def test_one_reading_is_stopped_when_nobody_wants_more(inputs: list[Path]) -> None:
    patients = read_patients(inputs, workers=1)
    assert isinstance(next(iter(patients)), Patient)
    patients.close()


def test_the_table_says_which_slice(dicom_folder: Path, tmp_path: Path) -> None:
    """The command wins."""
    table = ClinicalTable({"007": {}}, slice_z_mm={"007": -90.0})
    (patient,) = read_patients([dicom_folder], table)
    assert isinstance(patient, Patient) and patient.source.z_mm == -90
    (patient,) = read_patients([dicom_folder], table, choice=Choice(slice_index=0))
    assert isinstance(patient, Patient) and patient.source.z_mm == -100


def test_readers_regions_are_found_by_name(inputs: list[Path], tmp_path: Path) -> None:
    """Of p3 two readers, of p1 one; p5 has none. The zips are empty: they fail when they are read."""
    for name in ("anna/p3.zip", "bert/p3.roi", "bert/p1/x.roi"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    outcomes = list(read_patients([inputs[0], inputs[2], inputs[4]], rois=tmp_path, workers=1))
    told = {outcome.given.patient_id: outcome for outcome in outcomes if isinstance(outcome, Failure)}
    unread = next(outcome for outcome in outcomes if outcome.given.patient_id == "p5")
    assert isinstance(unread, Patient) and "cohort-no-rois" in [finding.code for finding in unread.findings]
    assert {told[name].finding.code.split("-")[0] for name in ("p1", "p3")} <= {"roi", "file"}
    assert told["p3"].given.rois == {"reader1": tmp_path / "anna/p3.zip", "reader2": tmp_path / "bert/p3.roi"}
    assert told["p1"].given.rois == {"reader2": tmp_path / "bert/p1"}


def test_totalsegmentators_masks_are_made_before(
    inputs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not on PATH: that patient fails with the remedy."""
    monkeypatch.setenv("PATH", str(tmp_path))
    (outcome,) = read_patients([inputs[0]], choice=Choice(segment="totalsegmentator"))
    assert isinstance(outcome, Failure) and outcome.finding.code == "mask-segmenter-missing"
    shutil.copytree(inputs[0], tmp_path / "masks" / "p3")
    (outcome,) = read_patients([inputs[0]], masks=tmp_path / "masks", choice=Choice(segment="totalsegmentator"))
    assert outcome.given.masks == tmp_path / "masks" / "p3", "given masks win"


# --- Joining, without reading ---------------------------------------------------------------------------

GIVEN = Input(1, 1, "p1", Path("p1"))
#: One pixel is 1 cm2: areas are counts.
SPACING_MM = (10.0, 10.0)


def _slice(n_sat: int, n_vat: int = 0, n_esm: int = 0) -> CanonicalSlice:
    tissue = np.zeros(400, np.uint8)
    hu = np.full(400, -1000, np.int16)
    ends = np.cumsum([0, n_sat, n_vat, n_esm])
    for code, value, start, end in zip(
        (schema.TISSUE_SAT, schema.TISSUE_VAT, schema.TISSUE_ESM), (-100, -100, 50), ends, ends[1:], strict=False
    ):
        tissue[start:end], hu[start:end] = code, value
    body = (tissue > 0).astype(np.uint8)
    return CanonicalSlice(hu.reshape(20, 20), SPACING_MM, tissue.reshape(20, 20), body.reshape(20, 20))


def _source(image: CanonicalSlice, **more: object) -> IngestedSlice:
    """A slice; what readers' slices hold, those readers drew."""
    readers = cast(dict[str, CanonicalSlice], more.get("readers", {}))
    more.setdefault("drawn", {
        reader: frozenset(area for area, code in schema.AREA_CODES.items() if (own.tissue == code).any())
        for reader, own in readers.items()
    })  # fmt: skip
    return IngestedSlice(image, "dicom", "p1", "T11", "given", 0.0, 0, 1, (find("field-touched"),), **more)  # type: ignore[arg-type]


def test_an_area_in_part_is_told_as_visible_and_never_as_the_whole() -> None:
    source = _source(_slice(100, 30, 20), incomplete=frozenset({"sfa_cm2"}))
    given = {"height_m": 2.0, "sfa_cm2": 140.0, "sfi_cm2_m2": 35.0, "vfa_cm2": 30.0}
    patient = join_row(GIVEN, source, Drawn(), given, "paper")
    assert math.isnan(patient.row["sfa_cm2"]) and math.isnan(patient.row["sfi_cm2_m2"])
    assert (patient.row["vfa_cm2"], patient.row["vfi_cm2_m2"]) == (30, 7.5)
    facts = make_facts(patient)
    assert facts["sfa_cm2"] is None and facts["sfa_visible_cm2"] == 100 and facts["sfi_cm2_m2"] is None
    assert facts["flags"] == ["cohort-cut", "cohort-replaced", "field-touched"]
    told = make_csv([facts | {"sfa_visible_cm2": 100.0}, facts]).splitlines()
    assert "quality_flags" in told[0].split(",") and "cohort-cut;cohort-replaced;field-touched" in told[1]


def test_an_index_of_the_table_that_is_not_ours_is_told() -> None:
    """30 cm2 / 2^2 m2 = 7.5."""
    for index, is_told in ((7.5, False), (7.6, False), (9.0, True)):
        patient = join_row(GIVEN, _source(_slice(0, 30)), Drawn(), {"height_m": 2.0, "vfi_cm2_m2": index}, "paper")
        facts = [finding.fact for finding in patient.findings if finding.code == "cohort-index-differs"]
        assert facts == (["9, measured 7.5"] if is_told else [])
        assert patient.row["vfi_cm2_m2"] == 7.5


def test_the_readers_mean_is_used_and_each_kept() -> None:
    readers = {"reader1": _slice(100, 30), "reader2": _slice(110, 30, 20)}
    patient = join_row(GIVEN, _source(readers["reader1"], readers=readers), Drawn(), {"height_m": 2.0}, "paper")
    assert (patient.row["sfa_cm2"], patient.row["sfi_cm2_m2"]) == (105, 26.25)
    assert patient.row["esma_cm2"] == 20, "the only one who drew it"
    facts = make_facts(patient)
    assert (facts["sfa_cm2_reader1"], facts["sfa_cm2_reader2"]) == (100, 110)
    assert "esma_cm2_reader1" not in facts and facts["esma_cm2_reader2"] == 20


def test_what_a_reader_did_not_draw_is_not_that_readers(tmp_path: Path) -> None:
    """Visceral fat found by Hounsfield units on both readers' slices: no reader's area, no agreement."""
    readers = {"reader1": _slice(100, 30), "reader2": _slice(100, 30)}
    drawn = {"reader1": frozenset({"sfa_cm2"}), "reader2": frozenset({"sfa_cm2"})}
    agreement = Agreement()
    for number in range(2):
        source = _source(readers["reader1"], readers=readers, drawn=drawn)
        patient = join_row(GIVEN, source, Drawn(), {}, "paper")
        assert patient.row["vfa_cm2"] == 30 and "vfa_cm2" not in patient.readers["reader1"]
        agreement.add(str(number), patient)
    agreement.save(tmp_path)
    told = json.loads((tmp_path / "agreement.json").read_text())
    assert list(told["columns"]) == ["sfa_cm2"] and list(told["dice"]["0"]) == ["sfa_cm2"]
    assert told["columns"]["sfa_cm2"]["icc_2_1"]["value"] is None, "equal readings: not computable, and no NaN"


def test_loose_regions_of_other_names_are_not_taken_for_the_only_patient(inputs: list[Path], tmp_path: Path) -> None:
    for name in ("p7.roi", "p8.roi"):
        (tmp_path / name).write_bytes(b"")
    (outcome,) = read_patients([inputs[0]], rois=tmp_path, workers=1)
    assert isinstance(outcome, Patient) and "cohort-no-rois" in [finding.code for finding in outcome.findings]


def test_agreement_of_a_cohort(tmp_path: Path) -> None:
    """Areas as in Shrout and Fleiss' table, its first two judges: ICC(2,1) by hand from its mean squares."""
    agreement = Agreement()
    pairs = [(90, 20), (60, 10), (80, 40), (70, 10), (100, 50), (60, 20)]
    for number, (a, b) in enumerate(pairs):
        readers = {"reader1": _slice(a), "reader2": _slice(b)}
        agreement.add(f"{number}", join_row(GIVEN, _source(readers["reader1"], readers=readers), Drawn(), {}, "paper"))
    agreement.save(tmp_path)
    told = json.loads((tmp_path / "agreement.json").read_text())
    sfa = told["columns"]["sfa_cm2"]
    x = np.array(pairs, float)
    n, k = x.shape
    rows, columns = ((x.mean(axis) - x.mean()) @ (x.mean(axis) - x.mean()) for axis in (1, 0))
    error = ((x - x.mean()) ** 2).sum() - k * rows - n * columns
    msr, msc, mse = k * rows / (n - 1), n * columns / (k - 1), error / ((n - 1) * (k - 1))
    assert sfa["icc_2_1"]["value"] == pytest.approx((msr - mse) / (msr + mse + 2 * (msc - mse) / n))
    assert sfa["bland_altman"]["bias"] == pytest.approx(np.mean(x[:, 0] - x[:, 1]))
    assert sfa["n"] == 6 and list(told["columns"]) == ["sfa_cm2"]
    assert told["dice"]["0"]["sfa_cm2"] == pytest.approx(2 * 20 / 110)
    Agreement().save(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_many_inputs_warnings_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    batch = Batch([tmp_path / f"p{n}" for n in range(12)], ClinicalTable({}), None)
    patients = [join_row(one, _source(_slice(9)), Drawn(), {}, "paper") for one in batch.inputs]
    facts = [make_facts(patient) for patient in batch.sift(patients)]
    batch.finish(facts)
    assert capsys.readouterr().err == f"warning: 12 of 12 inputs: {VERDICTS['field-touched'].meaning} (field-touched)\n"
