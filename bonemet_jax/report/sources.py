"""What a run left behind, read for the page; a part that is not there carries the reason in words. Shell."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bonemet_jax import artifacts
from bonemet_jax.report.own_audit import audit_stats
from bonemet_jax.versions import find_versions

STATS = (
    "table1", "table2", "roc", "repeats", "leakage", "calibration", "decision_curve", "km", "planted", "correlation",
)


@dataclass(frozen=True)
class RunFacts:
    """Everything the page may say, as plain values."""

    config: dict[str, Any] | None
    """{"fingerprint", "config"}"""
    cohort: dict[str, Any] | None
    """`facts` of the cohort's manifest."""
    near_duplicates: dict[str, Any] | None
    """Counts of near_duplicates.json: n patients, n_pairs, n_exact."""
    stats: dict[str, Any]
    """Those of STATS that exist, and `own_audit`: what an audit says of them."""
    gradcam: dict[str, Any] | None
    """gradcam.json"""
    shap: dict[str, Any] | None
    """shap.json"""
    cams: dict[str, Any] | None
    """Arrays of gradcam.npz."""
    metrics: dict[int, list[dict[str, Any]]]
    """Epochs by fold."""
    timing: dict[int, dict[str, Any]]
    models: dict[int, dict[str, Any]]
    """Screening and thresholds by fold, as fusion wrote them."""
    stage_seconds: dict[str, float]
    versions: dict[str, str]
    overlays: list[Path]
    example: dict[str, Any] | None
    """Arrays of the canonical slice of the first overlay."""
    missing: dict[str, str]
    """Part -> why it is not there."""


def load_run_facts(run_dir: Path, cohort_dir: Path, n_overlays: int = 6) -> RunFacts:
    """Read a run directory and its cohort. Raises: CorruptFileError for a file that exists and cannot be read."""
    missing: dict[str, str] = {}

    def load(name: str, path: Path, stage: str) -> Any:
        if path.is_file():
            return artifacts.load_json(path)
        missing[name] = f"not available: {path.name} is missing, the stage “{stage}” has not written it"
        return None

    manifest = load("cohort", cohort_dir / artifacts.MANIFEST, "cohort")
    of_cohort = sorted(Path(name) for name in (manifest["files"] if manifest else ()))
    overlays = [cohort_dir / name for name in of_cohort if name.match("overlays/*.png")][:n_overlays]
    found = {name: load(name, run_dir / "stats" / f"{name}.json", "stats") for name in STATS}
    stats = {name: value for name, value in found.items() if value is not None}
    own_audit, why_not = audit_stats(stats)
    if own_audit is None:
        missing["own_audit"] = why_not
    else:
        stats["own_audit"] = own_audit
    config = load("config", run_dir / "config.json", "run")
    folds = [] if config is None else [(k, run_dir / f"fold_{k}") for k in range(config["config"]["folds"]["n_folds"])]
    facts = RunFacts(
        config=config,
        cohort=manifest["facts"] if manifest else None,
        near_duplicates=_count_pairs(load("near_duplicates", run_dir / "near_duplicates.json", "near_duplicates")),
        stats=stats,
        gradcam=load("gradcam", run_dir / "gradcam.json", "gradcam"),
        shap=load("shap", run_dir / "shap.json", "fuse"),
        cams=artifacts.load_npz(run_dir / "gradcam.npz") if (run_dir / "gradcam.npz").is_file() else None,
        metrics={fold: epochs for fold, path in folds if (epochs := _load_lines(path / "metrics.jsonl"))},
        timing={f: artifacts.load_json(p / "timing.json") for f, p in folds if (p / "timing.json").is_file()},
        models=_load_models(run_dir / "models", len(folds)),
        stage_seconds=_load_stage_seconds(run_dir / "stages"),
        versions=find_versions(),
        overlays=overlays,
        example=_load_example(cohort_dir, overlays),
        missing=missing,
    )
    for name, found, stage in (("training", facts.metrics, "cv"), ("overlays", facts.overlays, "cohort"),
                               ("models", facts.models, "fuse"), ("example", facts.example, "cohort"),
                               ("cams", facts.cams, "gradcam")):
        if not found:
            missing[name] = f"not available: the stage “{stage}” has written none"
    return facts


def _count_pairs(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """Pairs as numbers: report.json is handed on."""
    if found is None:
        return None
    exact = sum(pair["is_exact"] for pair in found["pairs"])
    return {"n": found["n"], "n_pairs": len(found["pairs"]), "n_exact": exact}


def _load_example(cohort_dir: Path, overlays: list[Path]) -> dict[str, Any] | None:
    paths = (cohort_dir / "slices" / f"{overlay.stem}.npz" for overlay in overlays)
    path = next((path for path in paths if path.is_file()), None)
    return artifacts.load_npz(path) if path else None


def _load_lines(path: Path) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl, no number as None."""
    lines = artifacts.load_json_lines(path, dict[str, float | None]) if path.is_file() else []
    return [{name: x if x is None or math.isfinite(x) else None for name, x in line.items()} for line in lines]


def _load_models(models: Path, n_folds: int) -> dict[int, dict[str, Any]]:
    paths = {fold: models / f"fold_{fold}.json" for fold in range(n_folds)}
    return {fold: artifacts.load_json(path) for fold, path in paths.items() if path.is_file()}


def _load_stage_seconds(stages: Path) -> dict[str, float]:
    """Seconds by stage, in the order in which the stages ended."""
    stamps = sorted(stages.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    values = {path.stem: artifacts.load_json(path) for path in stamps}
    return {name: value["seconds"] for name, value in values.items() if "seconds" in value}
