"""Run by test_waves in a process with eight virtual devices: whole trainings of three folds, mesh beside sequential."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bonemet_jax.cohort.folds import make_folds
from bonemet_jax.config import Config, EngineConfig, FoldsConfig, ModelConfig, OptimConfig, RecordsConfig, TrainConfig
from bonemet_jax.readout.embeddings import embed
from bonemet_jax.train.checkpoint import CheckpointStore
from bonemet_jax.train.dry_run import make_random_records
from bonemet_jax.train.loop import train_folds

BASE = Config(
    "waves", records=RecordsConfig(height=64, width=80), folds=FoldsConfig(n_folds=3),
    model=ModelConfig(network="tiny"), optim=OptimConfig(lr=1e-3), train=TrainConfig(epochs=3, batch_size=8),
)  # fmt: skip
RECORDS = make_random_records(30, 64, 80)
FOLDS = make_folds(RECORDS.patient_id, RECORDS.label.tolist(), BASE.folds)


def spread(**engine: Any) -> Config:
    """Float64, otherwise spread."""
    return replace(BASE, model=replace(BASE.model, compute_dtype="float64"), engine=EngineConfig(**engine))  # type: ignore[arg-type]


def load_metrics(run_dir: Path) -> np.ndarray:
    """Losses and AUC of every fold and epoch."""
    lines = [json.loads(line) for k in range(3)
             for line in (run_dir / f"fold_{k}" / "metrics.jsonl").read_text().splitlines()]  # fmt: skip
    return np.array([[line["epoch"], line["train_loss"], line["val_loss"], line["val_auc"]] for line in lines])


def list_names(run_dir: Path) -> list[str]:
    """Files of the folds, less those whose names hold a time or a checksum."""
    files = (path.relative_to(run_dir) for path in run_dir.rglob("*") if path.is_file())
    return sorted(str(path) for path in files if not {"tensorboard", "checkpoints"} & set(path.parts))


def stop_once(run_dir: Path, config: Config) -> None:
    """Train until the second epoch of the wave's second member is about to be saved."""
    save, seen = CheckpointStore.save, []

    def stop(self: CheckpointStore, epoch: int, *rest: Any) -> None:
        seen.append(epoch)
        if seen.count(2) == 2:
            raise KeyboardInterrupt
        save(self, epoch, *rest)

    CheckpointStore.save = stop  # type: ignore[method-assign]
    try:
        train_folds(RECORDS, FOLDS, config, run_dir)
    except KeyboardInterrupt:
        return
    finally:
        CheckpointStore.save = save  # type: ignore[method-assign]
    raise AssertionError("nothing stopped")


def main(folder: Path) -> None:
    """Figures as one line of JSON."""
    mesh, sequential = spread(folds="mesh"), spread()
    train_folds(RECORDS, FOLDS, sequential, folder / "sequential")
    train_folds(RECORDS, FOLDS, mesh, folder / "mesh")
    stop_once(folder / "stopped", mesh)
    train_folds(RECORDS, FOLDS, mesh, folder / "stopped")
    timing = json.loads((folder / "stopped" / "fold_1" / "timing.json").read_text())
    wanted = load_metrics(folder / "sequential")
    one = [embed(RECORDS, sequential, folder / "mesh", [k]) for k in range(3)]
    both = embed(RECORDS, mesh, folder / "mesh", [0, 1, 2])
    done = [[json.loads((folder / d / f"fold_{k}" / "done.json").read_text()) for k in range(3)]
            for d in ("mesh", "stopped")]  # fmt: skip
    print(json.dumps({
        "metrics": float(np.abs(load_metrics(folder / "mesh") - wanted).max()),
        "rows": len(wanted),
        "files": list_names(folder / "mesh") == list_names(folder / "sequential") != [],
        "resumed_after": timing["resumed_after_epoch"],
        "n_traces": {name: p["n_traces"] for name, p in timing["programs"].items()},
        "resumed_equal": done[0] == done[1],
        "embedding": float(np.abs(both[0] - np.concatenate([e for e, _ in one])).max()),
    }), flush=True)  # fmt: skip


if __name__ == "__main__":
    with jax.enable_x64(True):
        main(Path(sys.argv[1]))
