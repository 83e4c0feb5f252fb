"""Frozen configs: what a run is, checked when it is made, named by a fingerprint.

A config file, such as those in configs/, is plain Python that defines `config = Config(...)`. Every field is a
command-line flag (`--optim.lr 1e-3`). Equal configs are equal values, so they never recompile.
"""

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_type_hints

from bonemet_jax import config_files, schema, strict_json
from bonemet_jax.errors import UsageError
from bonemet_jax.refused import REFUSED

Network = Literal["tiny", "resnet34", "resnet50", "resnet101"]
Channel = Literal["ct", "lbp", "hog", "mask"]
FeatureSet = Literal["imaging", "clinical", "both"]
Classifier = Literal["gbdt", "svm", "rf"]

#: Residual stages of each network, known here without importing models.
N_STAGES: dict[str, int] = {"tiny": 2, "resnet34": 4, "resnet50": 4, "resnet101": 4}


#: Every generator of random numbers here takes it, also with 1000 repeats added.
_MAX_SEED = 2**31 - 1 - 1000
#: Side of an image, pixels; a larger one is a mistyped number.
_MAX_SIDE = 8192
_MAX_EPOCHS = 1_000_000


def _require(ok: bool, name: str, got: object, wanted: str) -> None:
    if not ok:
        raise UsageError(f"config value out of range: {name} = {got}", "", f"use {wanted}")


def _require_range(value: float, name: str, low: float, high: float, unit: str = "") -> None:
    _require(low <= value <= high, name, value, f"{low} to {high} {unit}".strip())


def _require_distinct(values: tuple[str, ...], name: str) -> None:
    _require(0 < len(set(values)) == len(values), name, values, "at least one, each once")


@dataclass(frozen=True)
class PhantomConfig:
    """The synthetic cohort with planted truth."""

    n: int = 431
    """Patients."""
    seed: int = 0
    """Seed of every draw."""
    generator: Literal["repaired", "as_printed"] = "repaired"
    """repaired: hazard ratios planted; as_printed: the printed Table 1 by outcome, mistakes included."""
    null: bool = False
    """Outcome independent of everything."""
    texture_strength: float = 1.0
    """How much of the planted texture the slices show; 0: the same patients and outcomes, all fat of one grain.
    Bayes-optimal AUCs take what is shown, if anything is, for read without error."""
    height: int = 400
    """Rows of the slice, pixels."""
    width: int = 500
    """Columns of the slice, pixels."""
    spacing_mm: float = 0.8
    """Pixel spacing, mm, both axes."""

    def __post_init__(self) -> None:
        _require_range(self.n, "phantom.n", 12, 1_000_000, "patients")
        _require_range(self.seed, "phantom.seed", 0, _MAX_SEED)
        _require_range(self.texture_strength, "phantom.texture_strength", 0, 2)
        _require_range(self.spacing_mm, "phantom.spacing_mm", 0.3, 3.0, "mm")
        extent_mm = (self.height * self.spacing_mm, self.width * self.spacing_mm)
        _require_range(max(self.height, self.width), "phantom.height, width", 1, _MAX_SIDE, "pixels")
        _require(extent_mm[0] >= 320 and extent_mm[1] >= 400, "phantom.height x width x spacing_mm",
                 f"{extent_mm[0]:g} x {extent_mm[1]:g} mm", "at least 320 x 400 mm, so that a body fits")


@dataclass(frozen=True)
class RecordsConfig:
    """Sharded records (data_pipelines/bonemet_ct)."""

    height: int = 400
    """Rows of every stored image, pixels (paper: 400)."""
    width: int = 500
    """Columns of every stored image, pixels (paper: 500)."""
    spacing_mm: float = 0.8
    """Isotropic spacing every slice is brought to, mm; the rest is padded, never stretched."""
    file_format: Literal["tfrecord", "array_record"] = "tfrecord"
    """Shard format."""
    patients_per_shard: int = 64
    """Patients in each shard but the last: what one worker holds at a time, and what is lost when it is killed."""
    channel_backend: Literal["jax", "scikit-image"] = "jax"
    """Who computes LBP and HOG: ours, or the reference."""

    def __post_init__(self) -> None:
        for side in (self.height, self.width):
            _require_range(side, "records.height, width", 64, _MAX_SIDE, "pixels")
        _require_range(self.spacing_mm, "records.spacing_mm", 0.3, 4.0, "mm")
        _require_range(self.patients_per_shard, "records.patients_per_shard", 1, 65536, "patients")


@dataclass(frozen=True)
class InputConfig:
    """How records reach the network (bonemet_jax/input_pipeline)."""

    mode: Literal["auto", "resident", "stream"] = "auto"
    """resident: the cohort lies on the devices; stream: batches are read as they come; auto: resident where it fits."""
    channels: Literal["precomputed", "on_device"] = "precomputed"
    """precomputed: LBP and HOG as recorded; on_device: computed in the compiled step, from the flipped CT."""


@dataclass(frozen=True)
class FoldsConfig:
    """Cross-validation folds (row F1): a file, written once, obeyed."""

    n_folds: int = 3
    """Number of folds."""
    seed: int = 0
    """Seed of the stratified deal."""
    val_fraction: float = 0.2
    """Share of each training part that becomes its validation part."""
    file: str | None = None
    """Folds to obey instead of dealing new ones: the folds.json of another run, or one made by hand."""

    def __post_init__(self) -> None:
        _require_range(self.n_folds, "folds.n_folds", 2, 20)
        _require_range(self.seed, "folds.seed", 0, _MAX_SEED)
        _require_range(self.val_fraction, "folds.val_fraction", 0.05, 0.5)


@dataclass(frozen=True)
class MaskBiasConfig:
    """Mask bias (row D2): the fat mask, coded +-0.5, added to feature maps."""

    enabled: bool = True
    """Off: the mask is an input channel only."""
    stages: tuple[int, ...] = (1, 2)
    """Residual stages (1 to 4; `tiny`: 1 to 2) after which the mask is added."""
    position: Literal["after_relu", "before_relu"] = "after_relu"
    """Where in the stage's last block it is added."""
    resize: Literal["area", "nearest"] = "area"
    """How the mask is brought to the feature map's size."""

    def __post_init__(self) -> None:
        _require(all(1 <= s <= 4 for s in self.stages), "model.mask_bias.stages", self.stages, "stages 1 to 4")


@dataclass(frozen=True)
class ModelConfig:
    """The network (rows D1 to D3)."""

    network: Network = "resnet101"
    """Depth; `tiny` is for smoke runs."""
    channels: tuple[Channel, ...] = ("ct", "lbp", "hog", "mask")
    """Input channels, in the schema's order."""
    branches: Literal["joint", "per_channel"] = "joint"
    """joint: one network sees all channels; per_channel: one network a channel (released code)."""
    mask_bias: MaskBiasConfig = field(default_factory=MaskBiasConfig)
    """Mask bias; needs the mask channel."""
    embedding: Literal["head", "pooled"] = "head"
    """What a patient's embedding is: the linear head's features X1..Xn, or the pooled feature maps."""
    n_features: int = 16
    """Width of the head's feature layer (row D3)."""
    n_classes: int = 2
    """Classes of the softmax."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of activations; parameters and statistics stay float32."""
    norm: Literal["sync", "local", "frozen"] = "sync"
    """BatchNorm's statistics: of the whole batch; of each device's part; the running ones, never updated."""
    weights: str | None = None
    """Initial weights, a file of `bonemet weights import`; none: drawn, he-normal."""

    def __post_init__(self) -> None:
        _require(self.network in N_STAGES, "model.network", self.network, f"one of {', '.join(N_STAGES)}")
        n_stages = N_STAGES[self.network]
        _require(not self.mask_bias.enabled or all(s <= n_stages for s in self.mask_bias.stages),
                 "model.mask_bias.stages", self.mask_bias.stages, f"stages 1 to {n_stages} with {self.network}")
        order = [schema.CHANNELS.index(c) for c in self.channels]
        _require(bool(order) and order == sorted(set(order)), "model.channels", self.channels,
                 f"a subset of {schema.CHANNELS} in that order")
        _require(not self.mask_bias.enabled or "mask" in self.channels, "model.mask_bias.enabled",
                 True, "False when the mask channel is left out")
        _require(not (self.branches == "per_channel" and self.mask_bias.enabled), "model.mask_bias.enabled",
                 True, "False with branches per_channel")
        _require_range(self.n_features, "model.n_features", 1, 65536)
        _require_range(self.n_classes, "model.n_classes", 2, 65536)


@dataclass(frozen=True)
class OptimConfig:
    """Adam and its learning-rate schedule (row E1)."""

    lr: float = 1e-6
    """Learning rate."""
    schedule: Literal["constant", "step", "cosine"] = "constant"
    """step: times step_factor every step_epochs; cosine: to zero over all epochs."""
    step_epochs: int = 50
    """Epochs between drops of the step schedule."""
    step_factor: float = 0.5
    """Factor of one drop."""

    @property
    def rate_depends_on_epochs(self) -> bool:
        """Whether train.epochs decides the learning rates: a finished training cannot go on for more epochs then."""
        return self.schedule == "cosine"

    def __post_init__(self) -> None:
        _require(0 < self.lr <= 10, "optim.lr", self.lr, "a rate in (0, 10]")
        _require_range(self.step_epochs, "optim.step_epochs", 1, _MAX_EPOCHS, "epochs")
        _require(0 < self.step_factor <= 1, "optim.step_factor", self.step_factor, "a factor in (0, 1]")


@dataclass(frozen=True)
class TrainConfig:
    """One fold's training (row E1)."""

    epochs: int = 200
    """Epochs."""
    batch_size: int = 64
    """Global batch size, images; the last batch is padded with zero weight, never dropped."""
    seed: int = 0
    """Seed of initial weights, batch order and flips."""
    flips: Literal["exact", "naive", "none"] = "exact"
    """exact: LBP and HOG of the flipped image; naive: flipped LBP and HOG pictures (released code)."""
    eval_flips: bool = False
    """Random flips at validation, test and embedding too (released code)."""
    class_weight: Literal["none", "balanced"] = "none"
    """balanced: each class weighs the same in the loss."""
    embed_epoch: Literal["last", "best"] = "last"
    """Which checkpoint speaks: the last epoch, or the best validation AUC."""
    checkpoint_epochs: int = 1
    """Epochs between checkpoints; the last epoch is always saved, with embed_epoch best also each best so far."""
    keep_epochs: int = 0
    """Checkpoints of every so many epochs are kept for good; 0: only the two newest and the best are."""
    early_stop_epochs: int = 0
    """Stop a fold after so many epochs without a lower validation loss; 0: never."""

    def __post_init__(self) -> None:
        _require_range(self.epochs, "train.epochs", 1, _MAX_EPOCHS)
        _require_range(self.batch_size, "train.batch_size", 1, 65536, "images")
        _require_range(self.seed, "train.seed", 0, _MAX_SEED)
        _require_range(self.checkpoint_epochs, "train.checkpoint_epochs", 1, _MAX_EPOCHS, "epochs")
        _require_range(self.keep_epochs, "train.keep_epochs", 0, _MAX_EPOCHS, "epochs")
        _require(self.keep_epochs % self.checkpoint_epochs == 0, "train.keep_epochs", self.keep_epochs,
                 f"a multiple of train.checkpoint_epochs, {self.checkpoint_epochs}: only what is saved can be kept")
        _require_range(self.early_stop_epochs, "train.early_stop_epochs", 0, _MAX_EPOCHS, "epochs")


@dataclass(frozen=True)
class EngineConfig:
    """How training is compiled and spread over devices. Changes rounding at most, never what is computed, but for the
    groups over which model.norm local takes its statistics."""

    parallel: Literal["jit", "shard_map", "pmap"] = "jit"
    """Wrapper of the one training step: jit leaves the communication to the compiler, the others write it out."""
    folds: Literal["sequential", "mesh", "vmap"] = "sequential"
    """sequential: one fold after another on all devices; mesh: side by side on groups of devices; vmap: side by side
    on each device. mesh and vmap train all folds in one program."""
    gradient_dtype: Literal["compute", "float32"] = "compute"
    """In which gradients are summed over devices: the activations' dtype or float32."""
    remat: bool = False
    """Recompute each residual block's inside in the backward pass: less memory, about a third more arithmetic."""
    scan_blocks: bool = False
    """Compile the equal blocks of a stage once and loop over them: a third of the program. For accelerators: on the CPU
    a loop's body runs on one thread."""
    stem: Literal["conv", "space_to_depth"] = "conv"
    """How the 7x7 stride-2 stem is computed: as it stands, or as 4x4 over 2x2 pixels side by side."""
    normalise: Literal["auto", "plain", "lean"] = "auto"
    """How normalisations are computed: as they stand, or with fewer reads and writes of feature maps, which rounds more
    in bfloat16; auto: lean, but plain on the CPU."""


@dataclass(frozen=True)
class FusionConfig:
    """Classifiers over embeddings and clinical data (rows G1, G2)."""

    classifiers: tuple[Classifier, ...] = ("gbdt", "svm", "rf")
    """Which classifiers."""
    feature_sets: tuple[FeatureSet, ...] = ("imaging", "clinical", "both")
    """Which features."""
    mode: Literal["paper", "honest"] = "paper"
    """paper: classifiers learn from the network's own training patients, as published; honest: from patients that the
    network describing them never saw (one more network for every two folds), and thresholds too."""
    screen: bool = True
    """Lasso-Cox screens the clinical variables inside each training part."""
    seed: int = 0
    """Seed of classifiers and inner splits."""
    repeats: int = 1
    """Fits of every classifier, each with its own seed and inner parts; the first counts, the rest show the spread."""
    workers: int = 0
    """Processes that fit side by side; 0: one a core. Changes no number."""
    backend: Literal["loky", "dask"] = "loky"
    """Who runs them: processes here, or the dask cluster of DASK_SCHEDULER_ADDRESS (extra `distributed`)."""
    xgboost_device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where gradient boosting runs; auto: on the GPU from the number of patients at which it pays."""

    def __post_init__(self) -> None:
        _require_distinct(self.classifiers, "fusion.classifiers")
        _require_distinct(self.feature_sets, "fusion.feature_sets")
        _require_range(self.seed, "fusion.seed", 0, _MAX_SEED)
        _require_range(self.repeats, "fusion.repeats", 1, 1000)
        _require_range(self.workers, "fusion.workers", 0, 1024, "processes")


@dataclass(frozen=True)
class Config:
    """A whole run."""

    name: str
    """Short name: appears in the report and names the records; letters, digits, dot, dash, underscore."""
    cohort_dir: str | None = None
    """Cohort written by `bonemet ingest` or `bonemet phantom`; none: the synthetic cohort below is made."""
    phantom: PhantomConfig = field(default_factory=PhantomConfig)
    """Synthetic cohort."""
    records: RecordsConfig = field(default_factory=RecordsConfig)
    """Sharded records."""
    input: InputConfig = field(default_factory=InputConfig)
    """Input pipeline."""
    folds: FoldsConfig = field(default_factory=FoldsConfig)
    """Cross-validation folds."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Network."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """Optimiser."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """Training."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    """Compilation and devices."""
    fusion: FusionConfig = field(default_factory=FusionConfig)
    """Classifiers."""

    def __post_init__(self) -> None:
        _require(bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}", self.name)), "name", repr(self.name[:80]),
                 "letters, digits, dot, dash, underscore, a letter or digit first")

        for rule in REFUSED:
            _require(not all(_value(self, name) == value for name, value in rule.when.items()),
                     " with ".join(f"{name} {value}" for name, value in rule.when.items()), "together", rule.instead)

    @property
    def fingerprint(self) -> str:
        """12 hex digits over the whole config."""
        return fingerprint(self)


def _value(config: Config, name: str) -> object:
    part, _, field_name = name.partition(".")
    return getattr(getattr(config, part), field_name)


def to_dict(part: Any) -> dict[str, Any]:
    """Any config part as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(part)))


def fingerprint(part: Any) -> str:
    """First 12 hex digits of sha256 over the part's sorted JSON."""
    return hashlib.sha256(json.dumps(to_dict(part), sort_keys=True).encode()).hexdigest()[:12]


def load_config(given: str | Path) -> Config:
    """Load `config` from a packaged config file, given by name (smoke), or from any other, given by path.

    Raises: UsageError when there is no such config, its file does not run, or defines no `config`.
    """
    import runpy

    path = config_files.find_config(given)
    try:
        found = runpy.run_path(str(path)).get("config")
    except UsageError as error:
        raise UsageError(error.what, path, error.mend) from error
    except (Exception, SystemExit) as error:
        what = f"SystemExit: {error}" if isinstance(error, SystemExit) else error
        raise UsageError(f"config file does not run: {what}", path, "mend the file") from error
    if not isinstance(found, Config):
        raise UsageError("config file defines no `config = Config(...)`", path, "add one")
    if mismatch := strict_json.find_mismatch(dataclasses.asdict(found), Config):
        raise UsageError(f"config value of the wrong type: {mismatch}", path, "edit the file")
    return found


def from_dict(kind: type[Any], values: dict[str, Any]) -> Any:
    """The inverse of to_dict: rebuild a config part from plain JSON values.

    Raises: UsageError when a field is unknown, so that a run of another version is never half understood; when a value
        is of another type or out of range.
    """
    hints = get_type_hints(kind)
    if mismatch := strict_json.find_mismatch(values, kind):
        raise UsageError(f"config value of the wrong type: {mismatch}", "", f"fields of this version: {sorted(hints)}")
    built: dict[str, Any] = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]):
            built[name] = from_dict(hints[name], value)
        else:
            built[name] = tuple(value) if isinstance(value, list) else value
    return kind(**built)
