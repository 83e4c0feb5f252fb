"""The vocabulary: every name, unit, order and range that more than one room must agree on.

Standard library only; imports nothing of this project.
"""

from dataclasses import dataclass
from typing import Literal

# --- Tissue -----------------------------------------------------------------------------------

#: Name of a convention -> tissue -> inclusive Hounsfield range, applied inside a region when areas are counted.
#: paper: row B1. boa: Body-and-Organ-Analysis counts all adipose tissue alike (Haubold et al., Investigative Radiology
#: 59:433, 2024).
HU_CONVENTIONS: dict[str, dict[str, tuple[int, int]]] = {
    "paper": {"muscle": (-29, 150), "visceral_fat": (-150, -50), "subcutaneous_fat": (-190, -30)},
    "boa": {"muscle": (-29, 150), "visceral_fat": (-190, -30), "subcutaneous_fat": (-190, -30)},
}
HU_RANGES: dict[str, tuple[int, int]] = HU_CONVENTIONS["paper"]

#: Codes of the `tissue` label map of a canonical slice. Regions are disjoint.
TISSUE_NONE, TISSUE_SAT, TISSUE_VAT, TISSUE_ESM, TISSUE_FAT_UNSEGMENTED = range(5)
TISSUE_NAMES: tuple[str, ...] = (
    "none",
    "subcutaneous fat",
    "visceral fat",
    "erector spinae",
    "fat, unsegmented (subcutaneous and visceral together)",
)
#: Codes that form the fat mask, the network's fourth channel (row D2).
FAT_CODES: tuple[int, ...] = (TISSUE_SAT, TISSUE_VAT, TISSUE_FAT_UNSEGMENTED)

# --- Image channels -----------------------------------------------------------------------------

CHANNELS: tuple[str, ...] = ("ct", "lbp", "hog", "mask")
#: HU window of the stored uint8 CT: covers all three tissue ranges (docs/paper.md).
CT_WINDOW_HU: tuple[int, int] = (-200, 300)
HU_PADDING = -1024
LBP_RADIUS = 3
LBP_POINTS = 24
HOG_CELL = 16
HOG_ORIENTATIONS = 8
#: Constant divisor of the rendered HOG picture, grey levels: never fitted, so no leakage.
HOG_FULL_SCALE = 64.0
#: Order of the four stored HOG histograms: (vertical flip, horizontal flip).
HOG_FLIPS: tuple[tuple[bool, bool], ...] = ((False, False), (False, True), (True, False), (True, True))

# --- Scores -------------------------------------------------------------------------------------

#: Goes with every score that leaves a run.
WARNING = "a research score, not a diagnosis; not a medical device"

# --- Clinical columns (row A2) --------------------------------------------------------------------

Kind = Literal["continuous", "binary", "category"]


@dataclass(frozen=True)
class Column:
    """One column of the cohort table: its name carries the unit, `low`..`high` is the accepted range."""

    name: str
    kind: Kind
    label: str
    low: float = 0.0
    high: float = 1.0
    levels: tuple[str, ...] = ()


CLINICAL: tuple[Column, ...] = (
    Column("age_years", "continuous", "Age (years)", 18, 110),
    Column("menopause", "category", "Menopause", levels=("pre", "post")),
    Column("n_stage", "category", "N stage", levels=("N0", "N1+")),
    Column("lvi", "binary", "Lymphovascular invasion"),
    Column("ki67_high", "binary", "Ki-67 >= 20 %"),
    Column("subtype", "category", "Molecular subtype",
           levels=("luminal_A", "luminal_B", "HER2-enriched", "triple_negative")),
    Column("multifocal", "binary", "Multifocal"),
    Column("tumour_size_cm", "continuous", "Tumour size (cm)", 0.0, 30.0),
    Column("er", "binary", "ER positive"),
    Column("pr", "binary", "PR positive"),
    Column("her2", "binary", "HER2 positive"),
    Column("endocrine", "binary", "Endocrine therapy"),
    Column("radiotherapy", "binary", "Radiotherapy"),
    Column("chemotherapy", "binary", "Chemotherapy"),
    Column("histology", "category", "Histology", levels=("other", "ductal")),
    Column("cea_ng_ml", "continuous", "CEA (ng/ml)", 0.0, 10_000.0),
    Column("ca153_u_ml", "continuous", "CA15-3 (U/ml)", 0.0, 10_000.0),
    Column("bmi_kg_m2", "continuous", "BMI (kg/m2)", 8.0, 100.0),
    Column("esma_cm2", "continuous", "ESMA (cm2)", 0.0, 300.0),
    Column("esmi_cm2_m2", "continuous", "ESMI (cm2/m2)", 0.0, 150.0),
    Column("sfa_cm2", "continuous", "SFA (cm2)", 0.0, 2000.0),
    Column("sfi_cm2_m2", "continuous", "SFI (cm2/m2)", 0.0, 1000.0),
    Column("vfa_cm2", "continuous", "VFA (cm2)", 0.0, 2000.0),
    Column("vfi_cm2_m2", "continuous", "VFI (cm2/m2)", 0.0, 1000.0),
)
#: Index -> area: index = area / height_m ** 2 (row B2).
INDEX_OF_AREA: dict[str, str] = {
    "esmi_cm2_m2": "esma_cm2",
    "sfi_cm2_m2": "sfa_cm2",
    "vfi_cm2_m2": "vfa_cm2",
}
#: Area column -> tissue code of the label map.
AREA_CODES: dict[str, int] = {"esma_cm2": TISSUE_ESM, "sfa_cm2": TISSUE_SAT, "vfa_cm2": TISSUE_VAT}

PATIENT_ID = "patient_id"
SLICE_ID = "slice_id"
HEIGHT = "height_m"
LABEL = "bone_metastasis"
TIME = "dmfs_months"
EVENT = "dmfs_event"
#: The SFI cut-off the paper prints (row H4).
PAPER_SFI_CUTOFF_CM2_M2 = 27.7

# --- Folds and splits ---------------------------------------------------------------------------

SPLITS: tuple[str, ...] = ("train", "val", "test")
FEATURE_SETS: tuple[str, ...] = ("imaging", "clinical", "both")
CLASSIFIERS: tuple[str, ...] = ("gbdt", "svm", "rf")


def clinical_names() -> tuple[str, ...]:
    """Names of the 24 clinical columns, in the paper's order."""
    return tuple(column.name for column in CLINICAL)


def encoded_names() -> tuple[str, ...]:
    """Numeric columns after encoding: categories become one 0/1 column per level but the first."""
    names: list[str] = []
    for column in CLINICAL:
        if column.kind == "category":
            names += [f"{column.name}_{level}" for level in column.levels[1:]]
        else:
            names.append(column.name)
    return tuple(names)


def embedding_names(width: int) -> tuple[str, ...]:
    """Names X1..Xn of the network features (row D3)."""
    return tuple(f"X{i + 1}" for i in range(width))
