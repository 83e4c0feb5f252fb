"""Canaries in everything that may name a patient: none comes out, in any byte, file name or line."""

import functools
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image, PngImagePlugin
from pydicom import config as pydicom_config
from pydicom.datadict import DicomDictionary, keyword_dict
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence

from bonemet_jax import artifacts
from bonemet_jax.cli import main
from data_pipelines.ingest.dicom_header import PLAIN_TAGS, SEQUENCES
from tests.ingest.conftest import make_dicom, make_hu, save_dicom, save_nifti

pytestmark = [pytest.mark.usefixtures("one_process"), pytest.mark.every_change]

TEXT, UID, DATE, NUMBER = "CANARY", "9.8765432.1", "18910203", "77.12345"
NEEDLES = [needle for word in (TEXT, "canary", UID, DATE, NUMBER, "1891-02-03")
           for needle in (word.encode(), word.encode("utf-16-le"))]  # fmt: skip
VALUES: dict[str, object] = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"), TEXT), "PN": f"{TEXT}^{TEXT}", "UI": UID,
    "DA": DATE, "DT": DATE, "TM": "010203", "DS": NUMBER, "IS": "7712345", "AS": "077Y", "OB": TEXT.encode(),
    "OW": TEXT.encode(), "UN": TEXT.encode(),
}  # fmt: skip
#: Read by the reader, or the frame of the file itself.
KEPT = {keyword_dict[name] for name in (*PLAIN_TAGS, *SEQUENCES, "SpecificCharacterSet", "PixelData")}
Z = "-85"


def poison(header: FileDataset, every: int = 1) -> FileDataset:
    """A canary in every element of DICOM's dictionary that is not read; overlays, private and nested ones too.

    Args: every: take one in so many of the dictionary's.
    """
    header.update(_make_canaries(every))
    header.PatientID, header.SeriesInstanceUID = TEXT, f"{UID}.1"
    with pydicom_config.disable_value_validation():
        meta = header.file_meta
        meta.ImplementationVersionName, meta.SourceApplicationEntityTitle = TEXT, TEXT
        meta.MediaStorageSOPInstanceUID, meta.PrivateInformationCreatorUID = f"{UID}.2", UID
        meta.PrivateInformation = TEXT.encode()
    header.preamble = (TEXT * 30).encode()[:128]
    return header


@functools.cache
def _make_canaries(every: int) -> Dataset:
    header = Dataset()
    with pydicom_config.disable_value_validation():
        for tag, (vr, *_) in list(DicomDictionary.items())[::every]:
            if tag in KEPT or tag >> 16 in (0, 2, 4, 0x7FE0, 0xFFFE) or (vr not in VALUES and vr != "SQ"):
                continue
            header.add_new(tag, vr, Sequence([_nest(2)]) if vr == "SQ" else VALUES[vr])
        block = header.private_block(0x0099, TEXT, create=True)
        block.add_new(0x01, "LO", TEXT)
        block.add_new(0x02, "SQ", Sequence([_nest(1)]))
        header.add_new(0x00990099, "UN", TEXT.encode())
        for name, vr, value in ((0x0010, "US", 60), (0x0011, "US", 80), (0x0022, "LO", TEXT), (0x0040, "CS", "G"),
                                (0x0050, "SS", [1, 1]), (0x0100, "US", 1), (0x0102, "US", 0), (0x1500, "LO", TEXT),
                                (0x3000, "OB", (TEXT * 100).encode()), (0x4000, "LT", TEXT)):  # fmt: skip
            header.add_new(0x60000000 + name, vr, value)
        header.add_new(0xFFFCFFFC, "OB", TEXT.encode())
    return header


def _nest(depth: int) -> Dataset:
    item = Dataset()
    item.PatientName, item.PatientID, item.PatientBirthDate, item.SOPInstanceUID = TEXT, TEXT, DATE, UID
    item.TextValue = TEXT
    if depth:
        item.ReferencedPatientSequence = Sequence([_nest(depth - 1)])
    return item


def _make_dicoms(folder: Path, air: int = -1000) -> None:
    """`air` in one corner: every patient's picture is another."""
    hu = make_hu()
    hu[:, 0, 0] = air
    for k in (2, 3, 4):
        save_dicom(poison(make_dicom(hu[k], k)), folder / f"{TEXT}{k}.dcm")


def _make_nifti(folder: Path) -> None:
    """Canaries in the header's text and in an extension, in the name within the gzip, and in the masks."""
    save_nifti(make_hu(), folder / "plain.nii")
    image = nib.load(folder / "plain.nii")
    for name in ("descrip", "db_name", "intent_name", "aux_file"):
        image.header[name] = TEXT.encode()
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", (TEXT * 9).encode()))
    nib.save(image, folder / "ct.nii.gz")
    fat = ((make_hu() < -50) & (make_hu() > -150)).astype(np.uint8)
    save_nifti(fat, folder / "masks" / "subcutaneous_fat.nii.gz")
    save_nifti(fat, folder / "masks" / f"{TEXT}.nii.gz")
    (folder / "plain.nii").unlink()


def _make_zip(file: Path, folder: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.comment = TEXT.encode()
        for dicom in sorted(folder.glob("*3.dcm")):
            info = zipfile.ZipInfo(f"{TEXT}/{dicom.name}")
            info.comment, info.extra = TEXT.encode(), struct.pack("<HH6s", 0x9999, 6, TEXT.encode())
            archive.writestr(info, dicom.read_bytes())


def _make_png(file: Path) -> None:
    told = PngImagePlugin.PngInfo()
    told.add_text("Comment", TEXT)
    exif = Image.Exif()
    exif[0x010E] = TEXT
    grey = np.clip((make_hu()[0].astype(float) + 1000) / 1400 * 255, 0, 255).astype(np.uint8)
    Image.fromarray(grey).save(file, pnginfo=told, exif=exif)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("inputs")
    _make_dicoms(folder / "p1")
    (folder / "p2").mkdir()
    _make_nifti(folder / "p2")
    _make_dicoms(folder.with_name(f"{folder.name}_packed"), air=-990)
    _make_zip(folder / "p3.zip", folder.with_name(f"{folder.name}_packed"))
    (folder / "table.csv").write_text(
        "patient_id,name,birth_date,address,age_years,height_m,bone_metastasis\n"
        + "".join(f"p{n},{TEXT},1891-02-03,{TEXT} street,6{n},1.6{n},{n % 2}\n" for n in (1, 2, 3))
    )
    return [folder / "p1", folder / "p2", folder / "p3.zip"]


def find_canaries(directory: Path) -> list[str]:
    """Files whose name or bytes hold a canary, archives and tables unpacked."""
    return [str(f) for f in sorted(directory.rglob("*")) if f.is_file() and _has_canary(f, directory)]


def _has_canary(file: Path, directory: Path) -> bool:
    name = str(file.relative_to(directory)).encode()
    return any(needle in data for data in [name, *_unpack(file)] for needle in NEEDLES)


def _unpack(file: Path) -> list[bytes]:
    raw = file.read_bytes()
    if file.suffix == ".npz":
        return [raw, *(value.tobytes() for value in artifacts.load_npz(file).values())]
    if file.suffix == ".parquet":
        import pyarrow.parquet as pq

        return [raw, repr(artifacts.load_table(file).to_dict()).encode(), repr(pq.read_schema(file).metadata).encode()]
    if file.suffix == ".png":
        with Image.open(io.BytesIO(raw)) as image:
            return [raw, repr(image.info).encode(), image.tobytes()]
    return [raw]


def _assert_silent(capfd: pytest.CaptureFixture[str]) -> None:
    told = capfd.readouterr()
    print(told.err)
    assert not [needle for needle in NEEDLES if needle in (told.out + told.err).encode()]


def test_they_are_in_the_inputs(inputs: list[Path]) -> None:
    """The test would see them."""
    assert len(find_canaries(inputs[0])) == 3 and len(find_canaries(inputs[0].parent)) >= 5
    assert inputs[0].joinpath(f"{TEXT}3.dcm").read_bytes().count(TEXT.encode()) > 2000


def test_none_reaches_cohort_areas_verification_or_records(
    inputs: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = [f"--slice-z={Z}", "--clinical", str(inputs[0].parent / "table.csv")]
    given = ["-i", *map(str, inputs), *flags]
    assert main(["ingest", *given, "-o", str(tmp_path / "cohort"), "--report", str(tmp_path / "1.json")]) == 0
    assert main(["measure", *given, "-o", str(tmp_path / "areas"), "--report", str(tmp_path / "2.json")]) == 0
    assert main(["verify", *given, "-o", str(tmp_path / "check")]) in (0, 8)
    assert main(["verify", "-i", str(tmp_path / "cohort"), "-o", str(tmp_path / "check2")]) in (0, 8)
    size = ["--height", "64", "--width", "80", "--spacing-mm", "4"]
    assert main(["build", "-i", str(tmp_path / "cohort"), "-o", str(tmp_path / "records"), *size]) == 0
    _assert_silent(capfd)
    assert len(artifacts.load_table(tmp_path / "cohort" / "cohort.parquet")) == 3
    assert find_canaries(tmp_path) == []


def _set(name: str, value: object) -> Callable[[FileDataset], None]:
    """Text, where numbers belong, as text: the file says so."""
    vr, *_ = DicomDictionary[keyword_dict[name]]

    def change(header: FileDataset) -> None:
        header.pop(name, None)
        header.add_new(keyword_dict[name], "LO" if vr in ("DS", "IS") else vr, value)

    return change


def _delete(name: str) -> Callable[[FileDataset], None]:
    return lambda header: delattr(header, name)


def _set_syntax(header: FileDataset) -> None:
    header.file_meta.TransferSyntaxUID = f"{UID}.77"


#: What is wrong with a slice beside its canaries; where the reader reads a text, the text is one.
FAULTS: dict[str, Callable[[FileDataset], None]] = {
    "modality": _set("Modality", TEXT), "class": _set("SOPClassUID", UID), "image type": _set("ImageType", [TEXT] * 3),
    "localiser": _set("ImageType", [TEXT, TEXT, "LOCALIZER", TEXT]),
    "photometric": _set("PhotometricInterpretation", TEXT),
    "rescale type": _set("RescaleType", TEXT), "slope": _set("RescaleSlope", TEXT),
    "intercept": _set("RescaleIntercept", NUMBER + TEXT), "no slope": _delete("RescaleSlope"),
    "spacing": _set("PixelSpacing", [TEXT, NUMBER]), "no spacing": _delete("PixelSpacing"),
    "position": _set("ImagePositionPatient", [TEXT] * 3), "no position": _delete("ImagePositionPatient"),
    "orientation": _set("ImageOrientationPatient", [TEXT] * 6), "frames": _set("NumberOfFrames", TEXT),
    "tilt": _set("GantryDetectorTilt", TEXT), "lossy": _set("LossyImageCompression", TEXT),
    "pixels": _set("PixelData", TEXT.encode()), "no pixels": _delete("PixelData"), "syntax": _set_syntax,
    "rows": _set("Rows", 61),
}  # fmt: skip


def test_none_reaches_the_message_of_a_refused_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "inputs", tmp_path / "out"
    for number, change in enumerate(FAULTS.values(), start=10):
        header = poison(make_dicom(make_hu()[0]), 40)
        change(header)
        with pydicom_config.disable_value_validation():
            save_dicom(header, folder / f"p{number}" / "a.dcm")
    for name, patient in (("two patients", TEXT), ("two series", "")):
        for k in (0, 1):
            header = poison(make_dicom(make_hu()[k], k), 40)
            header.PatientID = f"{TEXT}{k if patient else ''}"
            header.SeriesInstanceUID = f"{UID}.{k}"
            save_dicom(header, folder / name.replace(" ", "_") / f"{k}.dcm")
    save_dicom(poison(make_dicom(make_hu()[0]), 40), folder / "sound" / "a.dcm")
    whole = (folder / "sound" / "a.dcm").read_bytes()
    for number, length in enumerate((200, 5000, len(whole) // 2, len(whole) - 2000)):
        (folder / f"cut{number}").mkdir()
        (folder / f"cut{number}" / "a.dcm").write_bytes(whole[:length])
    _make_png(folder / "picture.png")
    (folder / "text").mkdir()
    (folder / "text" / "note.txt").write_text(TEXT)
    (folder / "broken").mkdir()
    (folder / "broken" / "ct.nii.gz").write_bytes(TEXT.encode() * 100)
    (folder / "archive.zip").write_bytes(b"PK\3\4" + TEXT.encode() * 100)
    given = ["-i", *map(str, sorted(folder.iterdir()))]
    assert main(["measure", *given, "-o", str(out / "measure")]) == 8
    main(["verify", *given, "-o", str(out / "verify")])
    failed = artifacts.load_json(out / "measure" / "areas.json")["failed"]
    assert len(failed) >= 20, "the faults are faults"
    assert not [f for f in failed if f["code"] == "file-crashed-reader"]
    _assert_silent(capfd)
    assert find_canaries(out) == []


@pytest.mark.slow
def test_none_reaches_a_run_and_its_page(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """36 synthetic patients as DICOM with canaries -> ingest -> training, statistics, report."""
    made, smoke = tmp_path / "made", str(Path(__file__).parents[2] / "configs" / "smoke.py")
    size = ["--height", "112", "--width", "144", "--spacing-mm", "3.0"]
    assert main(["phantom", "-o", str(made / "cohort"), "--dicom", str(made / "dicom"), "--n", "36", *size]) == 0
    patients = sorted((made / "dicom" / "patients").iterdir())
    for patient in patients:
        save_dicom(poison(pydicom.dcmread(patient / "slice.dcm"), 40), patient / "slice.dcm")
    out, table = tmp_path / "out", made / "dicom" / "clinical.csv"
    assert main(["ingest", "-i", *map(str, patients), "--clinical", str(table), "-o", str(out / "cohort")]) == 0
    records = [f"--records.{flag.removeprefix('--')}" if flag.startswith("--") else flag for flag in size]
    assert main(["run", smoke, "-o", str(out / "run"), "--cohort-dir", str(out / "cohort"), *records,
                 "--train.epochs", "2", "--train.batch-size", "8"]) == 0  # fmt: skip
    assert (out / "run" / "report.html").is_file()
    _assert_silent(capfd)
    assert find_canaries(made) and find_canaries(out) == []
