"""Numberings of label maps: identified from partial fields of view, or refused; never another vertebra's number."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bonemet_jax import schema
from bonemet_jax.errors import InputDataError, UsageError
from data_pipelines.bodycomp.areas import compute_areas_cm2
from data_pipelines.ingest import Choice, read_source
from data_pipelines.ingest.label_numbering import identify, rank_readings
from data_pipelines.ingest.label_tables import (
    DUKE,
    KNOWN,
    TISSUE_TYPES,
    TOTALSEGMENTATOR_1,
    TOTALSEGMENTATOR_2,
    VERSE,
    VERTEBRAE,
    VERTEBRAE_BODY,
    VERTEBRAE_TASK,
    VISTA3D,
    LabelTable,
)
from data_pipelines.ingest.masks import load_masks
from data_pipelines.ingest.own_label_table import load_label_table, parse_label_table
from tests.ingest.conftest import make_hu, save_nifti
from tests.ingest.drawn_body import ORGANS, TISSUES, Body, draw_body, keep

SPINES = (TOTALSEGMENTATOR_2, TOTALSEGMENTATOR_1, VISTA3D, VERSE, VERTEBRAE_TASK)
FORMS = {"with organs": ("vertebrae", "sacrum", *ORGANS), "spine alone": ("vertebrae", "sacrum")}


@pytest.mark.parametrize(("table", "n", "known"), [
    (TOTALSEGMENTATOR_1, 104, {"L5": 18, "L1": 22, "T12": 23, "T11": 24, "T2": 33, "T1": 34, "C7": 35, "C1": 41}),
    (TOTALSEGMENTATOR_2, 117, {"L5": 27, "L1": 31, "T12": 32, "T11": 33, "T1": 43, "C7": 44, "C1": 50}),
    (VISTA3D, 132, {"L5": 33, "L1": 37, "T12": 38, "T11": 39, "T1": 49, "C7": 50, "C1": 56}),
    (VERSE, 28, {"C1": 1, "C7": 7, "T1": 8, "T11": 18, "T12": 19, "L1": 20, "L5": 24}),
    (VERTEBRAE_TASK, 25, {"L5": 2, "T12": 7, "T11": 8, "T1": 18, "C1": 25}),
])  # fmt: skip
def test_numbers_of_the_published_tables(table: LabelTable, n: int, known: dict[str, int]) -> None:
    assert (len(table.names), {level: table.vertebrae[level] for level in known}) == (n, known)
    assert len(set(table.names.values())) == n
    assert all(KNOWN[key].key == key for key in KNOWN)


def test_muscle_and_fat_of_the_published_tables() -> None:
    muscle = {table.key: table.tissues.get(schema.TISSUE_ESM) for table in SPINES}
    assert muscle == {"totalsegmentator-2": (86, 87), "totalsegmentator-1": (100, 101), "vista3d": (104, 105),
                      "verse": None, "totalsegmentator-vertebrae": None}  # fmt: skip
    assert TISSUE_TYPES.tissues == {schema.TISSUE_SAT: (1,), schema.TISSUE_VAT: (2,)}
    assert DUKE.tissues == {schema.TISSUE_SAT: (2,), schema.TISSUE_VAT: (3,)}


def test_version_2_is_what_totalsegmentator_itself_writes_into_its_files(shared: Path) -> None:
    from data_pipelines.ingest.files import find_files
    from data_pipelines.ingest.nifti import load_label_names

    for name in ("ct_t11_dicom_labels.nii.gz", "ct_t11_l2_nifti/labels_117.nii.gz"):
        assert load_label_names(find_files(shared / "data" / name)[0]) == TOTALSEGMENTATOR_2.names


# --- Partial fields of view --------------------------------------------------------------------------


def _judge(body: Body, table: LabelTable) -> str:
    """Key of the numbering decided, the code of a refusal, or `no number` where none comes of a wrong one."""
    labels = body.label(table)
    stats = body.count(labels)
    try:
        decided = identify(stats, "map", None, body.look(labels))
    except InputDataError as error:
        return error.code
    wholes = [(label,) for label in decided.vertebrae.values()] + list(decided.tissues.values())
    gives = any(all(label in stats.px for label in labels) for labels in wholes)
    return decided.key if gives or decided is table else "no number"


def _judge_all(fields: Iterable[tuple[int, int]], form: str, seed: int) -> Counter[str]:
    """Right, refused and wrong, of every numbering on every field of view, upright and upside down."""
    random, counts = np.random.default_rng(seed), Counter[str]()
    for n, top in fields:
        body = keep(draw_body(random, top, n), FORMS[form])
        for table in SPINES:
            for is_flipped in (False, True) if n > 1 else (False,):  # one vertebra has no order
                told = _judge(body.flip() if is_flipped else body, table)
                wanted = "mask-version" if table.is_explicit else "" if is_flipped else table.key
                is_refused = told.startswith("mask-") or told == "no number"
                is_right = told == wanted or (is_flipped and is_refused)
                word = "right" if is_right else "refused" if is_refused else "wrong"
                counts[word + (" upside down" if is_flipped else "")] += 1
                assert word != "wrong", (table.title, n, VERTEBRAE[top], is_flipped, told)
    return counts


@pytest.mark.parametrize("form", FORMS)
def test_a_few_fields_of_view(form: str) -> None:
    counts = _judge_all([(2, 17), (5, 15), (12, 8), (24, 0)], form, 7)
    assert counts["right"] >= (16 if form == "with organs" else 10) and counts["wrong"] == 0


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("form", FORMS)
def test_every_field_of_view(form: str) -> None:
    """1 to 24 vertebrae from every level."""
    fields = [(n, top) for n in range(1, 25) for top in range(25 - n)]
    counts = _judge_all(fields, form, 11)
    print(f"\nlabel numbering, {form}, 5 numberings on {len(fields)} fields of view: identified {counts['right']}, "
          f"refused as undecidable {counts['refused']}, wrong {counts['wrong']}; upside down: refused "
          f"{counts['right upside down']}, wrong {counts['wrong upside down']}")  # fmt: skip
    least = 0.7 if form == "with organs" else 0.5  # vertebrae alone are often undecidable
    assert counts["right"] > least * 5 * len(fields)


def test_the_undecidable_names_its_candidates_and_the_flag() -> None:
    """Labels 33 and 32 alone: T11 and T12, or T2 and T3 of version 1; without the picture nobody can know."""
    body = keep(draw_body(np.random.default_rng(3), 17, 2), FORMS["spine alone"])
    stats = body.count(body.label(TOTALSEGMENTATOR_2))
    with pytest.raises(InputDataError, match=r"TotalSegmentator 2 or TotalSegmentator 1.*--label-table") as refusal:
        identify(stats, "map")
    assert refusal.value.code == "mask-undecided"


def test_names_in_the_file_decide_unless_the_labels_contradict_them() -> None:
    body = keep(draw_body(np.random.default_rng(3), 17, 2), FORMS["spine alone"])
    stats = body.count(body.label(TOTALSEGMENTATOR_2))
    assert identify(stats, "map", TOTALSEGMENTATOR_2.names) is TOTALSEGMENTATOR_2
    own = {33: "vertebrae_T9", 32: "vertebrae_T10"}
    assert identify(stats, "map", own).vertebrae == {"T9": 33, "T10": 32}
    tall = keep(draw_body(np.random.default_rng(3), 7, 12), FORMS["with organs"])
    with pytest.raises(InputDataError, match=r"named as by TotalSegmentator 2, placed as by") as refusal:
        identify(tall.count(tall.label(VISTA3D)), "map", TOTALSEGMENTATOR_2.names)
    assert refusal.value.code == "mask-numbering"


def test_labels_beyond_every_numbering_are_refused() -> None:
    body = keep(draw_body(np.random.default_rng(3), 12, 8), FORMS["with organs"])
    labels = body.label(TOTALSEGMENTATOR_2)
    labels[labels == 5] = 250
    with pytest.raises(InputDataError, match="no numbering has label 250") as refusal:
        identify(body.count(labels), "map")
    assert refusal.value.code == "mask-numbering"


# --- Real anatomy ------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [TOTALSEGMENTATOR_2, TOTALSEGMENTATOR_1, VISTA3D, VERSE], ids=lambda table: table.key)
def test_real_map_in_other_numbers(shared: Path, tmp_path: Path, table: LabelTable) -> None:
    """The same areas whatever the numbering; version 1 when it is asked for by name."""
    folder = shared / "data" / "ct_t11_l2_nifti"
    image = nib.load(folder / "labels_117.nii.gz")
    of_name = {name: label for label, name in table.names.items()}
    theirs = np.array([0, *(of_name.get(TOTALSEGMENTATOR_2.names[label], 0) for label in range(1, 118))], np.uint8)
    nib.save(nib.Nifti1Image(theirs[np.asarray(image.dataobj)], image.affine), tmp_path / "labels.nii.gz")
    choice = Choice(level="T12", label_table=table if table.is_explicit else None)
    if table.is_explicit:
        with pytest.raises(InputDataError, match="--label-table totalsegmentator-1") as refusal:
            read_source(folder / "ct.nii.gz", tmp_path / "labels.nii.gz", Choice(level="T12"))
        assert refusal.value.code == "mask-version"
    ours = read_source(folder / "ct.nii.gz", folder / "labels_117.nii.gz", Choice(level="T12"))
    found = read_source(folder / "ct.nii.gz", tmp_path / "labels.nii.gz", choice)
    assert (found.index, found.label_numbering) == (ours.index, table.title)
    areas, wanted = compute_areas_cm2(found.image), compute_areas_cm2(ours.image)
    names = ("sfa_cm2",) if table is VERSE else ("sfa_cm2", "esma_cm2")  # VerSe has no muscle
    assert [areas[name] for name in names] == pytest.approx([wanted[name] for name in names], rel=1e-3)
    codes = {finding.code for finding in found.findings}
    assert ("mask-numbering-read" in codes) == (table is not TOTALSEGMENTATOR_2)


def test_real_map_upside_down_is_refused(shared: Path, tmp_path: Path) -> None:
    """Image and map turned over together: T12 above T11."""
    folder = shared / "data" / "ct_t11_l2_nifti"
    for name in ("ct", "labels_117"):
        image = nib.load(folder / f"{name}.nii.gz")
        flipped = nib.Nifti1Image(np.asarray(image.dataobj)[..., ::-1].copy(), image.affine)
        nib.save(flipped, tmp_path / f"{name}.nii.gz")
    with pytest.raises(InputDataError) as refusal:
        read_source(tmp_path / "ct.nii.gz", tmp_path / "labels_117.nii.gz", Choice(level="T12"))
    assert refusal.value.code == "mask-order"


# --- Tissues alone ------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [DUKE, TISSUE_TYPES], ids=lambda table: table.key)
def test_tissues_are_identified_by_their_hounsfield_units(table: LabelTable) -> None:
    body = keep(draw_body(np.random.default_rng(5), 17, 6), tuple(TISSUES))
    labels = body.label(table)
    assert identify(body.count(labels), "map", None, body.look(labels)) is table
    with pytest.raises(InputDataError) as refusal:
        identify(body.count(labels), "map")  # without the picture the two cannot be told apart
    assert refusal.value.code == "mask-undecided"


def test_vertebral_bodies_without_levels_are_no_numbering() -> None:
    """TotalSegmentator's vertebrae_body: 1 for every body, 2 for every disc."""
    body = keep(draw_body(np.random.default_rng(5), 14, 8), ("vertebrae",))
    labels = (body.structures > 0).astype(np.int64)
    assert VERTEBRAE_BODY in [reading.table for reading in rank_readings(body.count(labels), body.look(labels))]
    with pytest.raises(InputDataError) as refusal:
        identify(body.count(labels), "map", None, body.look(labels))
    assert refusal.value.code in ("mask-numbering", "mask-undecided")


# --- Words about label maps ---------------------------------------------------------------------------


def _map(kind: type = np.uint8) -> np.ndarray:
    labels = np.zeros(make_hu().shape, kind)
    labels[1:4, 28, 30:40], labels[2, 29, 30:40], labels[:2, 27, 30:45] = 33, 33, 32
    labels[:, 36:42, 46:54], labels[:, 36:42, 26:34] = 86, 87
    return labels


def _save(values: np.ndarray, file: Path, slope: float = np.nan, inter: float = np.nan) -> Path:
    """A map with this slope and intercept stored in its header, its values as they are."""
    save_nifti(values, file)
    content = bytearray(file.read_bytes())
    content[112:120] = np.array([slope, inter], "<f4").tobytes()
    file.write_bytes(content)
    return file


@pytest.mark.parametrize(("slope", "inter"), [(np.nan, np.nan), (0, 0), (0, 5), (np.inf, 0), (np.nan, 3), (1, 0)])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_labels_without_a_scale_are_as_stored(tmp_path: Path, slope: float, inter: float, kind: type) -> None:
    """nibabel takes a slope of 0, or one that is no number, for no scaling."""
    file = _save(_map(kind), tmp_path / "labels.nii", slope, inter)
    save_nifti(make_hu(), tmp_path / "p" / "ct.nii")
    assert nib.load(file).dataobj[40, 31, 2] == _map()[2, 28, 39]
    found = read_source(tmp_path / "p", file, Choice(segment="none"))
    assert (found.index, (found.image.tissue == schema.TISSUE_ESM).sum()) == (2, 96)


MAPS: dict[str, tuple[np.ndarray, tuple[float, float], str]] = {
    "doubled by its slope": (_map(), (2, 0), "mask-numbering"),
    "halved by its slope": (_map(), (0.5, 0), "mask-values"),
    "intercept not a number": (_map(), (1, np.nan), "nifti-damaged"),
    "fractions": (_map(np.float32) * np.float32(0.7), (1, 0), "mask-values"),
    "empty": (_map() * np.uint8(0), (1, 0), "mask-values"),
    "huge": (np.where(_map() > 0, 1e7, 0).astype(np.float32), (1, 0), "mask-values"),
    "two volumes": (np.stack([_map(), _map()], -1), (1, 0), "nifti-not-3d"),
    "colours": (np.zeros(_map().shape, [(c, "u1") for c in "RGB"]), (1, 0), "nifti-datatype"),
}  # fmt: skip


@pytest.mark.parametrize("fault", MAPS)
def test_messages_are_about_the_label_map(tmp_path: Path, fault: str) -> None:
    values, (slope, inter), wanted = MAPS[fault]
    affine = np.diag([3.0, 4.0, 5.0, 1.0])
    affine[:3, 3] = (118.5 - 3 * 79, 118 - 4 * 59, -100)
    turned = np.ascontiguousarray(np.swapaxes(values, 0, 2)[::-1, ::-1])
    nib.save(nib.Nifti1Image(turned, affine), tmp_path / "labels.nii")
    content = bytearray((tmp_path / "labels.nii").read_bytes())
    content[112:120] = np.array([slope, inter], "<f4").tobytes()
    (tmp_path / "labels.nii").write_bytes(content)
    save_nifti(make_hu(), tmp_path / "p" / "ct.nii")
    with pytest.raises(InputDataError) as refusal:
        read_source(tmp_path / "p", tmp_path / "labels.nii", Choice(segment="none"))
    assert refusal.value.code == wanted
    assert not any(word in str(refusal.value) for word in ("Hounsfield", "CT volume", "original CT", "DICOM"))


@pytest.mark.parametrize("name", ["labels.nii.gz", "masks/vertebrae_T11.nii.gz"])
@pytest.mark.parametrize("damage", ["cut short", "other checksum"])
def test_damage_is_that_of_the_mask(tmp_path: Path, name: str, damage: str) -> None:
    """The checksum is verified when the voxels are read, long after the header."""
    file = tmp_path / name
    save_nifti(_map(), file)
    packed = file.read_bytes()
    file.write_bytes(packed[:-40] if damage == "cut short" else packed[:-8] + b"\0\0\0\0" + packed[-4:])
    save_nifti(make_hu(), tmp_path / "p" / "ct.nii")
    masks = file if name.startswith("labels") else file.parent
    with pytest.raises(InputDataError, match=r"not a readable NIfTI mask.*save the mask again") as refusal:
        read_source(tmp_path / "p", masks, Choice(segment="none"))
    assert refusal.value.code == "nifti-damaged"


def test_named_masks_upside_down_are_refused(tmp_path: Path) -> None:
    for name, label in (("T11", 32), ("T12", 33)):
        save_nifti((_map() == label).astype(np.uint8), tmp_path / f"vertebrae_{name}.nii.gz")
    from tests.ingest.conftest import GRID

    with pytest.raises(InputDataError, match="T11 is below T12") as refusal:
        load_masks(tmp_path, GRID).count_vertebrae("T11")
    assert refusal.value.code == "mask-order"


# --- --label-table ------------------------------------------------------------------------------------


def test_own_table_names_levels_and_tissues(tmp_path: Path) -> None:
    labels = np.select([_map() == 33, _map() == 32, _map() >= 86], [3011, 3012, 7], 0).astype(np.int16)
    save_nifti(labels, tmp_path / "labels.nii")
    save_nifti(make_hu(), tmp_path / "p" / "ct.nii")
    (tmp_path / "table.csv").write_text("label,name\n0,background\n3011,T11\n3012,Th12\n7,ESM\n9,liver\n")
    table = load_label_table(str(tmp_path / "table.csv"))
    found = read_source(tmp_path / "p", tmp_path / "labels.nii", Choice(segment="none", label_table=table))
    assert (found.index, (found.image.tissue == schema.TISSUE_ESM).sum()) == (2, 96)
    assert found.label_numbering == "the table given"
    with pytest.raises(InputDataError, match="no numbering has label 3012"):
        read_source(tmp_path / "p", tmp_path / "labels.nii", Choice(segment="none"))
    other = parse_label_table("label,name\n33,T11\n", "other.csv")
    for wrong, says in ((other, "no vertebra and no tissue"), (VERSE, "as VerSe, no label 3011")):
        with pytest.raises(InputDataError, match=says) as refusal:
            read_source(tmp_path / "p", tmp_path / "labels.nii", Choice(segment="none", label_table=wrong))
        assert refusal.value.code == "mask-numbering"


def test_tables_by_name(tmp_path: Path) -> None:
    assert load_label_table("totalsegmentator-1") is TOTALSEGMENTATOR_1
    with pytest.raises(UsageError, match=r"--label-table.*totalsegmentator-2, totalsegmentator-1, verse"):
        load_label_table("totalsegmentator")
    with pytest.raises(InputDataError, match="no file"):
        load_label_table(str(tmp_path))


BAD_TABLES = {
    "": "first row", "T11,33\n": "first row", "label;name\n33;T11\n": "first row", "label,name\n": "0 labels",
    "label,name\n33\n": "row 2: 1 cells", "label,name\n33,T11,x\n": "row 2: 3 cells", "label,name\nT11,33\n": "row 2",
    "label,name\n33,T11\n33,T12\n": "row 3: the label", "label,name\n33,T11\n34,Th11\n": "row 3: the structure",
    "label,name\n-1,T11\n": "row 2", "label,name\n3.0,T11\n": "row 2", "label,name\n99999,T11\n": "row 2",
    "label,name\n33,\n": "row 2: a name", "label,name\n1,liver\n": "1 labels, none",
    'label,name\n33,"T11\n': "not a CSV",
    "label,name\n٣٣,T11\n": "row 2", "label,name\n33," + "T" * 300 + "\n": "row 2: a name",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD_TABLES)
def test_bad_tables_are_refused_with_the_row(text: str) -> None:
    with pytest.raises(InputDataError, match=BAD_TABLES[text]) as refusal:
        parse_label_table(text, "table.csv")
    assert refusal.value.code == "mask-table"


def test_300_hostile_tables_are_refused_in_one_line(tmp_path: Path) -> None:
    random, n_refused = np.random.default_rng(1), 0
    good = b"label,name\n33,T11\n32,T12\n86,autochthon_left\n87,autochthon_right\n"
    for number in range(300):
        content = bytearray(good)
        for _ in range(int(random.integers(1, 9))):
            content[int(random.integers(len(content)))] = int(random.integers(256))
        content = bytearray(random.bytes(int(random.integers(4000)))) if number % 3 == 0 else content
        odd = {1: b"[" * 100_000, 2: b"label,name\n" + b'1,"' * 80_000, 4: b"label,name\n" + b"1,T11\n" * 60_000}
        (tmp_path / "t.csv").write_bytes(odd.get(number, content))
        try:
            load_label_table(str(tmp_path / "t.csv"))
        except InputDataError as error:
            n_refused += 1
            assert (error.code, "\n" in str(error)) == ("mask-table", False)
    print(f"\nhostile label tables: {n_refused} of 300 refused with one line, the others still name a structure")
    assert n_refused > 150


def test_options_that_do_not_apply_are_named(tmp_path: Path) -> None:
    save_nifti(make_hu(), tmp_path / "ct.nii.gz")
    choice = Choice(slice_index=0, series=1, acquisition=1, label_table=load_label_table("verse"), segment="none")
    (note,) = [note for note in read_source(tmp_path, choice=choice).findings if note.code == "file-option-unused"]
    assert note.fact == "--series, --acquisition, --label-table"
