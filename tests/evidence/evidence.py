"""From embeddings to evidence: statistics against R, planted truth, leakage, Grad-CAM, speed, the report."""

import json
from collections.abc import Callable
from typing import Any

from tests.evidence.harness import Show, demo, figures, lint, run_benchmark, run_pytest, said, tests


def install(show: Show) -> str:
    """The locked requirements."""
    return f"installed in {show.ok('make install').seconds:.0f} s"


def golden(show: Show) -> str:
    """R's results through `bonemet stats`; every kind of bad table refused."""
    return run_pytest(show, "tests/cli/test_statistics.py") + said(show, "golden |stats [a-z1-]+: ")


def audit(show: Show) -> str:
    """Every contradiction of the paper's tables; none in a repaired cohort's own."""
    told = show.command(".venv/bin/bonemet audit --example").out.strip().splitlines()
    closing = next(row for row in reversed(told) if not row.startswith("#"))
    return f"{closing}; " + run_pytest(show, "tests/audit --timeout 1200")


def planted(show: Show) -> str:
    """Coverage over 200 cohorts; GBDT on the planted factors at n 5,000."""
    return run_pytest(show, "tests/studies/test_studies.py -k 'not null'") + said(show, "coverage of|n 5000")


def pipeline(show: Show) -> str:
    """The whole system at n 5,000: test AUC beside the Bayes-optimal one, within .05."""
    done = show.ok(".venv/bin/bonemet run configs/smoke.py -o runs/large --phantom.n 5000 --train.epochs 10")
    rows = _load(show, "runs/large/stats/planted.json")["rows"]
    told = "; ".join(f"{r['feature_set']} {r['classifier']} {r['auc']:.3f} of {r['bayes_auc']:.3f}" for r in rows)
    assert rows[-1]["feature_set"] == "both" and rows[-1]["gap"] >= -0.05, told
    return f"{told}; {done.seconds:.0f} s"


def null(show: Show) -> str:
    """Twenty null cohorts at the smoke size, at most 45 minutes."""
    done = show.ok("make study-null", timeout=4000)
    rows = _load(show, "runs/studies/null/null.json")["rows"]
    told = "; ".join(f"{r['feature_set']}: honest {r['honest_test_auc']['mean']:.3f}, optimism as published "
                     f"{r['paper_optimism']['mean']:.3f} {r['paper_optimism']['ci95']}" for r in rows)
    assert all(0.45 <= r["honest_test_auc"]["mean"] <= 0.55 for r in rows), told
    assert done.seconds <= 45 * 60, f"{done.seconds:.0f} s"
    return f"{told}; {done.seconds:.0f} s"


def texture(show: Show) -> str:
    """Cohorts with the planted texture and without: the difference in imaging AUC, by input."""
    done = show.ok("make study-texture", timeout=9000)
    rows = _load(show, "runs/studies/texture/texture.json")["rows"]
    told = "; ".join(f"{r['input']} {r['score']}: {r['with']['mean']:.3f} less {r['without']['mean']:.3f}, "
                     f"{r['difference']['mean']:.3f} {r['difference']['ci95']}" for r in rows)
    assert rows[0]["input"] == "all" and rows[0]["difference"]["ci95"][0] > 0, told
    return f"{told}; {done.seconds:.0f} s"


def ablation(show: Show) -> str:
    """CT, +LBP, +HOG, +mask, +mask bias on one folds.json: AUC of each, paired differences."""
    done = show.ok("make ablation", timeout=5000)
    told = "; ".join(f"{r['feature_set']} {r['classifier']}: {r['a']} against {r['b']}, {r['auc_a']:.3f} "
                     f"{r['auc_b']:.3f} p {r['p']}" for r in _load(show, "runs/ablation/joined/joined.json")["paired"])
    return f"{told}; {done.seconds:.0f} s"


def leakage(show: Show) -> str:
    """Other labels and pixels of the test patients: the same bytes of everything their fold learned."""
    return run_pytest(show, "tests/end_to_end/test_test_fold.py tests/fusion/test_honest.py --timeout 1200") + said(
        show, r"fold \d: \d+ artefacts")


def reliability(show: Show) -> str:
    """embed and fuse killed; embeddings, models, scores and folds damaged."""
    return run_pytest(show, "tests/end_to_end/test_damage.py --timeout 3000") + said(
        show, r"(?:embed|fuse): \d+/\d+ killed|\d+/\d+ damages")


def resampling(show: Show) -> str:
    """10,000 bootstraps of 36 rows beside a scikit-learn loop; coverage of the intervals."""
    shown = figures(run_benchmark(show, "stats"))
    return shown + "; " + run_pytest(show, "tests/stats/test_bca.py --timeout 1200") + said(show, "coverage")


def boosting(show: Show) -> str:
    """XGBoost by rows, threads and device."""
    return figures(run_benchmark(show, "gbdt"))


def gradcam(show: Show) -> str:
    """Where networks look, beside the planted truth."""
    return run_pytest(show, "tests/readout/test_gradcam_truth.py tests/readout/test_gradcam.py --timeout 3000")


def report(show: Show) -> str:
    """Everything after the fusion of the demo's run, at most 60 s: Grad-CAM, statistics, page."""
    show.ok("make demo")
    told = {name: _load(show, f"runs/smoke/stages/{name}.json")["seconds"] for name in ("gradcam", "stats", "report")}
    assert sum(told.values()) <= 60, told
    return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in told.items())


def _load(show: Show, path: str) -> Any:
    """A JSON file of the clone."""
    return json.loads((show.clone / path).read_text())


SHOWS: dict[str, Callable[[Show], str]] = {
    work.__name__: work
    for work in (install, golden, audit, planted, pipeline, null, texture, ablation, leakage, reliability, resampling,
                 boosting, gradcam, demo, report, tests, lint)
}
