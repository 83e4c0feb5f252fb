"""Grad-CAM: equal to a computation by hand, however patients are batched and devices wrapped; damage named."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bonemet_jax.config import Config, EngineConfig, MaskBiasConfig
from bonemet_jax.errors import CorruptFileError, NumericsError, UsageError
from bonemet_jax.input_pipeline.order import eval_batches
from bonemet_jax.input_pipeline.records import RecordArrays
from bonemet_jax.models.initial import make_variables
from bonemet_jax.models.resnet import make_model
from bonemet_jax.readout.embeddings import load_state
from bonemet_jax.readout.gradcam import (
    EVIDENCE,
    compute_gradcam,
    find_stages,
    get_cam_program,
    make_cam_step,
    read_gradcam,
    read_mean_gradcam,
    upsample,
    weigh_maps,
)
from bonemet_jax.train.loop import get_fed_engine, train_folds
from bonemet_jax.train.optim import make_optimizer
from bonemet_jax.train.state import TrainState, make_state
from tests.train.small import CONFIG, make_small_folds

pytestmark = pytest.mark.every_change

STAGES = ("stage1", "stage2")


def _draw_state(config: Config) -> TrainState:
    return make_state(make_variables(make_model(config.model), 3, 0), make_optimizer())


def _read(records: RecordArrays, config: Config, positions: list[int], stages: tuple[str, ...] = ()) -> np.ndarray:
    """Maps by a network of drawn weights."""
    batches = read_gradcam(records, config, _draw_state(config), positions, stages)
    return np.concatenate([batch.cam for batch in batches], axis=2)


def _upsample_by_hand(one: np.ndarray, stride: int, height: int, width: int) -> np.ndarray:
    """numpy's own linear interpolation, down the columns, then along the rows."""
    rows = np.stack([np.interp(np.arange(height), stride * np.arange(len(one)), c) for c in one.T], axis=1)
    return np.stack([np.interp(np.arange(width), stride * np.arange(one.shape[1]), r) for r in rows])


def test_map_is_the_papers_formula() -> None:
    """Selvaraju et al., equations 1 and 2, term by term; the gradients are those of a function known in full."""
    tap = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    grad = np.asarray(jax.grad(lambda a: (jnp.sin(a) * jnp.arange(5.0)).sum())(tap))
    np.testing.assert_allclose(grad, np.cos(tap) * np.arange(5), rtol=1e-5)
    want = np.zeros((2, 3, 4))
    for b in range(2):
        for k in range(5):
            alpha = sum(grad[b, i, j, k] for i in range(3) for j in range(4)) / 12
            want[b] += alpha * tap[b, :, :, k]
    np.testing.assert_allclose(weigh_maps(jnp.asarray(tap), jnp.asarray(grad)), want, rtol=1e-5, atol=1e-6)


def test_upsampling_is_linear_and_looks_where_the_layers_look() -> None:
    one = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    got = np.asarray(upsample(jnp.asarray(one), 8, 20, 30))
    np.testing.assert_allclose(got, _upsample_by_hand(one, 8, 20, 30), atol=1e-6)
    np.testing.assert_allclose(got[::8, ::8], one, atol=1e-6)
    np.testing.assert_allclose(upsample(jnp.ones((2, 5, 7)), 4, 20, 28), 1, atol=1e-6)


@pytest.mark.parametrize("branches", ["joint", pytest.param("per_channel", marks=pytest.mark.slow)])
def test_mean_of_all_networks(branches: str, records: RecordArrays, run_dir: Path, tmp_path: Path) -> None:
    """Every patient in the records' order, more of them than are taken at once, whatever the batch trained with."""
    config, run = CONFIG, run_dir
    if branches == "per_channel":
        model = replace(CONFIG.model, branches=branches, mask_bias=MaskBiasConfig(enabled=False))
        config, run = replace(CONFIG, model=model, train=replace(CONFIG.train, epochs=1, batch_size=8)), tmp_path
        train_folds(records, make_small_folds(records), config, run)
    batches = list(read_mean_gradcam(records, config, run))
    assert len(batches) == 6
    np.testing.assert_array_equal(np.concatenate([batch.position for batch in batches]), np.arange(24))
    got = np.concatenate([batch.cam for batch in batches], axis=2)
    for which, evidence in enumerate(EVIDENCE):
        want = np.mean([compute_gradcam(records, config, run, fold, evidence=evidence) for fold in (0, 1)], axis=0)
        np.testing.assert_allclose(got[which], want, rtol=1e-4, atol=1e-6 * want.max())


def test_maps_of_a_network_equal_finite_differences(records: RecordArrays) -> None:
    """float64: a map's weight is the change of the logit when its feature map rises everywhere, over its pixels."""
    positions, (height, width) = [2, 7, 11], records.image_shape
    got = _read(records, CONFIG, positions)
    with jax.enable_x64(True):
        model = make_model(CONFIG.model, dtype=jnp.dtype("float64"))
        variables = jax.tree.map(lambda x: jnp.asarray(x, "float64"), _draw_state(CONFIG).variables)
        x, weight = _channels(records, positions), jnp.ones(3)
        apply = jax.jit(lambda added: model.apply(variables, x, weight, added=added))
        taps = apply({name: jnp.zeros(()) for name in STAGES}).taps
        for s, (name, stride) in enumerate(zip(STAGES, (4, 8), strict=True)):
            tap = np.asarray(taps[name])
            pixels, step = tap.shape[1] * tap.shape[2], 1e-6
            signed = np.zeros(tap.shape[:3])
            for k in range(tap.shape[3]):
                rise = {n: jnp.zeros(()) for n in STAGES} | {name: jnp.zeros(tap.shape[3]).at[k].set(step)}
                fall = {n: -value for n, value in rise.items()}
                slope = (apply(rise).logits - apply(fall).logits)[0, :, 1] / (2 * step)
                signed += np.asarray(slope)[:, None, None] / pixels * tap[..., k]
            for e, sign in enumerate((1, -1)):
                for p in range(3):
                    want = _upsample_by_hand(np.maximum(sign * signed[p], 0), stride, height, width)
                    np.testing.assert_allclose(got[e, s, p], want, atol=2e-4 * np.abs(signed).max())


def _channels(records: RecordArrays, positions: list[int]) -> jax.Array:
    from bonemet_jax.channels.stack import make_channels

    images = {name: jnp.asarray(value) for name, value in records.read(positions).items()}
    return make_channels(**images, flip=jnp.zeros((len(positions), 2), bool)).astype("float64")


def test_batches_and_their_padding_change_nothing(run_dir: Path, records: RecordArrays) -> None:
    """Alone, in another order or among all: the same maps; nine patients in batches of four leave padding."""
    everyone = compute_gradcam(records, CONFIG, run_dir, 1)
    assert everyone.shape == (2, 24, 64, 80) and everyone.dtype == np.float32
    assert everyone.min() >= 0 and (everyone.max((2, 3)) > 0).mean() > 0.5
    some = [17, 3, 23, 0, 8, 9, 10, 11, 12]
    got = compute_gradcam(records, CONFIG, run_dir, 1, some, ["stage2"])
    np.testing.assert_allclose(got, everyone[1:, some], atol=1e-6 * everyone.max())
    np.testing.assert_allclose(compute_gradcam(records, CONFIG, run_dir, 1, [5])[:, 0], everyone[:, 5], atol=1e-5)
    other = compute_gradcam(records, CONFIG, run_dir, 0, some)
    assert not np.allclose(other, everyone[:, some])


def test_for_and_against_are_the_two_signs_of_one_map(run_dir: Path, records: RecordArrays) -> None:
    raised, lowered = (compute_gradcam(records, CONFIG, run_dir, 0, [1, 2], evidence=e) for e in EVIDENCE)
    assert lowered.any() and not np.array_equal(raised, lowered)
    for stage, stride in enumerate((4, 8)):
        own = (slice(None), slice(None, None, stride), slice(None, None, stride))
        assert not (raised[stage][own] * lowered[stage][own]).any(), "at a cell's own pixel there is one of the two"


def test_one_trace_for_all_folds_and_calls(run_dir: Path, records: RecordArrays) -> None:
    for fold in (0, 1):
        compute_gradcam(records, CONFIG, run_dir, fold, [fold, 9])
    program = get_cam_program(get_fed_engine(records, CONFIG).engine, CONFIG, STAGES)
    assert program.n_traces == 1


@pytest.mark.parametrize("parallel", ["shard_map", "pmap"])
def test_every_wrapper_gives_the_same(records: RecordArrays, parallel: str) -> None:
    config = replace(CONFIG, engine=EngineConfig(parallel=parallel))  # type: ignore[arg-type]
    want = _read(records, CONFIG, [4, 5, 6, 7, 8])
    np.testing.assert_allclose(_read(records, config, [4, 5, 6, 7, 8]), want, atol=1e-5 * want.max())


def test_images_are_not_flipped_where_evaluation_flips(records: RecordArrays) -> None:
    config = replace(CONFIG, train=replace(CONFIG.train, eval_flips=True))
    np.testing.assert_array_equal(_read(records, config, [3, 4]), _read(records, CONFIG, [3, 4]))


def test_every_branch_has_its_stages(records: RecordArrays) -> None:
    """A branch's maps know nothing of the other channels."""
    off = MaskBiasConfig(enabled=False)
    model = replace(CONFIG.model, channels=("ct", "mask"), branches="per_channel", mask_bias=off)
    config = replace(CONFIG, model=model)
    assert find_stages(model) == ("ct/stage1", "ct/stage2", "mask/stage1", "mask/stage2")
    step = jax.jit(make_cam_step(make_model(model), config, find_stages(model)))
    plan = eval_batches(4, 4)
    batch = records.read(range(4), ("ct", "mask")) | {"flip": plan.flip[0], "weight": plan.weight[0]}
    variables = _draw_state(config).variables
    found, other = (np.asarray(step(variables, b)) for b in (batch, batch | {"ct": 255 - batch["ct"]}))
    assert found.shape == (4, 2, 4, 64, 80)
    same = [np.array_equal(found[:, :, s], other[:, :, s]) for s in range(4)]
    assert same == [False, False, True, True]


def test_what_cannot_be_explained_is_named(run_dir: Path, records: RecordArrays, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no stage stage3; use some of stage1, stage2"):
        compute_gradcam(records, CONFIG, run_dir, 0, [0], ["stage3"])
    with pytest.raises(CorruptFileError, match=r"done\.json"):
        compute_gradcam(records, CONFIG, tmp_path, 0)
    state = load_state(CONFIG, run_dir, 0, get_fed_engine(records, CONFIG).engine.state_template())
    broken = state._replace(params=jax.tree.map(lambda x: x * np.nan, state.params))
    with pytest.raises(NumericsError, match="Grad-CAM is not finite; patients whose id's sha256 begins with"):
        next(read_gradcam(records, CONFIG, broken, [0, 1]))
