"""Known numberings of label maps: which number is which structure. Sources: docs/masks-and-regions.md.

Structures carry TotalSegmentator's names whatever the numbering calls them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from bonemet_jax import schema

#: From the head to the feet.
VERTEBRAE = (
    *(f"C{i}" for i in range(1, 8)), *(f"T{i}" for i in range(1, 13)), *(f"L{i}" for i in range(1, 6)),
)  # fmt: skip
#: Levels below and between these that some numberings have; no `--level` asks for them.
SACRAL = ("L6", "S1", "sacrum")
#: Structures that make up a tissue: all parts are needed.
# PAPER: visceral fat is drawn by readers; torso_fat, all fat inside the trunk's wall, is the nearest label there is.
# Autochthon (the deep back muscles) is used for the erector spinae.
NAMES_OF_TISSUE: dict[int, tuple[str, ...]] = {
    schema.TISSUE_SAT: ("subcutaneous_fat",),
    schema.TISSUE_VAT: ("torso_fat",),
    schema.TISSUE_ESM: ("autochthon_left", "autochthon_right"),
}
#: Erector spinae segmented as a whole.
WHOLE_MUSCLE = "erector_spinae"


@dataclass(frozen=True)
class LabelTable:
    """One numbering."""

    key: str
    """How --label-table names it."""
    title: str
    """How messages name it."""
    names: Mapping[int, str]
    """Label -> structure."""
    is_explicit: bool = False
    """True where maps are measured only when --label-table names the table."""

    @cached_property
    def vertebrae(self) -> dict[str, int]:
        """Level -> label, C1 to L5, of those that the table has."""
        of_name = {name: label for label, name in self.names.items()}
        return {level: of_name[f"vertebrae_{level}"] for level in VERTEBRAE if f"vertebrae_{level}" in of_name}

    @cached_property
    def tissues(self) -> dict[int, tuple[int, ...]]:
        """Tissue code -> labels of its parts, of those tissues whose parts the table all has."""
        of_name = {name: label for label, name in self.names.items()}
        whole = {schema.TISSUE_ESM: (of_name[WHOLE_MUSCLE],)} if WHOLE_MUSCLE in of_name else {}
        return {code: tuple(of_name[name] for name in names) for code, names in NAMES_OF_TISSUE.items()
                if all(name in of_name for name in names)} | whole  # fmt: skip

    @cached_property
    def ranks(self) -> dict[int, float]:
        """Label -> place along the body, 0 for C1, growing towards the feet; vertebrae and sacrum alone."""
        places = {f"vertebrae_{level}": float(i) for i, level in enumerate(VERTEBRAE)}
        places |= {"vertebrae_L6": 24.0, "vertebrae_S1": 24.5, "sacrum": 25.5, "vertebrae_T13": 18.5}
        return {label: places[name] for label, name in self.names.items() if name in places}


def _spine(first: str, last: str) -> str:
    """Names of the vertebrae from one level to another, in either direction."""
    a, b = VERTEBRAE.index(first), VERTEBRAE.index(last)
    levels = VERTEBRAE[a : b + 1] if a < b else VERTEBRAE[b : a + 1][::-1]
    return " ".join(f"vertebrae_{level}" for level in levels)


def _sides(*names: str, first: str = "left") -> str:
    second = "right" if first == "left" else "left"
    return " ".join(f"{name}_{side}" for name in names for side in (first, second))


def _ribs(*sides: str) -> str:
    return " ".join(f"rib_{side}_{i}" for side in sides for i in range(1, 13))


def _number(names: str) -> dict[int, str]:
    return dict(enumerate(names.split(), start=1))


_LIMB_BONES = _sides("humerus", "scapula", "clavicula", "femur", "hip")
_MUSCLES = _sides("gluteus_maximus", "gluteus_medius", "gluteus_minimus", "autochthon", "iliopsoas")
_ILIAC = _sides("iliac_artery", "iliac_vena")

TOTALSEGMENTATOR_1 = LabelTable("totalsegmentator-1", "TotalSegmentator 1", _number(
    "spleen kidney_right kidney_left gallbladder liver stomach aorta inferior_vena_cava portal_vein_and_splenic_vein "
    "pancreas adrenal_gland_right adrenal_gland_left lung_upper_lobe_left lung_lower_lobe_left lung_upper_lobe_right "
    f"lung_middle_lobe_right lung_lower_lobe_right {_spine('L5', 'C1')} esophagus trachea heart_myocardium "
    "heart_atrium_left heart_ventricle_left heart_atrium_right heart_ventricle_right pulmonary_artery brain "
    f"{_ILIAC} small_bowel duodenum colon {_ribs('left', 'right')} {_LIMB_BONES} sacrum face {_MUSCLES} "
    "urinary_bladder"
), is_explicit=True)  # fmt: skip
TOTALSEGMENTATOR_2 = LabelTable("totalsegmentator-2", "TotalSegmentator 2", _number(
    "spleen kidney_right kidney_left gallbladder liver stomach pancreas adrenal_gland_right adrenal_gland_left "
    "lung_upper_lobe_left lung_lower_lobe_left lung_upper_lobe_right lung_middle_lobe_right lung_lower_lobe_right "
    "esophagus trachea thyroid_gland small_bowel duodenum colon urinary_bladder prostate kidney_cyst_left "
    f"kidney_cyst_right sacrum vertebrae_S1 {_spine('L5', 'C1')} heart aorta pulmonary_vein brachiocephalic_trunk "
    f"{_sides('subclavian_artery', first='right')} {_sides('common_carotid_artery', first='right')} "
    f"{_sides('brachiocephalic_vein')} atrial_appendage_left superior_vena_cava inferior_vena_cava "
    f"portal_vein_and_splenic_vein {_ILIAC} {_LIMB_BONES} spinal_cord {_MUSCLES} brain skull "
    f"{_ribs('left', 'right')} sternum costal_cartilages"
))  # fmt: skip
VISTA3D = LabelTable("vista3d", "VISTA3D", _number(
    "liver kidney spleen pancreas kidney_right aorta inferior_vena_cava adrenal_gland_right adrenal_gland_left "
    "gallbladder esophagus stomach duodenum kidney_left urinary_bladder prostate_or_uterus "
    "portal_vein_and_splenic_vein rectum small_bowel lung bone brain lung_tumor pancreas_tumor liver_vessel "
    "liver_tumor colon_cancer lung_upper_lobe_left lung_lower_lobe_left lung_upper_lobe_right "
    f"lung_middle_lobe_right lung_lower_lobe_right {_spine('L5', 'C1')} trachea {_ILIAC} colon "
    f"{_ribs('left', 'right')} {_LIMB_BONES} sacrum {_MUSCLES} atrial_appendage_left brachiocephalic_trunk "
    f"{_sides('brachiocephalic_vein')} {_sides('common_carotid_artery')} costal_cartilages heart "
    f"{_sides('kidney_cyst')} prostate pulmonary_vein skull spinal_cord sternum {_sides('subclavian_artery')} "
    "superior_vena_cava thyroid_gland vertebrae_S1 bone_lesion kidney_mass liver_tumor_2 vertebrae_L6 airway"
))  # fmt: skip
VERSE = LabelTable("verse", "VerSe", _number(
    f"{_spine('C1', 'L5')} vertebrae_L6 sacrum coccyx vertebrae_T13"
))  # fmt: skip
VERTEBRAE_TASK = LabelTable("totalsegmentator-vertebrae", "TotalSegmentator's vertebrae_mr", _number(
    f"sacrum {_spine('L5', 'C1')}"
))  # fmt: skip
VERTEBRAE_BODY = LabelTable("vertebrae-body", "TotalSegmentator's vertebrae_body", _number(
    "vertebrae_body intervertebral_discs"
))  # fmt: skip
TISSUE_TYPES = LabelTable("totalsegmentator-tissues", "TotalSegmentator's tissue types", _number(
    "subcutaneous_fat torso_fat skeletal_muscle intermuscular_fat"
))  # fmt: skip
DUKE = LabelTable("duke", "Duke's muscle and fat", _number(
    "skeletal_muscle subcutaneous_fat torso_fat intermuscular_fat"
))  # fmt: skip

KNOWN: dict[str, LabelTable] = {
    table.key: table for table in (
        TOTALSEGMENTATOR_2, TOTALSEGMENTATOR_1, VERSE, VISTA3D, VERTEBRAE_TASK, VERTEBRAE_BODY, TISSUE_TYPES, DUKE)
}  # fmt: skip
#: Names that --label-table can be given with a use: the others have no level and no tissue.
USABLE: tuple[str, ...] = tuple(key for key, table in KNOWN.items() if table.vertebrae or table.tissues)
