"""X1..Xn and the network's own score of every patient, from each fold's chosen checkpoint."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float32

from bonemet_jax import artifacts, hosts
from bonemet_jax.config import Config
from bonemet_jax.errors import NumericsError
from bonemet_jax.input_pipeline.records import Records, name_patients
from bonemet_jax.progress import track
from bonemet_jax.train.checkpoint import CheckpointStore
from bonemet_jax.train.epoch import evaluate
from bonemet_jax.train.fold_data import make_eval_plan
from bonemet_jax.train.loop import get_fed_engine
from bonemet_jax.train.member_run import load_done
from bonemet_jax.train.members import count_side_by_side, make_waves
from bonemet_jax.train.state import TrainState
from bonemet_jax.train.watchdog import Watchdog


def embed(
    records: Records, config: Config, run_dir: Path, folds: Sequence[int]
) -> tuple[Float32[np.ndarray, "fold patient feature"], Float32[np.ndarray, "fold patient"]]:
    """Embedding and score P(bone metastasis) of every record, in the records' order, by each of these folds' networks.

    Any records of the trained size will do, also patients the network has never seen.

    Raises:
        CorruptFileError: when a fold is not trained or its checkpoint is damaged.
        NumericsError: a score is not finite.
    """
    engine, source, _ = get_fed_engine(records, config, len(folds))
    template = engine.state_template()
    variables = engine.put_states([load_state(config, run_dir, fold, template) for fold in folds]).variables
    plan = engine.arrange([make_eval_plan(len(records), config, fold, epoch=0) for fold in folds])
    hyper = engine.plain_hyper()
    watchdog = Watchdog(run_dir, engine.is_compiling)
    watchdog.place = f"embedding by folds {', '.join(map(str, folds))}"
    with source.feeds([plan]) as feeds, jax.transfer_guard("disallow"), watchdog, watchdog.watching():
        parts, _ = evaluate(engine, variables, source, feeds, len(plan.index), hyper, watchdog)
        rows = engine.fetch_rows(parts)
    embedding, score = (np.asarray(values[:, : len(records)]) for values in (rows.embedding, rows.score))
    if len(bad := np.flatnonzero(~np.isfinite(score).all(0))):
        raise NumericsError("an embedding is not finite", f"{watchdog.place}, {name_patients(records, bad)}",
                            "look at these patients' records")
    return embedding, score


def load_state(config: Config, run_dir: Path, fold: int, template: TrainState) -> TrainState:
    """What the fold's chosen epoch has learned. Raises: CorruptFileError as `embed`."""
    fold_dir = Path(run_dir) / f"fold_{fold}"
    done = load_done(fold_dir / "done.json")
    store = CheckpointStore(fold_dir / "checkpoints", done["key"])
    best = store.best_epoch() if config.train.embed_epoch == "best" else None
    return store.restore(best if best is not None else done["epoch"], template)


def compute_embeddings(records: Records, config: Config, run_dir: Path, n_folds: int) -> None:
    """Write embeddings.npz (docs/contracts.md): the network of each of the folds in `run_dir` on every patient."""
    waves = make_waves(range(n_folds), count_side_by_side(n_folds, len(jax.devices()), config.engine.folds))
    found = [embed(records, config, run_dir, wave) for wave in track(waves, "embed folds", len(waves))]
    arrays = {
        "patient_id": np.array(records.patient_id),
        "embedding": np.concatenate([embedding for embedding, _ in found]),
        "score": np.concatenate([score for _, score in found]),
    }
    hosts.once(lambda: artifacts.save_npz(Path(run_dir) / "embeddings.npz", arrays))
