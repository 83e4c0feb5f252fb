"""NIfTI volumes: anatomical order, one slice at a time, what is not understood; and the real volume."""

import gzip
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError, UsageError
from data_pipelines.bodycomp.areas import compute_areas_cm2
from data_pipelines.check_codes import VERDICTS
from data_pipelines.ingest import Choice, read_source
from data_pipelines.ingest.files import InputFile, find_files
from data_pipelines.ingest.nifti import NiftiStack, find_nifti, load_nifti
from tests.ingest.conftest import GRID, SPACING_MM, Z_MM, make_hu, save_nifti


def _load(path: Path) -> NiftiStack:
    file = find_nifti(find_files(path))
    assert file is not None
    return load_nifti(file)


@pytest.mark.parametrize("flips", [(), (0,), (1,), (2,), (0, 1, 2)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_every_orientation_comes_out_anatomical(
    tmp_path: Path, flips: tuple[int, ...], order: tuple[int, int, int]
) -> None:
    """The same volume stored with flipped and permuted axes; nibabel writes the affine that says so."""
    save_nifti(make_hu(), tmp_path / "ct.nii.gz")
    image = nib.load(tmp_path / "ct.nii.gz")
    turn = np.array([[axis, -1 if axis in flips else 1] for axis in order])
    nib.save(image.as_reoriented(turn), tmp_path / "turned.nii")
    stack = _load(tmp_path / "turned.nii")
    assert stack.grid.corner_mm == pytest.approx(GRID.corner_mm)
    assert stack.grid.z_mm == pytest.approx(Z_MM)
    assert stack.grid.spacing_mm == pytest.approx(SPACING_MM)
    for k in range(len(Z_MM)):
        np.testing.assert_array_equal(stack.load_hu(k)[0], make_hu()[k])
    slices = dict(stack.iter_slices())
    np.testing.assert_array_equal([slices[k] for k in range(len(Z_MM))], make_hu())
    assert (stack.findings, stack.tilt_deg) == ((), 0.0)


FORMS = ("folder", "one file", "other name", "zip", "packed without .gz", "NIfTI-2", "4-D of one")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_volume(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "p"
    save_nifti(make_hu(), folder / "ct.nii.gz")
    path = folder
    image = nib.load(folder / "ct.nii.gz")
    if form == "one file":
        path = folder / "ct.nii.gz"
    elif form == "other name":
        path = (folder / "ct.nii.gz").rename(folder / "scan.nii.gz").parent
        save_nifti(make_hu(), folder / "masks" / "subcutaneous_fat.nii.gz")
        (folder / "notes.txt").write_text("a note")
    elif form == "zip":
        path = tmp_path / "p.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(folder / "ct.nii.gz", "a/ct.nii.gz")
    elif form == "packed without .gz":
        path = (folder / "ct.nii.gz").rename(folder / "ct.nii")
    elif form == "NIfTI-2":
        nib.save(nib.Nifti2Image(np.asanyarray(image.dataobj), image.affine), folder / "ct.nii.gz")
    else:
        nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj)[..., None], image.affine), folder / "ct.nii.gz")
    np.testing.assert_array_equal(_load(path).load_hu(3)[0], make_hu()[3])


def test_several_volumes_without_a_ct_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_nifti(make_hu(), tmp_path / f"{name}.nii.gz")
    with pytest.raises(InputDataError, match=r"2 volumes.*ct\.nii\.gz") as refusal:
        find_nifti(find_files(tmp_path))
    assert refusal.value.code == "nifti-several"


def test_volume_of_another_name_among_other_files_is_not_taken(tmp_path: Path) -> None:
    """Perhaps a dose or a label map beside the DICOM series; ct.nii.gz is taken wherever it lies."""
    save_nifti(make_hu(), tmp_path / "dose.nii.gz")
    assert find_nifti(find_files(tmp_path)) is not None
    (tmp_path / "IM0001").write_bytes(b"x")
    assert find_nifti(find_files(tmp_path)) is None
    save_nifti(make_hu(), tmp_path / "ct.nii.gz")
    found = find_nifti(find_files(tmp_path))
    assert found is not None and found.name == "ct.nii.gz"


def test_level_comes_from_the_masks_beside(nifti_folder: Path) -> None:
    found = read_source(nifti_folder, choice=Choice(segment="none"))
    assert (found.kind, found.index, found.z_mm, found.patient_id) == ("nifti", 3, Z_MM[3], "patient_b")
    assert set(np.unique(found.image.tissue)) == {schema.TISSUE_NONE, schema.TISSUE_SAT}
    areas = compute_areas_cm2(found.image)
    assert areas["sfa_cm2"] == pytest.approx((make_hu()[3] == -97).sum() * 0.12)
    assert np.isnan(areas["vfa_cm2"])
    assert np.isnan(areas["esma_cm2"]), "half a muscle is no measurement"


def test_given_position_wins_over_the_level(nifti_folder: Path) -> None:
    assert read_source(nifti_folder, choice=Choice(slice_z_mm=-99.0)).index == 0
    assert read_source(nifti_folder, choice=Choice(slice_index=1)).index == 1
    with pytest.raises(InputDataError, match="-100 to -80 mm"):
        read_source(nifti_folder, choice=Choice(slice_z_mm=-50.0))
    with pytest.raises(InputDataError, match="L3 is not in the volume"):
        read_source(nifti_folder, choice=Choice(level="L3"))
    with pytest.raises(UsageError, match="T13"):
        read_source(nifti_folder, choice=Choice(level="T13"))


@pytest.mark.parametrize(("unit", "scale"), [("meter", 0.001), ("micron", 1000.0), ("mm", 1.0), ("unknown", 1.0)])
def test_units_are_converted_and_told(tmp_path: Path, unit: str, scale: float) -> None:
    save_nifti(make_hu(), tmp_path / "ct.nii.gz")
    image = nib.load(tmp_path / "ct.nii.gz")
    scaled = nib.Nifti1Image(np.asanyarray(image.dataobj), np.diag([scale] * 3 + [1.0]) @ image.affine)
    scaled.header.set_xyzt_units(unit)
    nib.save(scaled, tmp_path / "ct.nii.gz")
    stack = _load(tmp_path)
    assert stack.grid.spacing_mm == pytest.approx(SPACING_MM, rel=1e-5)
    assert stack.grid.z_mm == pytest.approx(Z_MM, rel=1e-5)
    assert [f.code for f in stack.findings] == (["nifti-units"] if scale != 1.0 else [])


def _turn(degrees: float, axis: int) -> np.ndarray:
    """Affine turned about an axis of the patient."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.insert(np.insert(np.array([[c, -s], [s, c]]), axis, 0, axis=0), axis, 0, axis=1)
    turn[axis, axis] = 1
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([3.0, 4.0, 5.0])
    return affine


@pytest.mark.parametrize(
    ("degrees", "axis", "tilt_deg", "code"),
    [(0.5, 0, 0.0, ""), (4.0, 0, 4.0, "nifti-tilt"), (-4.0, 1, 4.0, "nifti-tilt"), (4.0, 2, 0.0, "nifti-turned"),
     (5.5, 0, None, "nifti-oblique"), (5.5, 2, None, "nifti-oblique"), (40.0, 1, None, "nifti-oblique")],
)  # fmt: skip
def test_turned_volumes(tmp_path: Path, degrees: float, axis: int, tilt_deg: float | None, code: str) -> None:
    """About x and y the slices tilt; about z only the picture turns."""
    volume = np.ascontiguousarray(make_hu().transpose(2, 1, 0))
    nib.save(nib.Nifti1Image(volume, _turn(degrees, axis)), tmp_path / "ct.nii")
    if tilt_deg is None:
        with pytest.raises(InputDataError, match=f"{abs(degrees):.1f} degrees, at most 5") as refusal:
            _load(tmp_path)
        assert refusal.value.code == code
        return
    stack = _load(tmp_path)
    assert stack.tilt_deg == pytest.approx(tilt_deg, abs=1e-4)
    assert [f.code for f in stack.findings] == ([code] if code else [])
    assert stack.grid.spacing_mm == pytest.approx((4.0, 3.0), rel=1e-6)


def test_tilt_travels_with_the_slice(tmp_path: Path) -> None:
    """The areas' own test is in tests/bodycomp: here the angle arrives."""
    volume = np.ascontiguousarray(make_hu().transpose(2, 1, 0))
    nib.save(nib.Nifti1Image(volume, _turn(4.0, 0)), tmp_path / "ct.nii")
    found = read_source(tmp_path, choice=Choice(slice_index=2, segment="none"))
    assert found.image.tilt_deg == pytest.approx(4.0, abs=1e-4)
    assert "nifti-tilt" in [finding.code for finding in found.findings]


def test_slope_and_intercept_are_applied_and_slope_0_means_none(tmp_path: Path) -> None:
    """HU = stored x slope + intercept; by the standard a slope of 0 leaves the stored values."""
    stored = make_hu()[1][::-1, ::-1].astype(float)
    for slope, inter, wanted in ((2.0, -10.0, stored * 2 - 10), (0.0, 0.0, stored)):
        (tmp_path / "ct.nii").write_bytes(_bytes(_plain(), scl_slope=slope, scl_inter=inter))
        np.testing.assert_array_equal(_load(tmp_path).load_hu(1)[0], np.maximum(wanted, schema.HU_PADDING))


def test_leaning_slice_axis_leaves_the_slices_straight(tmp_path: Path) -> None:
    """As converters write a tilted gantry's series once the slices are upright: sheared, not turned."""
    volume = np.ascontiguousarray(make_hu().transpose(2, 1, 0))
    affine = np.diag([3.0, 4.0, 5.0, 1.0])
    affine[1, 2] = 1.5
    nib.save(nib.Nifti1Image(volume, affine), tmp_path / "ct.nii")
    assert (_load(tmp_path).tilt_deg, _load(tmp_path).findings) == (0.0, ())


# --- What is refused ------------------------------------------------------------------------------


def _plain() -> nib.Nifti1Image:
    return nib.Nifti1Image(np.ascontiguousarray(make_hu().transpose(2, 1, 0)), np.diag([3.0, 4.0, 5.0, 1.0]))


def _bytes(image: nib.Nifti1Image, **fields: object) -> bytes:
    """The file's bytes with header fields as given, past what nibabel would write."""
    whole = bytearray(image.to_bytes())
    header = np.frombuffer(bytes(whole[:348]), image.header.template_dtype).copy()
    for name, value in fields.items():
        header[name] = value
    return header.tobytes() + bytes(whole[348:])


def _rgb() -> bytes:
    return nib.Nifti1Image(np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), np.eye(4)).to_bytes()


def _sheared() -> bytes:
    affine = np.diag([3.0, 4.0, 5.0, 1.0])
    affine[0, 1] = 0.2
    image = _plain()
    return nib.Nifti1Image(np.asanyarray(image.dataobj), affine).to_bytes()


def _two_orientations() -> bytes:
    image = _plain()
    image.set_qform(np.diag([-3.0, 4.0, 5.0, 1.0]), code=1)
    return image.to_bytes()


def _with_nan() -> bytes:
    values = make_hu().transpose(2, 1, 0).astype(np.float32)
    values[5, 5, 0] = np.nan
    return nib.Nifti1Image(values, np.diag([3.0, 4.0, 5.0, 1.0])).to_bytes()


def _cut() -> bytes:
    """Slice 0 is in what is left."""
    return gzip.compress(_plain().to_bytes(), compresslevel=0)[:-30]


def _wrong_checksum() -> bytes:
    whole = gzip.compress(_plain().to_bytes())
    return whole[:-8] + b"\0" * 8


#: Name -> (bytes, code, what the line says).
REFUSED: dict[str, tuple[bytes, str, str]] = {
    "text": (b"no NIfTI", "nifti-damaged", "not a readable"),
    "empty": (b"", "nifti-damaged", "not a readable"),
    "cut": (_plain().to_bytes()[:20000], "nifti-damaged", "48000 bytes|needs"),
    "cut, packed": (_cut(), "nifti-damaged", "EOFError"),
    "wrong checksum": (_wrong_checksum(), "nifti-damaged", "BadGzipFile"),
    "no orientation": (_bytes(_plain(), qform_code=0, sform_code=0), "nifti-no-orientation", "qform_code 0"),
    "two orientations": (_two_orientations(), "nifti-two-orientations", "qform and sform"),
    "several volumes": (nib.Nifti1Image(np.zeros((4, 4, 4, 2), "i2"), np.eye(4)).to_bytes(), "nifti-not-3d", "x 2"),
    "one picture": (nib.Nifti1Image(np.zeros((4, 4), "i2"), np.eye(4)).to_bytes(), "nifti-not-3d", "4 x 4"),
    "colours": (_rgb(), "nifti-datatype", "datatype 128"),
    "complex": (nib.Nifti1Image(np.zeros((4, 4, 4), "c8"), np.eye(4)).to_bytes(), "nifti-datatype", "datatype 32"),
    "zero spacing": (_bytes(_plain(), srow_x=[0, 0, 0, 0]), "nifti-spacing", "voxel size 0"),
    "metres for mm": (_bytes(_plain(), xyzt_units=1), "nifti-spacing", "3000 x 4000"),
    "infinite slope": (_bytes(_plain(), scl_slope=np.inf), "nifti-scaling", "scl_slope inf"),
    "slope 0 with an intercept": (_bytes(_plain(), scl_slope=0, scl_inter=-1024), "nifti-scaling", "slope 0, .*-1024"),
    "not a number": (_with_nan(), "nifti-not-finite", "1 of 4800 pixels"),
    "sheared": (_sheared(), "nifti-oblique", "not rectangular"),
    "unsigned": (_bytes(_plain(), scl_slope=1, scl_inter=1024), "slice-no-air", "lowest value"),
    "claims too much": (_bytes(_plain(), dim=[3, 30000, 30000, 30000, 1, 1, 1, 1]), "nifti-too-large", "GiB"),
    "claims 3.4 GB, packed": (gzip.compress(_bytes(_plain(), dim=[3, 1300, 1300, 1000, 1, 1, 1, 1])),
                              "nifti-too-large", "3.1 GiB"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_volumes_not_understood_are_refused(tmp_path: Path, name: str) -> None:
    content, code, says = REFUSED[name]
    (tmp_path / "ct.nii.gz").write_bytes(content)
    try:
        read_source(tmp_path, choice=Choice(slice_index=0))
    except InputDataError as error:
        assert error.code == code
        assert "\n" not in str(error) and VERDICTS[error.code].mend in str(error)
        assert re.search(says, str(error)), str(error)
    else:
        pytest.fail("not refused")


def test_unknown_unit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ct.nii").write_bytes(_bytes(_plain(), xyzt_units=5))
    with pytest.raises(InputDataError, match="xyzt_units 5"):
        _load(tmp_path)


def test_random_damage_is_refused_or_harmless(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """400 headers with up to three bytes changed, a fifth of them cut: one line or a slice, nothing on the screen."""
    random, whole = np.random.default_rng(0), _plain().to_bytes()
    verdicts = set()
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(random.integers(1, 4)):
            content[random.integers(0, 352)] = random.integers(0, 256)
        if random.random() < 0.2:
            content = content[: random.integers(0, len(content))]
        (tmp_path / "ct.nii").write_bytes(content)
        try:
            stack = _load(tmp_path)
            verdicts.add(stack.load_hu(len(stack.grid.z_mm) - 1)[0].dtype.name)
        except InputDataError as error:
            assert "\n" not in str(error) and error.fact
            verdicts.add(error.code)
    assert {"int16", "nifti-damaged", "nifti-spacing"} <= verdicts
    assert "".join(capfd.readouterr()) == ""


def test_header_texts_are_never_told(tmp_path: Path) -> None:
    fields = {"descrip": b"canary", "db_name": b"canary", "aux_file": b"canary", "intent_name": b"canary"}
    (tmp_path / "ct.nii").write_bytes(_bytes(_plain(), qform_code=0, sform_code=0, **fields))
    with pytest.raises(InputDataError) as refusal:
        _load(tmp_path)
    assert "canary" not in str(refusal.value)


_MEMORY = """
import sys
from pathlib import Path
from data_pipelines.ingest.files import find_files
from data_pipelines.ingest.nifti import load_nifti

def peak_kib():  # getrusage would count what the parent had when it forked
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("VmHWM:"))

before = peak_kib()
stack = load_nifti(find_files(Path(sys.argv[1]))[0])
print(stack.load_hu(500)[0][0, 0], sum(int(values[0, 0]) for _, values in stack.iter_slices()))
print((peak_kib() - before) // 1024)
"""


def test_large_volume_is_never_in_memory(tmp_path: Path) -> None:
    """512 x 512 x 600 voxels, 300 MiB unpacked: reading slice 500, and every slice once, takes a few MiB."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((512, 512, 600))
    header.set_sform(np.diag([0.8, 0.8, 1.0, 1.0]), code=1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    with gzip.open(tmp_path / "ct.nii.gz", "wb", compresslevel=1) as file:
        file.write(header.binaryblock + b"\0" * 4)
        for k in range(600):
            file.write(np.full((512, 512), k, np.int16).tobytes())
    done = subprocess.run([sys.executable, "-c", _MEMORY, str(tmp_path)], capture_output=True, text=True, check=True)
    values, grown_mib = done.stdout.split("\n")[:2]
    assert values.split() == ["500", str(sum(range(600)))]
    assert int(grown_mib) < 100


# --- The real volume ------------------------------------------------------------------------------


def test_real_volume_equals_nibabels_own_reading(shared: Path) -> None:
    path = shared / "data" / "ct_t11_l2_nifti" / "ct.nii.gz"
    stack = _load(path)
    volume = np.maximum(np.asarray(nib.load(path).dataobj), schema.HU_PADDING)  # RAS as delivered
    for k in (0, 14, 29):
        np.testing.assert_array_equal(stack.load_hu(k)[0], volume[::-1, ::-1, k].T)
    assert (stack.findings, stack.grid.spacing_mm) == ((), (3.0, 3.0))


def test_real_volume_beside_its_reference_masks(shared: Path) -> None:
    """Areas of the reference masks: 151.5 cm2 at slice 0, 79.1 at slice 29, before the Hounsfield range."""
    folder = shared / "data" / "ct_t11_l2_nifti"
    for k, wanted_cm2 in ((0, 151.5), (29, 79.1)):
        found = read_source(folder, choice=Choice(slice_index=k))
        assert found.index == k
        region = found.image.tissue == schema.TISSUE_SAT
        assert region.sum() * found.image.pixel_cm2 == pytest.approx(wanted_cm2, abs=0.1)
        # Given masks: the area is numpy's own count of region and range.
        in_range = region & (found.image.hu >= -190) & (found.image.hu <= -30)
        areas = compute_areas_cm2(found.image)
        assert areas["sfa_cm2"] == pytest.approx(np.count_nonzero(in_range) * 0.09, abs=1e-9)
        assert areas["esma_cm2"] > 0 and areas["vfa_cm2"] > 0
        assert region[found.image.body == 0].sum() == 0


def test_real_volume_ends_at_the_edge_of_t11(shared: Path) -> None:
    with pytest.raises(InputDataError, match="only the edge of T11"):
        read_source(shared / "data" / "ct_t11_l2_nifti")


def test_inputs_are_read_through_their_own_opener(tmp_path: Path) -> None:
    """A volume that lies in memory only, as the member of an archive does."""
    import io

    content = gzip.compress(_plain().to_bytes())
    file = InputFile("ct.nii.gz", "a.zip:ct.nii.gz", len(content), lambda: io.BytesIO(content))
    np.testing.assert_array_equal(load_nifti(file).load_hu(1)[0], make_hu()[1][::-1, ::-1])
