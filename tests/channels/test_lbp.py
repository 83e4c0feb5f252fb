"""LBP beside scikit-image (mode exact) and beside whole numbers (mode fast)."""

import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import feature

from bonemet_jax.channels import local_binary_pattern
from bonemet_jax.channels.lbp import Method
from bonemet_jax.channels.window import window_ct
from data_pipelines.phantom import anatomy, render
from tests.channels.lbp_in_integers import compute_code, compute_margins

METHODS = get_args(Method)
CODES = ("default", "ror")


def _scikit_image(image: np.ndarray, P: int, R: float, method: str) -> np.ndarray:
    with warnings.catch_warnings():
        # It warns of small differences between floats; here they are the point.
        warnings.filterwarnings("ignore", "Applying `local_binary_pattern` to floating-point", UserWarning)
        return feature.local_binary_pattern(image, P, R, method)


def _assert_equal(image: np.ndarray, P: int = 24, R: float = 3, methods: tuple[str, ...] = METHODS) -> None:
    """Exact mode against scikit-image, each picture of a batch (any leading axes)."""
    for method in methods:
        got = np.asarray(local_binary_pattern(image, P, R, method))
        assert got.dtype == np.uint32 and got.shape == image.shape
        flat = image.reshape(-1, *image.shape[-2:])
        wanted = np.stack([_scikit_image(picture, P, R, method) for picture in flat]).reshape(image.shape)
        assert np.array_equal(got, wanted), f"{method}: {(got != wanted).mean():.3%} of the pixels differ"


# --- By hand --------------------------------------------------------------------------------------

RING = np.array([
    [0, 0, 0, 0, 0, 0],
    [0, 9, 9, 9, 9, 0],
    [0, 9, 5, 5, 9, 0],
    [0, 9, 5, 5, 9, 0],
    [0, 9, 9, 9, 9, 0],
    [0, 0, 0, 0, 0, 0],
], np.uint8)  # fmt: skip

#: Right 1, up 2, left 4, down 8; the outside is 0.
RING_CODE = np.array([
    [15, 15, 15, 15, 15, 15],
    [15,  9,  5,  5, 12, 15],
    [15, 10, 15, 15, 10, 15],
    [15, 10, 15, 15, 10, 15],
    [15,  3,  5,  5,  6, 15],
    [15, 15, 15, 15, 15, 15],
])  # fmt: skip

#: Corners have two neighbours in a row, sides two apart, and 10 reads 0101: three changes, though turned it is 5.
RING_NUMBER: dict[str, dict[int, int]] = {
    "default": {code: code for code in (3, 5, 6, 9, 10, 12, 15)},
    "ror": {3: 3, 5: 5, 6: 3, 9: 3, 10: 5, 12: 3, 15: 15},
    "uniform": {3: 2, 5: 5, 6: 2, 9: 2, 10: 5, 12: 2, 15: 4},
    "nri_uniform": {3: 5, 5: 14, 6: 8, 9: 6, 10: 14, 12: 7, 15: 13},
}


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("method", METHODS)
def test_ring_by_hand(method: Method, mode: str) -> None:
    wanted = np.vectorize(RING_NUMBER[method].get)(RING_CODE)
    assert np.array_equal(local_binary_pattern(RING, 4, 1, method, mode=mode), wanted)


# --- Exact mode -------------------------------------------------------------------------------------


def test_constants() -> None:
    """All 256, as bytes and as shares of 255, where float64's rounding at that very pixel makes patterns of nothing."""
    bytes_ = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None], (256, 24, 37))
    for image in (bytes_, bytes_ / 255):
        _assert_equal(image, methods=CODES)
        patterned = np.asarray(local_binary_pattern(image, 24, 3))[:, 3:-3, 3:-3] != 2**24 - 1
        print(f"lbp-constants: {image.dtype}, flat pixels to which scikit-image and exact both give a pattern: "
              f"{patterned.mean():.1%}")
    assert patterned.any()  # else the comparison would not know one rounding from another


def test_balanced_neighbours() -> None:
    """Few grey levels, many ties: on some float64's rounding decides, and whole numbers say otherwise."""
    image = np.random.default_rng(8).integers(0, 4, (1000, 1000)).astype(np.uint8)
    _assert_equal(image, 8, 1, ("default",))
    decided = compute_code(compute_margins(image, 8, 1)) != np.asarray(local_binary_pattern(image, 8, 1))
    print(f"lbp-balanced: rounding decides in {decided.mean():.2%} of the pixels, exact equal in all")
    assert decided.any()


def test_uint8() -> None:
    random = np.random.default_rng(0)
    _assert_equal(np.stack([random.integers(0, top, (96, 131)) for top in (2, 4, 32, 256)]).astype(np.uint8))


def test_checkerboards_and_ramps() -> None:
    rows, columns = np.mgrid[:96, :131]
    boards = [(rows // n + columns // n) % 2 * grey for n in (1, 2, 3, 5) for grey in (1, 200, 255)]
    ramps = [rows, columns, rows + columns, 255 - columns, 2 * rows - columns]
    _assert_equal(np.stack(boards + ramps).astype(np.uint8))


def test_phantoms() -> None:
    images = [
        window_ct(render.render_slice(np.random.default_rng(seed), (200, 250), 2.0, areas, 5.0).hu)
        for seed, areas in enumerate([anatomy.Areas(120, 60, 30), anatomy.Areas(200, 90, 35)])
    ]
    _assert_equal(np.stack(images))
    print(f"lbp-phantom: exact equal on {len(images)} phantoms, {len(METHODS)} methods")


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 40), (40, 1), (5, 5)])
@pytest.mark.parametrize("R", [1, 3, 50.5])
def test_smaller_than_the_circle(shape: tuple[int, int], R: float) -> None:
    _assert_equal(np.random.default_rng(1).integers(0, 9, shape).astype(np.uint8), 8, R)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_not_finite(dtype: type) -> None:
    """0 * infinity on whole offsets, infinity less infinity: no number, so no bit."""
    random = np.random.default_rng(2)
    image = random.normal(size=(40, 50)).astype(dtype)
    image.flat[random.choice(image.size, 90, replace=False)] = np.repeat([np.inf, -np.inf, np.nan], 30)
    _assert_equal(image, 8, 2)


@st.composite
def _images(draw: st.DrawFn) -> np.ndarray:
    dtype = np.dtype(draw(st.sampled_from(["uint8", "uint16", "int16", "int64", "float32", "float64", "bool"])))
    shape = draw(st.sampled_from([(7, 30), (2, 33, 8), (1, 2, 12, 19)]))
    spread = draw(st.sampled_from([2, 40, 5000]))
    values = np.random.default_rng(draw(st.integers(0, 99))).normal(0, spread, shape)
    if dtype.kind == "u":
        values = np.abs(values) % np.iinfo(dtype).max
    return (values if dtype.kind == "f" else np.rint(values)).astype(dtype)


points, radii = st.sampled_from([1, 2, 5, 8, 16, 31]), st.sampled_from([0.3, 1, 1.5, 2.3, 9])


@settings(deadline=None, max_examples=20)
@given(_images(), points, radii, st.sampled_from(METHODS))
def test_equals_scikit_image(image: np.ndarray, P: int, R: float, method: str) -> None:
    _assert_equal(image, P, R, (method,))


def test_many_points() -> None:
    """scikit-image's 32-bit codes are signed; beyond 32 points only the uniform methods have an answer."""
    image = np.random.default_rng(3).integers(0, 256, (20, 30)).astype(np.uint8)
    wanted = _scikit_image(image, 32, 2, "default").astype(np.int64) % 2**32
    assert np.array_equal(local_binary_pattern(image, 32, 2), wanted)
    least = [[min((v >> k | v << (32 - k)) % 2**32 for k in range(32)) for v in row] for row in wanted.tolist()]
    assert np.array_equal(local_binary_pattern(image, 32, 2, "ror"), least)
    _assert_equal(image, 40, 2, ("uniform", "nri_uniform"))


# --- Fast mode --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("P", "R"), [(24, 3), (8, 1), (16, 2.5)])
def test_fast_is_what_nothing_rounds(P: int, R: float, smooth_image: Callable[..., np.ndarray]) -> None:
    """uint8: equal to whole numbers but where a neighbour comes within float32's rounding of the pixel."""
    random = np.random.default_rng(4)
    images = [random.integers(0, top, (69, 89)).astype(np.uint8) for top in (1, 2, 4, 256)]
    for image in [*images, smooth_image(0), smooth_image(1) // 16]:
        margins = compute_margins(image, P, R)
        got = np.asarray(local_binary_pattern(image, P, R, mode="fast"))
        near = ((margins != 0) & (np.abs(margins) < 1e10 * 256 * 2e-7)).any(axis=0)
        assert np.array_equal(got[~near], compute_code(margins)[~near])
        assert near.mean() < 0.001


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_fast_sees_no_pattern_in_flat_pictures(dtype: type) -> None:
    image = np.full((256, 12, 13), np.arange(256).reshape(256, 1, 1)).astype(dtype)
    inner = np.asarray(local_binary_pattern(image, 24, 3, mode="fast"))[:, 3:-3, 3:-3]
    assert (inner == 2**24 - 1).all()


@pytest.mark.parametrize("method", METHODS)
def test_fast_methods_on_random_uint8(method: Method) -> None:
    image = np.random.default_rng(5).integers(0, 256, (96, 131)).astype(np.uint8)
    differ = np.asarray(local_binary_pattern(image, 24, 3, method, mode="fast")) != _scikit_image(image, 24, 3, method)
    assert differ.mean() <= 0.001


# --- Under JAX's transformations ------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_jit_vmap_and_batch_axes_agree(mode: str) -> None:
    image = np.random.default_rng(6).integers(0, 5, (2, 3, 20, 24)).astype(np.uint8)

    def compute(image: jax.Array) -> jax.Array:
        return local_binary_pattern(image, 24, 3, mode=mode)

    wanted = np.stack([[np.asarray(compute(picture)) for picture in row] for row in image])
    for transformed in (compute, jax.jit(compute), jax.vmap(compute), jax.jit(jax.vmap(jax.vmap(compute)))):
        got = transformed(jnp.asarray(image))
        assert got.dtype == jnp.uint32 and np.array_equal(got, wanted)


def test_exact_needs_no_switch_and_leaves_none() -> None:
    """float64 inside, while the process stays at 32 bits; so also inside a caller's own jit."""
    image = np.random.default_rng(7).integers(0, 5, (30, 40)).astype(np.uint8)

    @jax.jit
    def compute(image: jax.Array) -> tuple[jax.Array, jax.Array]:
        return local_binary_pattern(image, 24, 3), image * 0.5

    code, half = compute(image)
    assert np.array_equal(code, _scikit_image(image, 24, 3, "default"))
    assert half.dtype == jnp.float32 and jnp.asarray(1.0).dtype == jnp.float32


SHARDED = """
import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from bonemet_jax.channels import local_binary_pattern
jax.config.update("jax_num_cpu_devices", 4)
mesh = jax.make_mesh((4,), ("batch",), axis_types=(AxisType.Auto,))
over = NamedSharding(mesh, PartitionSpec("batch"))
image = np.random.default_rng(0).integers(0, 5, (8, 30, 40)).astype(np.uint8)
for mode in ("exact", "fast"):
    compute = jax.jit(lambda x: local_binary_pattern(x, 24, 3, mode=mode))
    sharded = jax.device_put(image, over)
    text = compute.lower(sharded).compile().as_text()
    assert not any(word in text for word in ("all-gather", "all-reduce", "all-to-all", "collective-permute")), text
    code = compute(sharded)
    assert code.sharding.is_equivalent_to(over, 3), code.sharding
    np.testing.assert_array_equal(code, local_binary_pattern(image, 24, 3, mode=mode))
"""


def test_sharded_over_the_batch() -> None:
    """Four devices, each its own pictures: no communication, the same codes."""
    subprocess.run([sys.executable, "-c", SHARDED], check=True, timeout=240)


# --- Refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "message"), [
    ({"P": 33}, "P is 33 with method 'default', wanted P <= 32"),
    ({"P": 40, "method": "ror"}, "P is 40 with method 'ror', wanted P <= 32"),
    ({"P": 0}, "P is 0, wanted 1 <= P <= 4096"),
    ({"R": 0}, "R is 0, wanted 0 < R <= 1e[+]300"),
    ({"R": float("nan")}, "R is nan"),
    ({"R": 1e308}, "R is 1e[+]308"),
    ({"R": 10**400}, "R is 1000"),
    ({"P": 10**400}, "P is 1000"),
    ({"method": "var"}, "method is 'var', wanted one of default, ror"),
    ({"mode": "quick"}, "mode is 'quick', wanted one of exact, fast"),
    ({"image": np.zeros(5)}, r"image has shape \(5,\), wanted \(..., height, width\)"),
])  # fmt: skip
def test_refused(change: dict, message: str) -> None:
    arguments = {"image": np.zeros((5, 5)), "P": 24, "R": 3} | change
    with pytest.raises(ValueError, match=message):
        local_binary_pattern(**arguments)


def test_strict_rank_promotion() -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, 9, 11), dtype=np.uint8)
    wanted = local_binary_pattern(image, 8, 1)
    with jax.numpy_rank_promotion("raise"):
        assert np.array_equal(jax.jit(lambda x: local_binary_pattern(x, 8, 1))(image), wanted)
