"""What one fold trains on: positions in the records, each epoch's batches, class weights, the training's key."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from bonemet_jax.cohort.folds import Splits
from bonemet_jax.config import Config, to_dict
from bonemet_jax.errors import InputDataError
from bonemet_jax.input_pipeline.order import EpochPlan, epoch_batches, eval_batches, place_plan
from bonemet_jax.input_pipeline.records import Records
from bonemet_jax.models.pretrained import weights_sha256
from bonemet_jax.train.validation import compute_class_weight

#: Of the files a training leaves; raised when it cannot go on from those of earlier versions.
_FILES_VERSION = 2


class FoldData(NamedTuple):
    """Positions in the records, joined by patient_id. The test part is not here: training never sees it."""

    train: Int[np.ndarray, " n_train"]
    val: Int[np.ndarray, " n_val"]
    class_weight: Float[np.ndarray, " class"]
    steps_per_epoch: int


class EpochPlans(NamedTuple):
    """What one epoch reads, as positions in the records."""

    train: EpochPlan
    val: EpochPlan


def make_fold_data(records: Records, folds: Splits, fold: int, config: Config) -> FoldData:
    """Rows and class weights of one fold; the weights come from the training part alone.

    Raises: InputDataError when a patient of the folds has no record, or the training part is empty.
    """
    row = {patient: i for i, patient in enumerate(records.patient_id)}
    parts = {split: folds.patient_ids(fold, split) for split in ("train", "val")}
    for ids in parts.values():
        if missing := [patient for patient in ids if patient not in row]:
            raise InputDataError(f"{len(missing)} patients of the folds have no record", f"fold {fold}",
                                 "build the records again for this cohort")
    if not parts["train"] or not parts["val"]:
        raise InputDataError("a fold needs training and validation patients", f"fold {fold}", "make the folds again")
    train, val = (np.array([row[p] for p in parts[split]], np.int32) for split in ("train", "val"))
    weight = compute_class_weight(
        records.label[train], config.model.n_classes, config.train.class_weight == "balanced"
    )
    return FoldData(train, val, weight, -(-len(train) // config.train.batch_size))


def compute_training_key(records: Records, folds: Splits, fold: int, config: Config, n_data: int = 1) -> str:
    """16 hex digits over all that decides the trained weights: network, optimiser, training, records, splits.

    Checkpoints carry it, so that a resumed run never goes on from another training's weights.

    Args:
        n_data: Devices that share a batch: only with statistics of each device's own part do they matter.
    """
    train = to_dict(replace(config.train, embed_epoch="last"))
    del train["checkpoint_epochs"], train["keep_epochs"]
    if not config.optim.rate_depends_on_epochs:  # then a longer training is this one going on
        del train["epochs"]
    weights = config.model.weights
    settings = {
        "model": to_dict(config.model) | {"weights": None if weights is None else weights_sha256(weights)},
        "optim": to_dict(config.optim),
        # which epochs are saved, and which is read afterwards, changes no weight
        "train": train,
        # on the device LBP rounds ties another way; input.mode is left out, since both modes deal equal batches
        "channels": config.input.channels,
        "fold": fold,
        "splits": {p: folds.split_of(p, fold) for p in records.patient_id},
        "records": records.sha256,
    }
    if config.model.norm == "local":
        settings["n_data"] = n_data
    settings["files"] = _FILES_VERSION
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


class WavePlans:
    """Plans of the members of a wave, each made once: feeds ask for it ahead of the loop, then the loop asks again."""

    def __init__(
        self, members: Sequence[tuple[FoldData, Config, int]], arrange: Callable[[list[EpochPlan], int], EpochPlan],
        n_steps: int = 0,
    ) -> None:
        """Args:
        members: Data, config and fold of each.
        arrange: Puts the members' plans side by side, as the devices want them, of at least so many steps.
        n_steps: Updates of an epoch, at least: where it is one program, all folds must have as many.
        """
        self._members, self._arrange, self._n_steps = members, arrange, n_steps
        self._made: dict[int, EpochPlans] = {}

    def get(self, epoch: int) -> EpochPlans:
        """Plans of this epoch; those of epochs before the last one are forgotten."""
        if epoch not in self._made:
            plans = [make_epoch_plans(*member, epoch) for member in self._members]
            joined = EpochPlans(self._arrange([p.train for p in plans], self._n_steps),
                                self._arrange([p.val for p in plans], 0))
            self._made = {made: old for made, old in self._made.items() if made >= epoch - 1} | {epoch: joined}
        return self._made[epoch]


def make_epoch_plans(data: FoldData, config: Config, fold: int, epoch: int) -> EpochPlans:
    """Batches of one epoch's updates and of its validation."""
    train = config.train
    updates = epoch_batches(len(data.train), train.batch_size, train.seed, fold, epoch)
    validation = make_eval_plan(len(data.val), config, fold, epoch)
    return EpochPlans(place_plan(updates, data.train), place_plan(validation, data.val))


def make_eval_plan(n: int, config: Config, fold: int, epoch: int) -> EpochPlan:
    """Every example once, in order; flipped at random where the config asks for it (released code)."""
    plan = eval_batches(n, config.train.batch_size)
    return plan._replace(flip=_eval_flips(plan, config.train.seed, fold, epoch)) if config.train.eval_flips else plan


def _eval_flips(plan: EpochPlan, seed: int, fold: int, epoch: int) -> Bool[np.ndarray, "step batch 2"]:
    # The fourth number keeps this stream apart from the training epochs' own.
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, fold, epoch, 1])))
    return random.random(plan.flip.shape) < 0.5
