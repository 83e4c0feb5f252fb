import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.feature
from hypothesis import given, settings
from hypothesis import strategies as st

from bonemet_jax.channels import hog
from bonemet_jax.channels.oriented_gradients import compute_cell_histograms
from bonemet_jax.channels.reference import compute_hog_histogram

NORMS = ("L1", "L1-sqrt", "L2", "L2-Hys")
CELLS = {"orientations": 8, "pixels_per_cell": (16, 16), "cells_per_block": (1, 1)}
PAPER = CELLS | {"visualize": True}


EIGHT_DEVICES = """
import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from bonemet_jax.channels import hog
images = np.random.default_rng(0).integers(0, 256, (16, 32, 40), dtype=np.uint8)
for kind in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
    run = jax.jit(lambda x: hog(x, visualize=True))
    split = jax.device_put(images, NamedSharding(mesh, PartitionSpec("data")))
    text = run.lower(split).compile().as_text()
    assert not any(word in text for word in ("all-gather", "all-reduce", "all-to-all", "collective-permute"))
    for got, wanted in zip(run(split), run(images)):
        assert len(got.addressable_shards) == 8 and got.addressable_shards[0].data.shape[0] == 2
        assert np.array_equal(got, wanted)
"""


def _assert_close(got: np.ndarray, wanted: np.ndarray) -> None:
    """Within 1e-6 of the maximum."""
    got = np.asarray(got)
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max(initial=0) <= 1e-6 * max(np.abs(wanted).max(initial=0), 1e-30)


def _assert_equals_scikit_image(image: np.ndarray, mode: str, **options: object) -> None:
    wanted = skimage.feature.hog(image, visualize=True, **options)
    for got, true in zip(hog(image, visualize=True, mode=mode, **options), wanted, strict=True):
        _assert_close(got, true)


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.every_change
def test_scikit_image_on_random_pixels(mode: str, norm: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (67, 94), dtype=np.uint8)
    _assert_equals_scikit_image(image, mode, block_norm=norm)
    _assert_equals_scikit_image(image, mode, block_norm=norm, transform_sqrt=True, feature_vector=False)


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_flat_ramps_and_checkerboards(mode: str) -> None:
    rows, columns = np.mgrid[:64, :80]
    pictures = {
        "flat": np.full((64, 80), 7),
        "ramp down": 3 * rows,
        "ramp right": 3 * columns,
        "45 degrees": rows + columns,
        "135 degrees": 80 + rows - columns,
        "checkerboard": 255 * ((rows + columns) % 2),
        "squares": 255 * ((rows // 5 + columns // 7) % 2),
    }
    for image in pictures.values():
        _assert_equals_scikit_image(image.astype(np.uint8), mode, **CELLS)


def test_four_pixels_by_hand() -> None:
    """One cell of 4 x 4: inside, rows change by 2 and columns by 0, 2, -2; at the border only along it."""
    image = np.zeros((4, 4))
    image[2, 1] = image[1, 2] = 4
    # Border differences across it are 0: what is left is (row change, column change) of each pixel.
    #   (0,1): (0, 0) (0,2): (0, 0); (1,1): (4, 4) at 45 degrees; (1,2): (0, 0) as both neighbours are 0
    #   (2,2): (-4, -4) at 45 degrees; (1,0): (0, 0), (2,0): (0, 0), (1,3), (2,3), (3,1), (3,2): (0, 0)
    #   (0,0), (3,3) corners: (0, 0). Edges of two bins: 45 degrees lies in bin 45 to 90 of four.
    wanted = np.zeros(4)
    wanted[1] = 2 * np.hypot(4, 4) / 16
    got = compute_cell_histograms(image, 4, (4, 4))
    assert np.allclose(got[0, 0], wanted, rtol=1e-7)


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_scikit_image_on_drawn_arguments(data: st.DataObject) -> None:
    """Shapes, cells, blocks, bins, norms and whole-number types; both modes. Cells of any size, also odd and oblong."""
    cell = data.draw(st.tuples(st.integers(2, 9), st.integers(2, 9)), "cell")
    block = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)), "block")
    shape = [c * b + data.draw(st.integers(0, 20)) for c, b in zip(cell, block, strict=True)]
    kind = data.draw(st.sampled_from([np.uint8, np.int16, np.uint16]), "kind")
    seed = data.draw(st.integers(0, 2**32 - 1), "seed")
    image = np.random.default_rng(seed).integers(0, 256, shape).astype(kind)
    options = {
        "orientations": data.draw(st.integers(1, 12), "orientations"), "pixels_per_cell": cell,
        "cells_per_block": block, "block_norm": data.draw(st.sampled_from(NORMS), "norm"),
    }  # fmt: skip
    for mode in ("exact", "fast"):
        _assert_equals_scikit_image(image, mode, **options)


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (1, 1), (2, 2)])
def test_images_of_a_few_pixels(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    wanted = skimage.feature.hog(image, 8, (1, 1), (1, 1))
    _assert_close(hog(image, 8, (1, 1), (1, 1)), wanted)


def test_histograms_equal_those_behind_the_picture() -> None:
    image = np.random.default_rng(1).integers(0, 256, (64, 96), dtype=np.uint8)
    _assert_close(compute_cell_histograms(image, 8, (16, 16)), compute_hog_histogram(image))


@pytest.mark.every_change
def test_histograms_do_not_depend_on_the_batch() -> None:
    """Bit for bit, so that records do not change with the number of images a call takes; features neither."""
    images = np.random.default_rng(2).integers(0, 256, (8, 69, 90), dtype=np.uint8)
    calls = (lambda x: compute_cell_histograms(x, 8, (16, 16)), lambda x: hog(x, mode="fast"))
    for call in calls:
        whole = np.asarray(call(images))
        for size in (1, 3):
            parts = [np.asarray(call(images[i : i + size])) for i in range(0, 8, size)]
            assert np.array_equal(np.concatenate(parts), whole)


def test_batches_jit_and_vmap() -> None:
    images = np.random.default_rng(3).integers(0, 256, (2, 3, 40, 48), dtype=np.uint8)
    features, picture = jax.jit(lambda x: hog(x, **PAPER))(images)
    assert features.shape == (2, 3, 2 * 3 * 8) and picture.shape == images.shape and picture.dtype == jnp.float32
    for got, wanted in zip(jax.vmap(jax.vmap(lambda x: hog(x, **PAPER)))(images), (features, picture), strict=True):
        _assert_close(got, np.asarray(wanted))
    one, drawn = hog(images[1, 2], **PAPER)
    _assert_close(one, np.asarray(features[1, 2]))
    _assert_close(drawn, np.asarray(picture[1, 2]))


def _histograms_in_numpy(image: np.ndarray, n: int, size: int) -> np.ndarray:
    """Straight from the definition, in float64; scikit-image adds a cell up in float32."""
    rows, columns = np.zeros(image.shape), np.zeros(image.shape)
    rows[1:-1], columns[:, 1:-1] = image[2:] - image[:-2], image[:, 2:] - image[:, :-2]
    bins = (np.rad2deg(np.arctan2(rows, columns)) % 180 // (180 / n)).astype(int)
    cells = np.zeros((image.shape[0] // size, image.shape[1] // size, n))
    for r, c, o in np.ndindex(cells.shape):
        here = np.s_[r * size : (r + 1) * size, c * size : (c + 1) * size]
        cells[r, c, o] = np.hypot(rows, columns)[here][bins[here] == o].sum() / size**2
    return cells


@pytest.mark.every_change
def test_batch_stays_on_its_devices() -> None:
    """Eight devices, each its own images, no talk between them."""
    subprocess.run([sys.executable, "-c", EIGHT_DEVICES], check=True,
                   env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"})


def test_64_bit_processes_keep_64_bits() -> None:
    image = np.random.default_rng(4).integers(0, 256, (48, 48)).astype(float)
    wanted = _histograms_in_numpy(image, 8, 16)
    with jax.enable_x64(True):
        got = compute_cell_histograms(image, 8, (16, 16))
        assert got.dtype == np.float64
        assert np.allclose(got, wanted, rtol=1e-13)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.every_change
def test_gradient_equals_finite_differences(norm: str) -> None:
    """Of float images, away from the edges of bins; flat ground gives 0, never no number."""
    random = np.random.default_rng(5)
    with jax.enable_x64(True):
        image, weight = jnp.asarray(random.random((24, 32))), random.random(2 * 3 * 2 * 2 * 8)
        flat = image.at[:8, :16].set(0.5)

        def score(x: jax.Array) -> jax.Array:
            return (hog(x, 8, (8, 8), (2, 2), norm) * weight).sum()

        slope, direction = jax.grad(score)(image), random.normal(size=image.shape) * 1e-7
        change = score(image + direction) - score(image - direction)
        assert np.isclose(change, 2 * (slope * direction).sum(), rtol=1e-4)
        assert np.isfinite(jax.grad(score)(flat)).all()
        assert not np.asarray(jax.grad(score)(jnp.zeros((24, 32)))).any()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("takes_root", [False, True])
def test_gradients_in_32_bit_processes(mode: str, takes_root: bool) -> None:
    """Of features and picture, compiled or not; black pixels leave them finite."""
    image = jnp.asarray(np.random.default_rng(6).random((37, 45)), jnp.float32).at[:20, :20].set(0)
    options = PAPER | {"pixels_per_cell": (8, 8), "transform_sqrt": takes_root, "mode": mode}
    for part in (0, 1):

        def score(x: jax.Array, part: int = part) -> jax.Array:
            return (hog(x, **options)[part] ** 2).sum()

        slope = jax.grad(score)(image)
        assert slope.dtype == jnp.float32 and np.isfinite(slope).all() and np.asarray(slope).any()
        assert np.allclose(jax.jit(jax.grad(score))(image), slope, rtol=1e-3, atol=1e-6 * np.abs(slope).max())


def test_batches_of_nothing_and_lists() -> None:
    assert hog(np.zeros((0, 32, 32), np.uint8)).shape == (0, 324)
    image = np.random.default_rng(7).integers(0, 256, (32, 32))
    assert np.array_equal(hog(image.tolist()), hog(image))


@pytest.mark.parametrize("change, words", [
    ({"orientations": 0}, "orientations is 0"),
    ({"pixels_per_cell": (0, 8)}, "pixels_per_cell is (0, 8)"),
    ({"pixels_per_cell": 8}, "pixels_per_cell is 8, wanted two whole numbers"),
    ({"pixels_per_cell": (32, 32), "cells_per_block": (1, 1)}, "at least one cell of (32, 32)"),
    ({"cells_per_block": (3, 4)}, "30 x 30 pixels, a block of cells needs 24 x 32"),
    ({"block_norm": "L3"}, "block_norm is 'L3'"),
    ({"mode": "quick"}, "mode is 'quick'"),
    ({"pixels_per_cell": (1, 1), "visualize": True}, "at least 2 x 2"),
])  # fmt: skip
def test_arguments_are_checked(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(")", r"\)")):
        hog(np.zeros((30, 30), np.uint8), **change)
