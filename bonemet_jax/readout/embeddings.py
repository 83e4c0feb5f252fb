"""X1..Xn and the network's own score of every patient, from each fold's chosen checkpoint."""

from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float32

from bonemet_jax import artifacts
from bonemet_jax.config import Config
from bonemet_jax.input_pipeline.records import Records
from bonemet_jax.progress import track
from bonemet_jax.train.checkpoint import CheckpointStore
from bonemet_jax.train.epoch import evaluate, join_evaluations
from bonemet_jax.train.fold_data import make_eval_plan
from bonemet_jax.train.loop import get_fed_engine


def embed(
    records: Records, config: Config, run_dir: Path, fold: int
) -> tuple[Float32[np.ndarray, "patient feature"], Float32[np.ndarray, " patient"]]:
    """Embedding and score P(bone metastasis) of every record, in the records' order, by one fold's network.

    Any records of the trained size will do, also patients the network has never seen.

    Raises: CorruptFileError when the fold is not trained or its checkpoint is damaged.
    """
    fold_dir = Path(run_dir) / f"fold_{fold}"
    done = artifacts.load_json(fold_dir / "done.json")
    store = CheckpointStore(fold_dir / "checkpoints", done["key"])
    best = store.best_epoch() if config.train.embed_epoch == "best" else None
    epoch = best if best is not None else done["epoch"]
    engine, source, _ = get_fed_engine(records, config, done["steps_per_epoch"])
    variables = store.restore(epoch, engine.state_template()).state.variables
    plan = make_eval_plan(len(records), config, fold, epoch=0)
    class_weight = engine.put(np.ones(config.model.n_classes, np.float32))
    with source.feeds([plan]) as feeds, jax.transfer_guard("disallow"):
        parts, _ = evaluate(engine, variables, source, feeds, len(plan.index), class_weight)
        parts = jax.device_get(parts)
    _, score, embedding = join_evaluations(parts, len(records))
    return embedding, score


def compute_embeddings(records: Records, config: Config, run_dir: Path) -> None:
    """Write embeddings.npz (docs/contracts.md): every fold's network on every patient."""
    folds = range(config.folds.n_folds)
    found = [embed(records, config, run_dir, fold) for fold in track(folds, "embed folds", len(folds))]
    artifacts.save_npz(Path(run_dir) / "embeddings.npz", {
        "patient_id": np.array(records.patient_id),
        "embedding": np.stack([embedding for embedding, _ in found]),
        "score": np.stack([score for _, score in found]),
    })
