import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonemet_jax.input_pipeline.order import EpochPlan, epoch_batches, eval_batches, join_plans

sizes = st.tuples(st.integers(1, 200), st.integers(1, 70))
names = st.tuples(*[st.integers(0, 2**31)] * 3)


@settings(deadline=None)
@given(sizes, names)
def test_every_example_once_padding_in_the_last_batch(size: tuple[int, int], name: tuple[int, int, int]) -> None:
    n, batch_size = size
    for plan in (epoch_batches(n, batch_size, *name), eval_batches(n, batch_size)):
        steps = -(-n // batch_size)
        assert plan.index.shape == plan.weight.shape == (steps, batch_size) and plan.flip.shape[2:] == (2,)
        assert (plan.index.dtype, plan.weight.dtype, plan.flip.dtype) == (np.int32, np.float32, bool)
        real = plan.weight == 1
        assert real[:-1].all() and real.sum() == n and not plan.weight[~real].any()
        assert sorted(plan.index[real]) == list(range(n)) and not plan.index[~real].any()
        assert not plan.flip[~real].any()


@pytest.mark.parametrize("n", [1, 5, 8, 38, 63])
def test_each_device_has_its_share_of_a_short_batch(n: int) -> None:
    """However many devices there are; in evaluation, without statistics, the padding is last."""
    weight = epoch_batches(64 + n, 64, 0, 0, 1).weight[1]
    for n_devices in (1, 2, 4, 8):
        shares = weight.reshape(n_devices, -1).sum(1)
        assert shares.sum() == n and shares.max() - shares.min() <= 1
    assert (eval_batches(64 + n, 64).weight[1] == np.repeat([1, 0], [n, 64 - n])).all()


def test_members_of_unequal_length_get_steps_of_padding() -> None:
    plans = [epoch_batches(10, 4, 0, fold, 1) for fold in (0, 1)]
    plans[1] = EpochPlan(*(part[:2] for part in plans[1]))
    joined = join_plans(plans)
    assert joined.index.shape == joined.weight.shape == (3, 2, 4) and joined.flip.shape == (3, 2, 4, 2)
    for member, plan in enumerate(plans):
        for part, own in zip(joined, plan, strict=True):
            assert np.array_equal(part[: len(own), member], own) and not part[len(own) :, member].any()


@settings(deadline=None)
@given(sizes, names)
def test_pure(size: tuple[int, int], name: tuple[int, int, int]) -> None:
    np.random.seed(0)
    first = epoch_batches(*size, *name)
    np.random.random(5)
    for one, other in zip(first, epoch_batches(*size, *name), strict=True):
        assert np.array_equal(one, other)


def test_order_does_not_depend_on_the_batch_size() -> None:
    one, other = epoch_batches(100, 10, 1, 0, 0), epoch_batches(100, 25, 1, 0, 0)
    assert np.array_equal(one.index.ravel(), other.index.ravel())


def test_seed_fold_and_epoch_each_change_the_order() -> None:
    plans = [epoch_batches(50, 50, *name) for name in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))]
    assert len({plan.index.tobytes() for plan in plans}) == 4
    assert len({plan.flip.tobytes() for plan in plans}) == 4


def test_flips_are_fair_and_independent() -> None:
    """4 x 10,000 coins: each of the four flips has a quarter, within 5 standard errors."""
    flip = epoch_batches(40_000, 40_000, 0, 0, 0).flip[0]
    share = np.bincount(2 * flip[:, 0] + flip[:, 1], minlength=4) / 40_000
    assert np.abs(share - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 40_000)


def test_evaluation_keeps_the_order() -> None:
    plan = eval_batches(5, 3)
    assert plan.index.tolist() == [[0, 1, 2], [3, 4, 0]]
    assert plan.weight.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert not plan.flip.any()


@pytest.mark.parametrize(("n", "batch_size"), [(0, 4), (4, 0)])
def test_empty_is_refused(n: int, batch_size: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        eval_batches(n, batch_size)
