"""Compare the device with the CPU: channels with scikit-image's, a float64 step with saved numbers.

    python -m benchmarks.on_device.exact --write    save the CPU's numbers anew
"""

import importlib.util
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from bonemet_jax import artifacts, schema
from bonemet_jax.channels import hog, local_binary_pattern
from bonemet_jax.channels.reference import compute_hog_picture, compute_lbp
from bonemet_jax.config import EngineConfig, ModelConfig
from bonemet_jax.models.initial import make_variables
from bonemet_jax.models.lowering import Lowering
from bonemet_jax.models.resnet import make_model
from bonemet_jax.train.platform import choose_lowering
from bonemet_jax.train.step import compute_loss

EXPECTED = Path(__file__).with_name("expected.json")
#: A float64 step may differ from the CPU's by this share of each tensor's norm.
TOLERANCE = 1e-8
#: HOG may differ by this share of its largest value.
HOG_TOLERANCE = 1e-6
_NETWORK, _SIZE = "resnet50", (2, 64, 80)


def check_channels() -> dict[str, Any]:
    """Exact LBP and HOG of eight images on the device, compared with the CPU's and, if installed, scikit-image's."""
    images = _make_images()
    codes = np.asarray(local_binary_pattern(images, schema.LBP_POINTS, schema.LBP_RADIUS))
    cell = (schema.HOG_CELL, schema.HOG_CELL)
    picture = np.asarray(hog(images, schema.HOG_ORIENTATIONS, cell, (1, 1), visualize=True, feature_vector=False)[1])
    expected = artifacts.load_json(EXPECTED)["channels"]
    found: dict[str, Any] = {
        "lbp_equal_to_cpu": _digest(codes) == expected["lbp"],
        "hog_difference_from_cpu": abs(float(np.abs(picture).sum()) / expected["hog_sum"] - 1),
    }
    passed = found["lbp_equal_to_cpu"] and found["hog_difference_from_cpu"] < HOG_TOLERANCE
    if importlib.util.find_spec("skimage") is not None:
        theirs = np.stack([compute_hog_picture(image) for image in images])
        found |= {
            "lbp_mismatched_pixels": sum(
                int((compute_lbp(image) != code).sum()) for image, code in zip(images, codes, strict=True)),
            "hog_difference_from_skimage": float(np.abs(picture - theirs).max() / np.abs(theirs).max()),
        }
        passed &= not found["lbp_mismatched_pixels"] and found["hog_difference_from_skimage"] < HOG_TOLERANCE
    return found | {"passed": bool(passed), "images": list(images.shape)}


def check_parity() -> dict[str, Any]:
    """A float64 step, plain and lean normalisations: loss, logits, gradients, statistics, compared with the CPU's."""
    expected = artifacts.load_json(EXPECTED)["step"]
    found: dict[str, Any] = {"network": _NETWORK, "shape": list(_SIZE)}
    for name, lowering in _lowerings().items():
        numbers = compute_step(lowering)
        worst = max(numbers, key=lambda key: _difference(numbers[key], expected[key]))
        found[name] = {"worst": worst, "difference": _difference(numbers[worst], expected[worst])}
    return found | {"passed": all(found[name]["difference"] < TOLERANCE for name in _lowerings())}


def compute_step(lowering: Lowering) -> dict[str, list[float]]:
    """Numbers that stand for every tensor of one float64 training step: its norm, and its product with a fixed one."""
    with jax.enable_x64(True):
        model = make_model(ModelConfig(network=_NETWORK), lowering, dtype=jnp.dtype(np.float64))  # type: ignore[arg-type]
        variables = jax.tree.map(lambda x: jnp.asarray(x, np.float64), make_variables(model, 0, 0))
        random = np.random.Generator(np.random.Philox(1))
        n, height, width = _SIZE
        x = random.uniform(-1, 1, (n, height, width, 4))
        x[..., 3] = np.where(x[..., 3] < 0, -0.5, 0.5)

        def loss(params: Any) -> Any:
            out, new = model.apply({**variables, "params": params}, x, jnp.ones(n), train=True, mutable=["batch_stats"])
            mean = compute_loss(out.logits, jnp.arange(n) % 2, jnp.ones(2)).mean()
            return mean, (out.logits, new["batch_stats"])

        (mean, (logits, stats)), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
        flat = traverse_util.flatten_dict({"gradient": grads, "statistics": stats}, sep="/")
        tensors = {"loss": mean, "logits": logits} | flat
        return {name: _condense(np.asarray(value)) for name, value in tensors.items()}


def _condense(value: np.ndarray) -> list[float]:
    flat = value.ravel()
    fixed = np.cos(np.arange(flat.size) * 0.7)
    return [float(np.linalg.norm(flat)), float(flat @ fixed)]


def _difference(found: list[float], expected: list[float]) -> float:
    """Over the tensor's norm."""
    return max(abs(a - b) for a, b in zip(found, expected, strict=True)) / max(expected[0], 1e-30)


def _lowerings() -> dict[str, Lowering]:
    """As the CPU would compute it without its own shortcuts, and as accelerators do."""
    engine = EngineConfig()
    plain = choose_lowering("gpu", EngineConfig(normalise="plain"))
    return {"plain": plain, "lean": choose_lowering("gpu", engine)}


def _make_images() -> np.ndarray:
    """Eight uint8 images with flat areas, edges and noise: ties and bin edges come often."""
    random = np.random.Generator(np.random.Philox(0))
    images = random.integers(0, 256, (8, 160, 200))
    images[:4] = images[:4] // 64 * 64
    images[::2, 40:90, 50:120] = 128
    return images.astype(np.uint8)


def _digest(codes: np.ndarray) -> str:
    return sha256(np.ascontiguousarray(codes.astype("<u4")).tobytes()).hexdigest()


def write_expected() -> None:
    """Save this machine's numbers; to be done on a CPU."""
    images = _make_images()
    picture = np.stack([compute_hog_picture(image) for image in images])
    codes = np.stack([compute_lbp(image) for image in images])
    artifacts.write_json(EXPECTED, {
        "channels": {"lbp": _digest(codes), "hog_sum": float(np.abs(picture).sum())},
        "step": compute_step(_lowerings()["plain"]),
    })


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    write_expected()
