"""The datacard: what a cohort is, in counts and quartiles, and what it is not. Pure; no id is in it.

Small groups of a real cohort are masked, so that a card can be handed on: a category with 1 to 4 patients is shown as
"<5", and where that alone would give it away by subtraction the next smallest is not shown either; a column's ends are
its 5th and 95th percentile, and a column with fewer than 20 known values has no percentiles. Five is the threshold that
statistical offices use for tables of health data. Technical counts (scanner spacing, flags) tell of images, not of
people, and stay; flags of the clinical table (csv-) tell of people and are masked too. A synthetic cohort has nobody to
protect: everything is shown, the ends are minimum and maximum.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bonemet_jax import schema
from data_pipelines.clinical.columns import COLUMNS
from data_pipelines.findings import Finding

MIN_GROUP = 5
MIN_KNOWN = 20
_UNKNOWN, _NOT_MEASURED = "not recorded", "not measured"


@dataclass(frozen=True)
class CardSource:
    """What a card is made from."""

    kind: str
    """synthetic or real."""
    table: pd.DataFrame
    """Columns of the schema, one row a patient."""
    slices: Sequence[Mapping[str, Any]]
    """Facts of every slice that could be read."""
    findings: Sequence[Finding]
    provenance: Mapping[str, str]
    """Versions, sha256 of the manifest, Hounsfield convention."""
    agreement: Mapping[str, Any] | None = None
    """What readers' measurements say of each other, as ingest wrote it."""
    n_inputs: int | None = None
    """How many were given, where images were read."""
    n_with_row: int | None = None
    """Of those read, how many have a usable row of the clinical table; None without one."""


def make_card(source: CardSource) -> dict[str, Any]:
    """The card as plain values; a masked count is the text "<5"."""
    masked = source.kind != "synthetic"
    columns = [column for column in COLUMNS.values() if column.name in source.table.columns]
    return {
        "kind": source.kind, "n_inputs": source.n_inputs, "n_patients": len(source.table),
        "n_slices": len(source.slices), "n_with_row": source.n_with_row, "masked": masked,
        "outcome": _describe_outcome(source.table, masked), "images": _describe_images(source.slices, masked),
        "findings": _count_findings(source.findings, masked),
        "continuous": [_describe_continuous(source.table, c, masked) for c in columns if c.kind == "continuous"],
        "categories": [_describe_category(source.table, c, masked) for c in columns if c.kind != "continuous"],
        "provenance": dict(source.provenance), "agreement": _describe_agreement(source.agreement),
    }  # fmt: skip


def _count_findings(findings: Sequence[Finding], masked: bool) -> list[dict[str, Any]]:
    """Patients of every code; None where it concerns a file or the whole table."""
    patients: dict[tuple[str, str], set[str]] = {}
    for finding in findings:
        patients.setdefault((finding.severity, finding.code), set()).update({finding.patient} - {""})
    told = []
    for (severity, code), own in sorted(patients.items()):
        n = mask_small({code: len(own)})[code] if masked and code.startswith("csv-") else len(own)
        told.append({"code": code, "severity": severity, "n_patients": n or None})
    return told


def _describe_outcome(table: pd.DataFrame, masked: bool) -> dict[str, int | str]:
    values = table.get(schema.LABEL)
    n_unknown = len(table) if values is None else int(values.isna().sum())
    return {**_count_levels(values, (0.0, 1.0), masked), "unknown": n_unknown}


def _describe_images(slices: Sequence[Mapping[str, Any]], masked: bool) -> dict[str, Any]:
    numbers = {
        "row spacing (mm)": "row_mm", "column spacing (mm)": "column_mm", "larger side of the field of view (mm)":
        "field_mm", "slice position z (mm)": "z_mm", "slices of the volume": "n_slices",
    }  # fmt: skip
    return {
        "counts": {
            "source": _count(slices, "kind"), "level": _count(slices, "level"),
            "pixels": dict(Counter(f"{s['height']} x {s['width']}" for s in slices if "height" in s).most_common()),
            **_count_sources(slices),
        },
        "numbers": {label: _quartiles([s[key] for s in slices if s.get(key) is not None], (0, 100))
                    for label, key in numbers.items()},
        "trunk_cm2": _summarise(np.array([s["trunk_cm2"] for s in slices], float), masked),
    }  # fmt: skip


def _count_sources(slices: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Whence each area comes: mask, reader, hu; empty where nothing says so."""
    keys = {area.removesuffix("_cm2"): area.replace("_cm2", "_source") for area in schema.AREA_CODES}
    return {f"{name.upper()} from": dict(Counter(str(s.get(key) or _NOT_MEASURED) for s in slices).most_common())
            for name, key in keys.items() if any(key in s for s in slices)}


def _count(slices: Sequence[Mapping[str, Any]], key: str) -> dict[str, int]:
    return dict(Counter(str(s.get(key) or _UNKNOWN) for s in slices).most_common())


def _describe_continuous(table: pd.DataFrame, column: schema.Column, masked: bool) -> dict[str, Any]:
    values = pd.to_numeric(table[column.name], errors="coerce").to_numpy(float)
    known = values[np.isfinite(values)]
    return {
        "name": column.name, "label": column.label, "n_missing": int(len(values) - len(known)),
        "quartiles": _summarise(known, masked),
    }  # fmt: skip


def _summarise(known: np.ndarray, masked: bool) -> list[float] | None:
    """Quartiles of values that belong to people."""
    enough = not masked or len(known) >= MIN_KNOWN
    return _quartiles(known, (5, 95) if masked else (0, 100)) if enough else None


def _quartiles(values: Any, ends: tuple[int, int]) -> list[float] | None:
    """Low end, first quartile, median, third quartile, high end."""
    points = [ends[0], 25, 50, 75, ends[1]]
    return [float(v) for v in np.percentile(np.asarray(values, float), points)] if len(values) else None


def _describe_category(table: pd.DataFrame, column: schema.Column, masked: bool) -> dict[str, Any]:
    levels = column.levels or (0.0, 1.0)
    return {
        "name": column.name, "label": column.label, "n_missing": int(table[column.name].isna().sum()),
        "counts": _count_levels(table[column.name], levels, masked),
    }


def _count_levels(values: pd.Series | None, levels: Sequence[Any], masked: bool) -> dict[str, int | str]:
    counts = {str(level) if isinstance(level, str) else f"{level:g}":
              0 if values is None else int((values == level).sum()) for level in levels}  # fmt: skip
    return mask_small(counts) if masked else dict(counts)


def mask_small(counts: Mapping[str, int]) -> dict[str, int | str]:
    """Counts of 1 to 4 as "<5"; where only one is, the next smallest is "not shown", or subtraction would tell it."""
    shown: dict[str, int | str] = {
        level: f"<{MIN_GROUP}" if 0 < n < MIN_GROUP else n for level, n in counts.items()
    }
    small = [level for level, n in shown.items() if isinstance(n, str)]
    others = [level for level in counts if level not in small and counts[level] > 0]
    if len(small) == 1 and others:
        shown[min(others, key=lambda level: counts[level])] = "not shown"
    return shown


def _describe_agreement(told: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Per area: ICC and Bland-Altman as ingest wrote them, Dice over the patients; readers and patients unnamed."""
    return [
        {"name": area, "label": COLUMNS[area].label, "n": facts["n"], "icc_2_1": facts["icc_2_1"],
         "bland_altman": facts["bland_altman"],
         "dice": _quartiles([own[area] for own in told["dice"].values() if own.get(area) is not None], (0, 100))}
        for area, facts in told["columns"].items()
    ] if told else []  # fmt: skip


# --- Markdown -------------------------------------------------------------------------------------


def format_card(card: Mapping[str, Any]) -> str:
    """The card as Markdown."""
    is_synthetic = card["kind"] == "synthetic"
    parts = [
        "# Datacard",
        f"{_tell_size(card)}; one axial CT slice a patient. "
        + ("**Synthetic**: drawn by a phantom, nobody's data." if is_synthetic else "**Real** patients' data."),
        _rows(("bone metastasis", "patients"), card["outcome"].items(), {"0": "no", "1": "yes"}),
        "## Images", *_format_images(card["images"]),
        "## Flags", _format_findings(card["findings"]),
        "## Columns", *_format_columns(card),
    ]
    if card["agreement"]:
        parts += ["## Readers' agreement", *_format_agreement(card["agreement"])]
    parts += ["## Provenance", _rows(("what", "value"), card["provenance"].items()),
              "## What it is not", _what_it_is_not(is_synthetic)]
    return "\n\n".join(parts) + "\n"


def _tell_size(card: Mapping[str, Any]) -> str:
    if card["n_inputs"] is None:
        return f"{card['n_patients']} patients, {card['n_slices']} readable slices"
    with_row = "" if card["n_with_row"] is None else f", {card['n_with_row']} of them with a usable row in the table"
    return f"{card['n_inputs']} inputs, {card['n_slices']} readable{with_row}"


def _format_images(images: Mapping[str, Any]) -> list[str]:
    counts = [(f"{name}: {value}", n) for name, found in images["counts"].items() for value, n in found.items()]
    numbers = [(label, *_figures(values)) for label, values in images["numbers"].items() if values is not None]
    return [_table(("", "slices"), counts), _table(("", "minimum", "quartile 1", "median", "quartile 3", "maximum"),
                                                   numbers)]


def _format_findings(findings: Sequence[Mapping[str, Any]]) -> str:
    if not findings:
        return "None."
    rows = [(f"`{f['code']}`", f["severity"], _figure(f["n_patients"])) for f in findings]
    return _table(("code (docs/verdicts.md); -: of a file or of the whole table", "severity", "patients"), rows)


def _format_columns(card: Mapping[str, Any]) -> list[str]:
    ends = ("5 %", "95 %") if card["masked"] else ("minimum", "maximum")
    note = (f"Real data: counts of 1 to {MIN_GROUP - 1} patients are shown as <{MIN_GROUP}, the ends are percentiles, "
            f"and columns with fewer than {MIN_KNOWN} known values have none.") if card["masked"] else (
            "Synthetic data: nothing is masked.")  # fmt: skip
    known = {kind: [c for c in card[kind] if c["n_missing"] < card["n_patients"]]
             for kind in ("continuous", "categories")}
    empty = [c["label"] for kind, shown in known.items() for c in card[kind] if c not in shown]
    numbers = [(c["label"], c["n_missing"], *_figures(c["quartiles"])) for c in known["continuous"]]
    numbers += [("Trunk (cm2)", card["n_patients"] - card["n_slices"], *_figures(card["images"]["trunk_cm2"]))]
    counts = [(c["label"], c["n_missing"], _levels(c["counts"])) for c in known["categories"]]
    return [
        note,
        _table(("column", "missing", ends[0], "quartile 1", "median", "quartile 3", ends[1]), numbers),
        *([_table(("column", "missing", "patients"), counts)] if counts else []),
        *([f"Empty columns: {', '.join(empty)}."] if empty else []),
    ]  # fmt: skip


def _levels(counts: Mapping[str, int | str]) -> str:
    names = {"0": "no", "1": "yes"}
    return ", ".join(f"{names.get(level, level.replace('_', ' '))} {n}" for level, n in counts.items())


def _format_agreement(agreement: Sequence[Mapping[str, Any]]) -> list[str]:
    """Two readers, one area a row; what could not be computed is a dash."""
    rows = []
    for facts in agreement:
        icc, bland = facts["icc_2_1"] or {}, facts["bland_altman"] or {}
        dice = facts["dice"] or (None,) * 5
        rows.append((facts["label"], facts["n"], _figure(icc.get("value")), _span(icc.get("ci95")),
                     _figure(bland.get("bias")), _span((bland.get("lower"), bland.get("upper"))),
                     _figure(dice[2]), _figure(dice[0])))
    return [_table(("area", "n", "ICC(2,1)", "95 % interval", "bias", "limits of agreement", "Dice, median",
                    "Dice, lowest"), rows)]


def _span(ends: Sequence[float | None] | None) -> str:
    return "-" if not ends or None in ends else " to ".join(map(_figure, ends))


def _what_it_is_not(is_synthetic: bool) -> str:
    lines = ["not for clinical use: a research tool made it, no medical device",
             "not a sample of any population unless its owner says how patients were chosen",
             "no readers' ground truth where areas come from Hounsfield units or a network's masks"]
    if is_synthetic:
        lines = ["not patients: no figure here says anything about people or about the disease", *lines[:1]]
    return "\n".join(f"- {line}" for line in lines)


def _figures(values: Sequence[float] | None) -> tuple[str, ...]:
    return ("-",) * 5 if values is None else tuple(_figure(value) for value in values)


def _figure(value: Any) -> str:
    if not isinstance(value, float):
        return "-" if value is None else str(value)
    return f"{value:.0f}" if abs(value) >= 1000 or value == round(value) else f"{value:.3g}"


def _rows(header: tuple[str, str], pairs: Any, names: Mapping[str, str] | None = None) -> str:
    return _table(header, [((names or {}).get(key, key), value) for key, value in pairs])


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table: words to the left, figures to the right."""
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    rule = ["--:" if all(_is_figure(row[i]) for row in cells) else "---" for i in range(len(header))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *cells))


def _is_figure(cell: str) -> bool:
    return cell in ("-", "not shown", f"<{MIN_GROUP}") or cell.removeprefix("-").replace(".", "", 1).isdigit()
