"""How often changed bytes are refused, harmless, or unknown to any reader; one line of counts each, shown with -s."""

import contextlib
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import pixel_array

from bonemet_jax.errors import InputDataError
from data_pipelines.bodycomp.areas import compute_areas_cm2
from data_pipelines.ingest import Choice, read_source
from data_pipelines.ingest.decoder_output import capture_decoder_output
from data_pipelines.ingest.files import find_files
from data_pipelines.ingest.nifti import load_nifti
from tests.ingest.conftest import load_stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
N = 200
CHOICE = Choice(slice_index=18)


def _count_flips(file: Path, read: Callable[[], object]) -> str:
    """Flip N bits of a file, one at a time; fails where another slice, region or area is read in silence."""
    wanted, whole, random, counts = read(), file.read_bytes(), np.random.default_rng(0), Counter[str]()
    for _ in range(N):
        changed = bytearray(whole)
        changed[random.integers(len(whole))] ^= 1 << int(random.integers(8))
        file.write_bytes(changed)
        try:
            found = read()
        except InputDataError as error:
            counts[error.code] += 1
            continue
        np.testing.assert_equal(found, wanted)
        counts["equal"] += 1
    file.write_bytes(whole)
    return f"{N} bit flips: {N - counts['equal']} refused, {counts['equal']} equal; {dict(counts)}"


def _read(path: Path, masks: Path | None = None, index: int = 18) -> tuple[object, ...]:
    found = read_source(path, masks, Choice(slice_index=index))
    areas = {name: round(area, 9) for name, area in compute_areas_cm2(found.image).items()}
    return found.image.hu, found.image.tissue, areas, found.z_mm


@pytest.fixture
def volume(shared: Path, tmp_path: Path) -> Path:
    """The volume with labels and masks, copied."""
    source, folder = shared / "data" / "ct_t11_l2_nifti", tmp_path / "patient"
    for file in (f for f in source.rglob("*") if f.is_file()):
        (folder / file.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.relative_to(source)).write_bytes(file.read_bytes())
    (folder / "labels_117.nii.gz").rename(tmp_path / "labels.nii.gz")
    return folder


@pytest.mark.parametrize("name", ["ct", "masks/subcutaneous_fat", "masks/vertebrae_T11"])
def test_bit_flips_of_volumes_and_masks(volume: Path, name: str) -> None:
    print(f"{name}.nii.gz:", _count_flips(volume / f"{name}.nii.gz", lambda: _read(volume)))


def test_bit_flips_of_a_label_map(volume: Path) -> None:
    labels = volume.parent / "labels.nii.gz"
    print("label map:", _count_flips(labels, lambda: _read(volume / "ct.nii.gz", labels)))


def test_bit_flips_of_archives(volume: Path, shared: Path, tmp_path: Path) -> None:
    for name, files, method in (
        ("DICOM series, stored", sorted((shared / "data" / "ct_t11_dicom").iterdir())[:4], zipfile.ZIP_STORED),
        ("DICOM series, deflated", sorted((shared / "data" / "ct_t11_dicom").iterdir())[:4], zipfile.ZIP_DEFLATED),
        ("volume", [volume / "ct.nii.gz"], zipfile.ZIP_DEFLATED),
    ):
        path = tmp_path / "archive.zip"
        with zipfile.ZipFile(path, "w", method) as archive:
            for file in files:
                archive.write(file, file.name)
        print(f"zip of a {name}:", _count_flips(path, lambda path=path: _read(path, index=2)))


@pytest.mark.parametrize(("kind", "ending"), [
    ("lossless JPEG, .57", "4.57.dcm"), ("lossless JPEG, .70", "4.70.dcm"), ("JPEG-LS, .80", "4.80.dcm"),
    ("JPEG-LS, .81", "4.81.dcm"), ("JPEG 2000, .90", "4.90.dcm"), ("JPEG 2000, .91", "4.91.dcm"),
    ("JPEG 2000, T11", "slice_00"), ("RLE", "1.2.5.dcm"), ("baseline JPEG, .50", "4.50.dcm"),
])  # fmt: skip
def test_byte_changes_of_compressed_slices(shared: Path, tmp_path: Path, kind: str, ending: str) -> None:
    source, = (f for folder in ("ct_transfer_syntaxes", "ct_t11_dicom") for f in (shared / "data" / folder).iterdir()
               if f.name.endswith(ending))  # fmt: skip
    dataset, random, counts = pydicom.dcmread(source, force=True), np.random.default_rng(0), Counter[str]()
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    wanted, notes = load_stack(source).load_hu(0)
    for _ in range(N):
        changed = bytearray(frame)
        changed[random.integers(len(frame))] ^= int(random.integers(1, 256))
        dataset.PixelData = encapsulate([bytes(changed)])
        dataset.save_as(tmp_path / "x.dcm")
        with capture_decoder_output() as output, contextlib.suppress(Exception):
            pixel_array(dataset, index=0)
        counts["decoder warnings"] += bool(output.fact)
        try:
            hu, found = load_stack(tmp_path / "x.dcm").load_hu(0)
        except InputDataError:
            counts["refused"] += 1
            continue
        assert not output.fact, "decoded with a warning, and not refused"
        is_warned = {note.code for note in found} != {note.code for note in notes}
        counts["equal" if np.array_equal(hu, wanted) else "warned" if is_warned else "different in silence"] += 1
    print(f"{kind}: {N} byte changes:", ", ".join(f"{n} {what}" for what, n in sorted(counts.items())))
    assert counts["refused"] >= {"RLE": 5, "baseline JPEG, .50": 40}.get(kind, 30 if "lossless" in kind else 185)


def test_every_volume_bundled_with_nibabel_that_nibabel_reads() -> None:
    """None is called damaged: whatever nibabel reads in full has intact checksums."""
    folder = Path(nib.__file__).parent / "tests" / "data"
    codes = Counter[str]()
    for file in sorted(f for f in folder.iterdir() if f.name.endswith((".nii", ".nii.gz"))):
        try:
            np.asanyarray(nib.load(file).dataobj)
        except Exception:
            codes["not read by nibabel"] += 1
            continue
        try:
            stack = load_nifti(find_files(file)[0])
            codes[", ".join(note.code for note in (*stack.findings, *stack.load_hu(0)[1])) or "ok"] += 1
        except InputDataError as error:
            assert error.code != "nifti-damaged", file.name
            codes[error.code] += 1
    print(f"{codes.total()} volumes bundled with nibabel:", dict(codes))
    assert codes.total() >= 8
