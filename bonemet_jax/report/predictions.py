"""Predictions of new patients as rows of index.csv and as one page, index.html."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader

from bonemet_jax import artifacts, schema
from bonemet_jax.report.blocks import Picture, make_thumbnail
from bonemet_jax.report.formats import format_number, format_share
from bonemet_jax.report.gradcam_figure import CAUTION

Json = Mapping[str, Any]
#: Pictures on the page up to so many patients; beyond, links alone.
_MAX_PICTURED = 300
_THUMBNAIL_PX = {"overlay": 420, "gradcam": 760}
_AREAS = (
    ("SFA", "sfa_cm2"), ("VFA", "vfa_cm2"), ("ESMA", "esma_cm2"), ("Trunk fat", "trunk_fat_cm2"),
)  # fmt: skip
_DATA = {"imaging": "imaging", "both": "imaging and clinical data"}
_SOURCES = {"hu": "HU", "mask": "mask", "reader": "reader"}
_SCORES = {
    "score_network": "Network score", "score_imaging": "Gradient boosting score, imaging",
    "score_both": "Gradient boosting score, imaging and clinical data",
}  # fmt: skip


def make_rows(results: Json) -> list[dict[str, Any]]:
    """Rows of index.csv: one per patient, in the order of the ids, then one per input that was not read.

    Args:
        results: predictions.json (docs/contracts.md).
    """
    rows = [_make_row(patient, facts) for patient, facts in results["patients"].items()]
    rows += [{schema.PATIENT_ID: _name(one), "status": "not read", "reason": f"{_describe(one)}; {one['mend']}"}
             for one in results["failed"]]
    return [row | {"notice": results["warning"]} for row in rows]


def _name(one: Json) -> str:
    """The patient_id of an input that was not read, or its number where an earlier version wrote no id."""
    return one.get(schema.PATIENT_ID) or f"input {one['input']} of {one['of']}"


def _describe(one: Json) -> str:
    return one["what"] + (f" ({one['fact']})" if one["fact"] else "")


def _make_row(patient: str, facts: Json) -> dict[str, Any]:
    risk, (low, high) = facts["risk"], facts["risk"]["ci95"] or (None, None)
    scores = {name: _print(value) for name, value in facts.items() if name.startswith("score_")}
    return {
        schema.PATIENT_ID: patient, "status": "predicted", "reason": None,
        "class": facts["class"], "class_label": facts["class_label"],
        "score": _print(facts["score"]), "threshold": _print(facts["threshold"]), "model": facts["model"],
        "risk": _print(risk["value"]), "observed_share_similar_held_out": _print(risk["observed"]),
        "observed_share_ci95_low": _print(low), "observed_share_ci95_high": _print(high),
        "observed_share_reason": risk["reason"], "training_n": facts["training"]["n_patients"],
        "training_events": facts["training"]["n_events"], **scores, **facts["areas"],
        "level": facts["level"], "z_mm": facts["z_mm"], **facts["files"], "warnings": facts["warnings"],
    }  # fmt: skip


def _print(value: float | None) -> str | None:
    """All decimals of predictions.json: fewer could show a score on the other side of its threshold."""
    return None if value is None else f"{value:.6f}"


def render_predictions(results: Json, directory: Path) -> Path:
    """Write index.html next to the files that `results` names; returns its path.

    The page loads nothing: pictures are reduced copies inside it, linked to the files. Text is escaped.

    Args:
        results: predictions.json (docs/contracts.md).
        directory: the output, in which the patients' files are.
    """
    environment = Environment(loader=PackageLoader("bonemet_jax.report", "."), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True)
    page = environment.get_template("predictions.html.j2").render(
        name=results["run"], fingerprint=results["fingerprint"], warning=results["warning"],
        synthetic="SYNTHETIC" in results["warning"], rules=list(results["models"].values()),
        patients=[_present(patient, facts, results, directory) for patient, facts in results["patients"].items()],
        failed=[{"name": _name(one), "what": _describe(one), "mend": one["mend"]} for one in results["failed"]],
        models=list(dict.fromkeys(facts["model"] for facts in results["patients"].values())), caution=CAUTION,
    )
    path = directory / "index.html"
    artifacts.write_text(path, page)
    return path


def _present(patient: str, facts: Json, results: Json, directory: Path) -> dict[str, Any]:
    """What the template shows of one patient."""
    risk = facts["risk"]
    is_pictured = len(results["patients"]) <= _MAX_PICTURED
    alt = {"overlay": "CT slice with the outlines of the tissues", "gradcam": "Grad-CAM over the CT slice"}
    pictures: dict[str, Picture | None] = {
        name: make_thumbnail(directory / facts["files"][name], words, _THUMBNAIL_PX[name]) if is_pictured else None
        for name, words in alt.items()
    }
    return {
        "id": patient, "is_positive": facts["class"] == 1, "label": facts["class_label"],
        "score": format_number(facts["score"]), "threshold": format_number(facts["threshold"]),
        "share_pct": round(100 * facts["score"], 2), "threshold_pct": round(100 * facts["threshold"], 2),
        "votes": f"{facts['n_folds_positive']} of {len(facts['fold_scores'])}",
        "risk": format_number(risk["value"]), "share": format_share(risk),
        "scores": [(words, format_number(facts[name])) for name, words in _SCORES.items() if name in facts],
        "areas": [(short, format_number(facts["areas"].get(key), 1),
                   _SOURCES.get(facts["sources"].get(key.replace("_cm2", "_source"))))
                  for short, key in _AREAS],
        "data": _DATA["both" if facts.get("score_both") is not None else "imaging"],
        "slice": Path(facts["files"]["gradcam"]).stem, "level": facts["level"],
        "z_mm": format_number(facts["z_mm"], 1), "warnings": facts["warnings"],
        "pictures": [(name, quote(facts["files"][name]), picture) for name, picture in pictures.items()],
    }  # fmt: skip
