"""The clinical table's vocabulary: which column names, units and spellings are understood. Tables only, in one place.

docs/clinical-table.md is the user's view of these tables; a test keeps the two in step.
"""

import unicodedata
from dataclasses import dataclass

from bonemet_jax import schema
from bonemet_jax.table_cells import UNKNOWN_WORDS

SLICE_Z = "slice_z_mm"
SLICE_INDEX = "slice_index"
WEIGHT = "weight_kg"
#: Days in a mean month, 365.25 / 12.
DAYS_A_MONTH = 30.4375

_OUTCOMES = (
    schema.Column(schema.HEIGHT, "continuous", "Height (m)", 0.5, 2.5),
    schema.Column(schema.LABEL, "binary", "Bone metastasis"),
    schema.Column(schema.TIME, "continuous", "DMFS (months)", 0.0, 1200.0),
    schema.Column(schema.EVENT, "binary", "DMFS event"),
)
#: Columns a row of the cohort may hold.
COLUMNS: dict[str, schema.Column] = {column.name: column for column in (*schema.CLINICAL, *_OUTCOMES)}


@dataclass(frozen=True)
class Field:
    """A column as a file may hold it. Its name carries the unit; the unit decides, never the value."""

    column: schema.Column
    """Name, kind and range in the file's own unit."""
    target: str
    """The cohort's column it becomes; its own name when it is one, or is read but not kept."""
    per: float = 1.0
    """How many of the file's unit are one of the target's: 100 cm are 1 m."""
    at_least: float | None = None
    """Where given, the target is 1 from this value on and 0 below."""

    @property
    def name(self) -> str:
        """Name in the file."""
        return self.column.name

    def convert(self, value: float) -> float:
        """The value in the target's unit."""
        return value / self.per if self.at_least is None else float(value >= self.at_least)


def _twin(name: str, target: str, per: float, label: str) -> Field:
    """The target in another unit, with the target's range."""
    low, high = COLUMNS[target].low * per, COLUMNS[target].high * per
    return Field(schema.Column(name, "continuous", label, low, high), target, per)


_TWINS = (
    _twin("height_cm", schema.HEIGHT, 100.0, "Height (cm)"),
    _twin("tumour_size_mm", "tumour_size_cm", 10.0, "Tumour size (mm)"),
    _twin("dmfs_days", schema.TIME, DAYS_A_MONTH, "DMFS (days)"),
    _twin("dmfs_years", schema.TIME, 1 / 12, "DMFS (years)"),
    # PAPER: Ki-67 enters as >= 20 % (row A2).
    Field(schema.Column("ki67_percent", "continuous", "Ki-67 (%)", 0.0, 100.0), "ki67_high", at_least=20.0),
)
_READ_ONLY = (
    schema.Column(WEIGHT, "continuous", "Weight (kg)", 20.0, 400.0),
    schema.Column(SLICE_Z, "continuous", "Slice z (mm)", -10_000.0, 10_000.0),
    schema.Column(SLICE_INDEX, "continuous", "Slice index", 0.0, 100_000.0),
)
#: Every column that is read, by its name in the file.
FIELDS: dict[str, Field] = {
    **{name: Field(column, name) for name, column in COLUMNS.items()},
    **{field.name: field for field in _TWINS},
    **{column.name: Field(column, column.name) for column in _READ_ONLY},
}

#: Other names of a column that can mean nothing else; case, blanks and punctuation do not count. The schema's labels
#: ("Age (years)", the paper's Table 1) are added below.
# PAPER: the released code's tables, in gb18030, hold 序号 (id) and 骨转移 or 转移 (label); it names no other.
ALIASES: dict[str, tuple[str, ...]] = {
    schema.PATIENT_ID: ("patient", "patient id", "patientid", "pid", "subject id", "id", "case id",
                        "患者编号", "编号", "序号"),
    "age_years": ("age", "年龄", "年龄(岁)"),
    "menopause": ("menopausal status", "menopause status", "绝经状态"),
    "n_stage": ("pn", "n staging", "N分期"),
    "lvi": ("lymphovascular invasion", "脉管侵犯"),
    "ki67_high": ("ki-67>=20%",),
    "ki67_percent": ("ki-67%", "ki-67(%)", "ki-67 percent"),
    "subtype": ("molecular subtype", "molecular type", "分子分型"),
    "multifocal": ("multifocality", "多灶"),
    "tumour_size_cm": ("tumor size (cm)", "tumor_size_cm", "肿瘤大小(cm)", "肿瘤直径(cm)"),
    "tumour_size_mm": ("tumor size (mm)", "tumor_size_mm", "肿瘤大小(mm)", "肿瘤直径(mm)"),
    "er": ("er status", "estrogen receptor", "oestrogen receptor", "雌激素受体"),
    "pr": ("pr status", "progesterone receptor", "孕激素受体"),
    "her2": ("her-2", "her2 status", "her-2/neu", "erbb2"),
    "endocrine": ("endocrine therapy", "endocrinotherapy", "内分泌治疗"),
    "radiotherapy": ("radiation therapy", "放疗"),
    "chemotherapy": ("chemo", "化疗"),
    "histology": ("histological type", "histologic type", "pathological type", "病理类型"),
    "cea_ng_ml": ("cea", "cea (ug/l)", "cea_ug_l"),  # 1 ug/l = 1 ng/ml
    "ca153_u_ml": ("ca153", "ca15-3", "ca 15-3", "ca15-3 (ku/l)", "ca153_ku_l"),  # 1 kU/l = 1 U/ml
    "bmi_kg_m2": ("bmi", "body mass index", "体重指数"),
    "esma_cm2": ("esma",), "esmi_cm2_m2": ("esmi",), "sfa_cm2": ("sfa",), "sfi_cm2_m2": ("sfi",),
    "vfa_cm2": ("vfa",), "vfi_cm2_m2": ("vfi",),
    "height_m": ("身高(m)", "身高(米)"),
    "height_cm": ("身高(cm)", "身高(厘米)"),
    WEIGHT: ("weight (kg)", "体重(kg)", "体重(公斤)"),
    schema.LABEL: ("bone metastases", "bonemetastasis", "骨转移"),
    schema.TIME: ("dmfs (month)", "dmfs time (months)"),
    schema.EVENT: ("dmfs status", "distant metastasis"),
    SLICE_Z: ("z_mm",),
}  # fmt: skip

#: Names that leave the unit or the coding open: refused, with the columns they could be.
OPEN_NAMES: dict[str, tuple[str, ...]] = {
    "height": ("height_m", "height_cm"),
    "身高": ("height_m", "height_cm"),
    "weight": (WEIGHT,),
    "体重": (WEIGHT,),
    "tumour size": ("tumour_size_cm", "tumour_size_mm"),
    "tumor size": ("tumour_size_cm", "tumour_size_mm"),
    "肿瘤大小": ("tumour_size_cm", "tumour_size_mm"),
    "ki-67": ("ki67_high", "ki67_percent"),
    "dmfs": ("dmfs_months", "dmfs_event"),
    "dmfs time": ("dmfs_days", "dmfs_months", "dmfs_years"),
    "转移": (schema.LABEL, schema.EVENT),
    "slice": (SLICE_Z, SLICE_INDEX),
}

#: Cells that mean "unknown" in every column, compared in lower case.
MISSING: frozenset[str] = UNKNOWN_WORDS | {""}

#: Spellings of 0 and 1, compared in lower case; each use is told.
BINARY: dict[str, float] = {
    "yes": 1.0, "no": 0.0, "y": 1.0, "n": 0.0, "true": 1.0, "false": 0.0, "t": 1.0, "f": 0.0,
    "pos": 1.0, "neg": 0.0, "positive": 1.0, "negative": 0.0, "+": 1.0, "(+)": 1.0, "(-)": 0.0,
    "阳性": 1.0, "阴性": 0.0, "是": 1.0, "否": 0.0, "有": 1.0, "无": 0.0,
}  # fmt: skip

#: Column -> level -> its other spellings; case, blanks and punctuation do not count; each use is told.
LEVELS: dict[str, dict[str, tuple[str, ...]]] = {
    "menopause": {
        "pre": ("premenopausal", "premenopause", "绝经前", "未绝经"),
        "post": ("postmenopausal", "postmenopause", "绝经后", "已绝经"),
    },
    "n_stage": {
        "N0": ("pN0",),
        "N1+": tuple(f"{p}N{n}{s}" for p in ("", "p") for n in "123" for s in ("", "a", "b", "c")),
    },
    "subtype": {
        "luminal_A": ("luminal A", "LumA"),
        "luminal_B": ("luminal B", "LumB", "luminal B HER2-negative", "luminal B HER2-positive"),
        "HER2-enriched": ("HER2 enriched", "HER2E", "HER2 overexpression", "HER2 overexpressing", "HER2过表达"),
        "triple_negative": ("triple negative", "TNBC", "三阴性"),
    },
    "histology": {
        "ductal": ("IDC", "invasive ductal", "invasive ductal carcinoma", "invasive carcinoma of no special type",
                   "浸润性导管癌"),
        "other": ("lobular", "ILC", "invasive lobular", "invasive lobular carcinoma", "mucinous", "浸润性小叶癌"),
    },
}  # fmt: skip


#: Full-width ASCII, the ideographic blank and the minus sign as ordinary signs. Not NFKC: that makes 102 of 10².
_NARROW = {0xFF01 + i: 0x21 + i for i in range(94)} | {0x3000: " ", 0x2212: "-"}


def fold(text: str) -> str:
    """Text with full-width signs as ordinary ones, blanks around it gone."""
    return text.translate(_NARROW).strip()


def make_key(text: str) -> str:
    """What counts in a name: letters, digits and comparison signs, in lower case ("Ki-67 < 20" is not ">= 20")."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("≥", ">=").replace("≤", "<=")
    return "".join(sign for sign in folded if sign.isalnum() or sign in "<>=%+")


def _make_names() -> dict[str, str]:
    names = {make_key(schema.PATIENT_ID): schema.PATIENT_ID}
    for name, field in FIELDS.items():
        names |= {make_key(name): name, make_key(field.column.label): name}
    for name, aliases in ALIASES.items():
        names |= {make_key(alias): name for alias in aliases}
    return names


#: Key of every accepted name -> column.
NAMES: dict[str, str] = _make_names()
#: Key of every open name -> the columns it could be.
OPEN_KEYS: dict[str, tuple[str, ...]] = {make_key(name): columns for name, columns in OPEN_NAMES.items()}
#: Column -> key of every accepted spelling -> level.
LEVEL_KEYS: dict[str, dict[str, str]] = {
    column: {make_key(word): level for level, words in levels.items() for word in (level, *words)}
    for column, levels in LEVELS.items()
}
