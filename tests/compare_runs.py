"""`python -m tests.compare_runs RUN OTHER`: how far two runs of one config agree, from what they share to their AUCs.

Prints the versions that differ, whether data, records and folds are equal, how far the losses of each epoch are apart,
and the AUCs of both.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bonemet_jax import artifacts


def main(run: Path, other: Path) -> int:
    """Print the comparison."""
    reports = [artifacts.load_json(folder / "report.json", dict[str, Any]) for folder in (run, other)]
    versions = [report["versions"] for report in reports]
    names = versions[0].keys() | versions[1].keys()
    unlike = sorted(name for name in names if versions[0].get(name) != versions[1].get(name))
    print("differ: " + ", ".join(f"{name} {versions[0].get(name)} and {versions[1].get(name)}" for name in unlike))
    for what, patterns in {"cohort": "cohort/**/*", "records": "tfds/**/*record*", "folds": "folds.json"}.items():
        n, equal = _count_equal(run, other, patterns)
        print(f"{what}: {equal} of {n} files equal")
    for fold in sorted(run.glob("fold_*")):
        ours, theirs = (np.array([line["train_loss"] for line in _read_lines(folder / fold.name / "metrics.jsonl")])
                        for folder in (run, other))  # fmt: skip
        n = min(len(ours), len(theirs))
        apart = np.abs(ours[:n] - theirs[:n]) / np.abs(ours[:n])
        print(f"{fold.name}: training losses differ by {', '.join(f'{value:.1g}' for value in apart)} of their value")
    ours, theirs = (_find_aucs(report["stats"]) for report in reports)
    for name in ours:
        print(f"test AUC of {name}: {_tell(ours[name])} and {_tell(theirs[name])}")
    return 0


def _count_equal(run: Path, other: Path, pattern: str) -> tuple[int, int]:
    files = [file.relative_to(run) for file in run.glob(pattern) if file.is_file() and "lock" not in file.name]
    same = [file for file in files if (other / file).is_file()
            and artifacts.sha256_file(run / file) == artifacts.sha256_file(other / file)]  # fmt: skip
    return len(files), len(same)


def _read_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _find_aucs(stats: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{row['classifier']} {row['feature_set']}": row for row in stats["roc"]["rows"] if row["split"] == "test"}


def _tell(row: dict[str, Any]) -> str:
    low, high = row["auc_ci95_delong"]
    return f"{row['auc']:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), Path(sys.argv[2])))
