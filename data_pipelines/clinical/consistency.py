"""Do the columns of one clinical row agree? One table of rules; pure, one row at a time.

An error is a contradiction in terms or in arithmetic; a warning is possible but rare, or a matter of definition.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bonemet_jax import schema
from data_pipelines.clinical.columns import WEIGHT

Row = Mapping[str, float | str | None]

#: Share of an index that area / height_m ** 2 may differ by: height in whole cm (0.6 %) and values with one decimal.
INDEX_TOLERANCE = 0.02
#: Half of the last printed decimal of an index, cm2/m2, beside the share.
INDEX_ROUNDING_CM2_M2 = 0.06
#: kg/m2 share that BMI may differ from weight / height_m ** 2 by; weight and BMI may be of different days.
BMI_TOLERANCE = 0.03
#: Heights that area / index may imply, m.
ADULT_HEIGHT_M = (1.2, 2.2)
#: Follow-up beyond this is more often days or weeks in a months column.
LONGEST_USUAL_MONTHS = 240.0
USUAL_AGE_YEARS = (20.0, 90.0)
#: Age above which "pre" and below which "post" is rare.
LATE_PREMENOPAUSE_YEARS, EARLY_POSTMENOPAUSE_YEARS = 60.0, 40.0


@dataclass(frozen=True)
class Rule:
    """A rule over columns that must all be known; `fault` gives words where it is broken, "" where it holds."""

    code: str
    columns: tuple[str, ...]
    fault: Callable[..., str]


def check_row(row: Row) -> list[tuple[str, str, str]]:
    """(code, column, detail) of every rule the row breaks; a rule whose columns are not all known is not asked.

    Args:
        row: values in the schema's units by column, weight_kg among them; unknown is NaN, None or absent.
    """
    broken = []
    for rule in RULES:
        if rule.code == "csv-index-height" and _is_known(row.get(schema.HEIGHT)):
            continue  # csv-index asks with the height itself
        values = [row.get(name) for name in rule.columns]
        if all(map(_is_known, values)) and (detail := rule.fault(*values)):
            broken.append((rule.code, rule.columns[0], detail))
    return broken + _check_time(row)


def _is_known(value: float | str | None) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _check_time(row: Row) -> list[tuple[str, str, str]]:
    """The two rules about a value that is not there."""
    has_time, has_event = _is_known(row.get(schema.TIME)), _is_known(row.get(schema.EVENT))
    if has_event and not has_time:
        return [("csv-event-time", schema.TIME, f"unknown although {schema.EVENT} is given")]
    if has_time and not has_event:
        return [("csv-time-no-event", schema.EVENT, f"unknown although {schema.TIME} is given: no survival data")]
    return []


def _index(index: float, area: float, height_m: float) -> str:
    wanted = area / height_m**2
    if abs(index - wanted) <= INDEX_TOLERANCE * wanted + INDEX_ROUNDING_CM2_M2:
        return ""
    return f"{index:.1f} is not area / height^2 = {area:.1f} / {height_m:.2f}^2 = {wanted:.1f}"


def _implied_height(index: float, area: float) -> str:
    if index == 0 or area == 0:
        return "" if index == area else f"index {index:.1f} beside area {area:.1f}"
    height_m, (low, high) = math.sqrt(area / index), ADULT_HEIGHT_M
    if low <= height_m <= high:
        return ""
    return f"{index:.1f} beside area {area:.1f} implies a height of {height_m:.2f} m, outside {low} to {high}"


def _bmi(bmi: float, weight_kg: float, height_m: float) -> str:
    wanted = weight_kg / height_m**2
    if abs(bmi - wanted) <= BMI_TOLERANCE * wanted:
        return ""
    return f"{bmi:.1f} is not weight / height^2 = {weight_kg:.1f} / {height_m:.2f}^2 = {wanted:.1f}"


def _not_negative(receptor: str) -> Callable[[str, float], str]:
    def fault(subtype: str, positive: float) -> str:
        return f"triple_negative although {receptor} is 1" if subtype == "triple_negative" and positive else ""

    return fault


def _subtype_hormone(subtype: str, er: float, pr: float) -> str:
    if subtype.startswith("luminal") and not (er or pr):
        return f"{subtype} although er and pr are 0"
    if subtype == "HER2-enriched" and (er or pr):
        return "HER2-enriched although er or pr is 1: luminal_B by receptors"
    return ""


def _subtype_her2(subtype: str, her2: float) -> str:
    if subtype == "HER2-enriched" and not her2:
        return "HER2-enriched although her2 is 0"
    return "luminal_A although her2 is 1: luminal_B by receptors" if subtype == "luminal_A" and her2 else ""


def _subtype_ki67(subtype: str, ki67_high: float, her2: float) -> str:
    if subtype == "luminal_A" and ki67_high:
        return "luminal_A although ki67_high is 1: luminal_B by receptors"
    if subtype == "luminal_B" and not ki67_high and not her2:
        return "luminal_B although ki67_high and her2 are 0: luminal_A by receptors"
    return ""


def _menopause(menopause: str, age_years: float) -> str:
    if menopause == "pre" and age_years > LATE_PREMENOPAUSE_YEARS:
        return f"pre at {age_years:g} years"
    return f"post at {age_years:g} years" if menopause == "post" and age_years < EARLY_POSTMENOPAUSE_YEARS else ""


def _age(age_years: float) -> str:
    low, high = USUAL_AGE_YEARS
    return "" if low <= age_years <= high else f"{age_years:g} years is rare"


def _bone_event(label: float, event: float) -> str:
    return f"{schema.LABEL} is 1 although {schema.EVENT} is 0" if label and not event else ""


def _zero(value: float) -> str:
    return "0: measured, or unknown?" if value == 0 else ""


#: Rules, in the order told. The column named first is the one reported.
RULES: tuple[Rule, ...] = (
    *(Rule("csv-index", (index, area, schema.HEIGHT), _index) for index, area in schema.INDEX_OF_AREA.items()),
    *(Rule("csv-index-height", (index, area), _implied_height) for index, area in schema.INDEX_OF_AREA.items()),
    Rule("csv-bmi", ("bmi_kg_m2", WEIGHT, schema.HEIGHT), _bmi),
    Rule("csv-event-at-zero", (schema.TIME, schema.EVENT),
         lambda months, event: f"0 although {schema.EVENT} is 1" if event and not months else ""),
    Rule("csv-label-event", (schema.EVENT, schema.LABEL), lambda event, label: _bone_event(label, event)),
    Rule("csv-time-long", (schema.TIME,),
         lambda months: f"{months:g} months is over 20 years" if months > LONGEST_USUAL_MONTHS else ""),
    # PAPER: names the subtypes and not their rule; St Gallen's surrogate definition by receptors and Ki-67 is asked.
    # Subtypes by gene expression differ from it, hence warnings, except where the name itself says negative.
    *(Rule("csv-triple-negative", ("subtype", name), _not_negative(name)) for name in ("er", "pr", "her2")),
    Rule("csv-subtype", ("subtype", "er", "pr"), _subtype_hormone),
    Rule("csv-subtype", ("subtype", "her2"), _subtype_her2),
    Rule("csv-subtype", ("subtype", "ki67_high", "her2"), _subtype_ki67),
    Rule("csv-endocrine", ("endocrine", "er", "pr"),
         lambda endocrine, er, pr: "1 although er and pr are 0" if endocrine and not (er or pr) else ""),
    Rule("csv-menopause", ("menopause", "age_years"), _menopause),
    Rule("csv-age", ("age_years",), _age),
    *(Rule("csv-zero", (name,), _zero) for name in ("tumour_size_cm", *schema.AREA_CODES)),
)  # fmt: skip
