"""Spine: one command from nothing to a report."""

import json
import math
import os
import re
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path

from tests.evidence.harness import Show, lint, run_pytest, tests

RUN = "runs/smoke"
DEMO = "bonemet run configs/smoke.py"
SHARED = Path(os.environ.get("BONEMET_SHARED", Path(__file__).parents[3] / "shared"))


def install(show: Show) -> str:
    """The locked requirements install with nothing but python3.11 and make."""
    done = show.ok("make install")
    return f"installed in {done.seconds:.0f} s"


def demo(show: Show) -> str:
    """make demo: exit 0, ends with the report's path, <= 10 min, <= 6 GiB; the report is whole."""
    shutil.rmtree(show.clone / "runs", ignore_errors=True)
    done = show.ok("make demo")
    last = [row for row in done.out.splitlines() if not row.startswith("#")][-1].strip()
    assert last.endswith("report.html"), last
    assert (show.clone / last).is_file(), last
    page = _check_report(show.clone / RUN)
    assert done.seconds <= 600, f"{done.seconds:.0f} s"
    assert done.peak_gib <= 6, f"{done.peak_gib:.2f} GiB"
    return f"{done.seconds:.0f} s, peak {done.peak_gib:.2f} GiB, last line {last}; {page}"


def _check_report(run: Path) -> str:
    roc = json.loads((run / "stats" / "roc.json").read_text())
    rows = {(r["feature_set"], r["classifier"], r["split"]): r for r in roc["rows"]}
    wanted = {(f, c, s) for f in ("imaging", "clinical", "both") for c in ("gbdt", "svm", "rf")
              for s in ("train", "val", "test")}
    assert wanted <= set(rows), wanted - set(rows)
    for key in wanted:
        assert rows[key]["auc"] is not None, key
        assert rows[key]["auc_ci95_bootstrap"] is not None, key
    page = (run / "report.html").read_text()
    for word in ("synthetic", "ROC", "Kaplan", "Lasso-Cox", "loss", "not a medical device"):
        assert word.lower() in page.lower(), f"report lacks {word}"
    figures = page.count("data:image/")
    assert figures >= 6, figures
    assert not re.search(r"""(src|href)\s*=\s*["']?https?:""", page)
    return f"{len(wanted)} model rows with intervals, {figures} figures, {len(page) / 1e6:.1f} MB"


def demo_again(show: Show) -> str:
    """A second make demo: <= 30 s."""
    done = show.ok("make demo")
    assert done.seconds <= 30, f"{done.seconds:.1f} s"
    return f"{done.seconds:.1f} s"


def planted_truth(show: Show) -> str:
    """Test AUC of imaging, clinical and both beside the Bayes-optimal AUCs, seed 0, n 431."""
    planted = json.loads((show.clone / RUN / "stats" / "planted.json").read_text())
    page = (show.clone / RUN / "report.html").read_text()
    assert "Bayes-optimal" in page
    assert {row["feature_set"] for row in planted["rows"]} == {"imaging", "clinical", "both"}
    for row in planted["rows"]:
        assert f"{row['auc']:.3f}" in page, row
        assert f"{row['bayes_auc']:.3f}" in page, row
    return "; ".join(
        f"{row['feature_set']} ({row['classifier']}) {row['auc']:.3f} "
        f"[{row['ci95_delong'][0]:.3f}, {row['ci95_delong'][1]:.3f}] beside {row['bayes_auc']:.3f}"
        for row in planted["rows"]
    )


def real_slice(show: Show) -> str:
    """ingest and predict on the real slice: trunk's fat area, imaging score, overlay."""
    out = show.clone / "runs" / "real"
    shutil.rmtree(out, ignore_errors=True)
    source = SHARED / "data" / "ct_t11_dicom"
    ingest = show.ok(["bonemet", "ingest", "-i", str(source), "--slice-z", "-768.5", "-o", str(out / "cohort")])
    predict = show.ok(["bonemet", "predict", "--run", RUN, "--allow-synthetic", "-i", str(source), "--slice-z",
                       "-768.5", "-o", str(out / "prediction")])
    overlays = [*out.rglob("*.png")]
    assert overlays, "no overlay"
    assert "all fat of the trunk" in predict.out, predict.out
    told = [row for text in (ingest.out, predict.out) for row in text.splitlines() if "cm2" in row or "score" in row]
    return " | ".join(told) + f" | overlays {[f.name for f in overlays]}"


def kill_resume(show: Show) -> str:
    """kill -9 in the middle of fold 2, the same command again: parameters equal the uninterrupted run's."""
    reference, killed = show.clone / RUN, show.clone / "runs" / "killed"
    shutil.rmtree(killed, ignore_errors=True)
    # The stages before training stand already; training is what is killed.
    for part in ("cohort", "tfds"):
        shutil.copytree(reference / part, killed / part)
    for part in ("folds.json", "stages/cohort.json", "stages/build.json", "stages/folds.json"):
        (killed / part).parent.mkdir(exist_ok=True)
        shutil.copy2(reference / part, killed / part)
    epochs = json.loads((reference / "config.json").read_text())["config"]["train"]["epochs"]
    metrics = killed / "fold_1" / "metrics.jsonl"

    def halfway() -> bool:
        return metrics.is_file() and len(metrics.read_text().splitlines()) >= epochs // 2

    broken = show.command(f"{DEMO} -o runs/killed", kill_when=halfway)
    assert broken.code == -9, f"not killed: exit {broken.code}"
    reached = len(metrics.read_text().splitlines())
    resumed = show.ok(f"{DEMO} -o runs/killed")
    assert resumed.out.count("already done") == 4, resumed.out  # near_duplicates too: the killed run did it
    digests = []
    for fold in range(3):
        pair = [json.loads((run / f"fold_{fold}" / "done.json").read_text())["params_sha256"]
                for run in (reference, killed)]
        assert pair[0] == pair[1], f"fold {fold}: {pair}"
        digests.append(pair[0][:12])
    return f"killed after epoch {reached} of {epochs} in fold 2; params_sha256 equal in 3 of 3 folds {digests}"


def null_cohort(show: Show) -> str:
    """--null, 5 seeds: mean test AUC in [.44, .56], each figure printed."""
    figures: dict[str, list[float]] = {"imaging": [], "clinical": [], "both": []}
    for seed in range(5):
        run = show.clone / "runs" / f"null_{seed}"
        shutil.rmtree(run, ignore_errors=True)
        show.ok(f"{DEMO} -o {run} --phantom.null --phantom.seed {seed}")
        for row in json.loads((run / "stats" / "roc.json").read_text())["rows"]:
            if row["classifier"] == "gbdt" and row["split"] == "test":
                figures[row["feature_set"]].append(row["auc"])
        shutil.rmtree(run / "cohort")
        shutil.rmtree(run / "tfds")
    means = {name: statistics.mean(values) for name, values in figures.items()}
    told = "; ".join(f"{n} mean {means[n]:.3f} of {[round(v, 3) for v in figures[n]]}" for n in figures)
    assert all(0.44 <= mean <= 0.56 for mean in means.values()), told
    return told


def paper_dry_run(show: Show) -> str:
    """ResNet101 at 400x500x4: parameters, GFLOP per image, a finite loss; the compiled program may need fewer.

    That it counts as many within 1 % where every layer is computed as it stands is a slow test (test_dry_run).
    """
    done = show.ok("bonemet run configs/paper.py --dry-run --report runs/dry_run.json")
    facts = json.loads((show.clone / "runs" / "dry_run.json").read_text())["results"]
    assert abs(facts["train_gflop_per_image"] - 191.7) < 0.1, facts
    assert 0.5 <= facts["compiled_gflop_per_image"] / facts["train_gflop_per_image"] <= 1.01, facts
    assert math.isfinite(facts["loss"]), facts
    return f"{json.dumps(facts)} in {done.seconds:.0f} s, peak {done.peak_gib:.1f} GiB"


def bad_input(show: Show) -> str:
    """Unknown flag, missing file, empty folder, CSV without patient_id, config value: one line, exit code, nothing."""
    return run_pytest(show, "tests/end_to_end/test_bad_input.py")


def disk_full(show: Show) -> str:
    """Every write site on a full disk: exit 5, path and bytes named, earlier state intact."""
    return run_pytest(show, "tests/end_to_end/test_disk_full.py")


def banned_calls(show: Show) -> str:
    """Each banned call is refused by lint; none stands in the code."""
    return run_pytest(show, "tests/test_banned.py")


def report_is_safe(show: Show) -> str:
    """`<script>` is escaped; no external URL in the page."""
    return run_pytest(show, "tests/report -k 'escaped or loads_and_runs_nothing or nothing_from_outside'")


def import_contracts(show: Show) -> str:
    """A planted import from models to input_pipeline fails the check."""
    return run_pytest(show, "tests/test_import_contracts.py")


def light_start(show: Show) -> str:
    """--help and info import nothing heavy and answer in under 0.5 s (printed)."""
    figures = run_pytest(show, "tests/cli/test_light.py")
    seconds = [float(s) for s in re.findall(r": (\d+\.\d+) s", show.log.read_text())]
    return f"{figures}; slowest {max(seconds):.2f} s"


SHOWS: dict[str, Callable[[Show], str]] = {
    work.__name__: work
    for work in (install, demo, demo_again, planted_truth, real_slice, paper_dry_run, tests, kill_resume, bad_input,
                 disk_full, banned_calls, report_is_safe, import_contracts, light_start, lint, null_cohort)
}
