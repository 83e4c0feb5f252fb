"""Weights by torchvision's names: mapped one to one, the stem by its rule, all faults told at once."""

from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest

from bonemet_jax import artifacts
from bonemet_jax.config import MaskBiasConfig, ModelConfig
from bonemet_jax.errors import CorruptFileError, InputDataError, UsageError
from bonemet_jax.models.initial import make_variables
from bonemet_jax.models.lowering import Lowering
from bonemet_jax.models.pretrained import STEM, apply_weights, convert_tensors, import_weights, weights_sha256
from bonemet_jax.models.resnet import DEPTHS, Depth, make_model
from bonemet_jax.models.stacking import unstack_blocks
from tests.models import torch_files

OFF = MaskBiasConfig(enabled=False)
TINY = make_model(ModelConfig(network="tiny"))


def make_tensors(seed: int = 0, chan_in: int = 3) -> dict[str, np.ndarray]:
    """What torchvision would call the weights of `tiny`: one basic block in each of two stages."""
    random = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (16, chan_in, 7, 7), "fc.weight": (9, 16), "fc.bias": (9,)}
    norms = {"bn1": 16}
    for stage, before, width in ((1, 16, 8), (2, 8, 16)):
        block = f"layer{stage}.0"
        shapes |= {f"{block}.conv1.weight": (width, before, 3, 3), f"{block}.conv2.weight": (width, width, 3, 3),
                   f"{block}.downsample.0.weight": (width, before, 1, 1)}  # fmt: skip
        norms |= {f"{block}.bn1": width, f"{block}.bn2": width, f"{block}.downsample.1": width}
    for norm, chan in norms.items():
        shapes |= {f"{norm}.{name}": (chan,) for name in ("weight", "bias", "running_mean", "running_var")}
    tensors = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return tensors | {f"{norm}.num_batches_tracked": np.array(5, np.int64) for norm in norms}


def import_tensors(tensors: dict[str, np.ndarray], folder: Path) -> Path:
    source, out = folder / "source.npz", folder / "weights.npz"
    np.savez(source, **tensors)
    import_weights(source, out)
    return out


def test_every_tensor_lands_in_its_place(tmp_path: Path) -> None:
    tensors = make_tensors()
    drawn = make_variables(TINY, 3, 0)
    got = apply_weights(drawn, import_tensors(tensors, tmp_path), TINY)
    params, stats = got["params"]["net"], got["batch_stats"]["net"]
    block = params["layer2_0"]
    np.testing.assert_array_equal(block["conv1"]["kernel"].transpose(3, 2, 0, 1), tensors["layer2.0.conv1.weight"])
    np.testing.assert_array_equal(block["bn2"]["scale"], tensors["layer2.0.bn2.weight"])
    np.testing.assert_array_equal(block["bn2"]["bias"], tensors["layer2.0.bn2.bias"])
    np.testing.assert_array_equal(
        block["downsample_conv"]["kernel"].transpose(3, 2, 0, 1), tensors["layer2.0.downsample.0.weight"])
    var = stats["layer1_0"]["downsample_bn"]["var"]
    np.testing.assert_array_equal(var, tensors["layer1.0.downsample.1.running_var"])
    np.testing.assert_array_equal(stats["bn1"]["mean"], tensors["bn1.running_mean"])
    for head in ("features", "classes"):
        np.testing.assert_array_equal(params[head]["kernel"], drawn["params"]["net"][head]["kernel"])
    assert jax.tree.structure(got) == jax.tree.structure(drawn)
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), got, drawn)
    assert sum(jax.tree.leaves(changed)) == len(tensors) - 2 - 7  # the source's classes, seven counts of batches


@pytest.mark.parametrize("channels", [("ct", "lbp", "hog", "mask"), ("ct", "hog"), ("ct",)])
def test_one_picture_in_all_channels_gives_the_sources_grey_response(channels: Any, tmp_path: Path) -> None:
    config = ModelConfig(network="tiny", channels=channels, mask_bias=OFF)
    tensors = make_tensors()
    model = make_model(config)
    variables = apply_weights(make_variables(model, 0, 0), import_tensors(tensors, tmp_path), model)
    kernel = variables["params"]["net"]["conv1"]["kernel"]
    assert kernel.shape[2] == len(channels)
    np.testing.assert_allclose(kernel.sum(2), tensors["conv1.weight"].sum(1).transpose(1, 2, 0), atol=1e-5)
    np.testing.assert_array_equal(kernel, np.broadcast_to(kernel[:, :, :1], kernel.shape))


def test_each_branch_of_the_released_code_gets_the_sum_over_colours(tmp_path: Path) -> None:
    config = ModelConfig(network="tiny", channels=("ct", "lbp", "hog"), branches="per_channel", mask_bias=OFF)
    tensors = make_tensors()
    model = make_model(config)
    got = apply_weights(make_variables(model, 0, 0), import_tensors(tensors, tmp_path), model)["params"]
    for branch in config.channels:
        want = tensors["conv1.weight"].sum(1, keepdims=True).transpose(2, 3, 1, 0)
        np.testing.assert_allclose(got[branch]["conv1"]["kernel"], want, atol=1e-5)
    assert not np.array_equal(got["ct"]["features"]["kernel"], got["lbp"]["features"]["kernel"])


def test_grey_source_and_prefixes_and_low_precision(tmp_path: Path) -> None:
    tensors = {name: x.astype(ml_dtypes.bfloat16) if x.dtype == np.float32 else x
               for name, x in make_tensors(chan_in=1).items()}
    torch_files.save_tensors(tmp_path / "a.pth", {f"state_dict.module.{name}": x for name, x in tensors.items()})
    facts = import_weights(tmp_path / "a.pth", tmp_path / "a.npz")
    assert (facts["network"], facts["source"]) == ("tiny", "a.pth")
    assert facts["source_sha256"] == artifacts.sha256_file(tmp_path / "a.pth")
    assert facts["dropped"][:3] == ["bn1.num_batches_tracked", "fc.bias", "fc.weight"] and len(facts["dropped"]) == 9
    got = artifacts.load_npz(tmp_path / "a.npz")[STEM]
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got.transpose(3, 2, 0, 1), tensors["conv1.weight"].astype(np.float32))


def test_all_faults_are_told_at_once() -> None:
    tensors = make_tensors()
    del tensors["layer1.0.bn2.bias"], tensors["layer2.0.downsample.0.weight"]
    tensors["layer1.0.conv3.bias"] = np.zeros(3, np.float32)
    tensors["module.bn1.bias"] = tensors["bn1.bias"]
    tensors["layer2.0.conv2.weight"] = tensors["layer2.0.conv2.weight"][..., :1]
    tensors["bn1.weight"] = np.arange(16)
    tensors["bn1.running_var"][3] = np.nan
    with pytest.raises(InputDataError) as caught:
        convert_tensors(tensors, "a.pth")
    told = str(caught.value)
    assert "\n" not in told and caught.value.exit_code == 8
    for part in ("2 missing: layer1.0.bn2.bias, layer2.0.downsample.0.weight", "1 unexpected: layer1.0.conv3.bias",
                 "1 given twice: bn1.bias",
                 "1 of another shape: layer2.0.conv2.weight (16, 16, 3, 1) for (16, 16, 3, 3)",
                 "1 not of floats: bn1.weight int64", "1 not finite: bn1.running_var", "a.pth"):
        assert part in told, told


def test_long_lists_are_counted_and_cut() -> None:
    tensors = make_tensors() | {f"extra.{i}": np.zeros(1, np.float32) for i in range(500)}
    with pytest.raises(InputDataError, match=r"500 unexpected: .* and 492 more"):
        convert_tensors(tensors, "a.pth")


@pytest.mark.parametrize("chan_in", [2, 4, 5])
def test_stem_of_other_channels_is_refused(chan_in: int) -> None:
    with pytest.raises(InputDataError, match=rf"conv1.weight \(16, {chan_in}, 7, 7\) for \(16, 3, 7, 7\)"):
        convert_tensors(make_tensors(chan_in=chan_in), "a.pth")


def test_other_networks_are_refused_with_what_there_is() -> None:
    for tensors in ({}, {"x": np.zeros(2)}, make_tensors() | {"layer3.0.conv1.weight": np.zeros(2)}):
        with pytest.raises(InputDataError, match=r"no network of ours: basic blocks a stage .*resnet101"):
            convert_tensors(tensors, "a.pth")


def test_weights_too_large_for_float32_are_refused(tmp_path: Path) -> None:
    tensors = {name: x.astype(np.float64) for name, x in make_tensors().items()}
    tensors["bn1.weight"][0] = 1e300
    with pytest.raises(InputDataError, match=r"1 too large for float32: bn1.weight"):
        import_tensors(tensors, tmp_path)


def test_networks_that_scan_equal_blocks_get_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEPTHS, "tiny", Depth((3, 1), (8, 16), 16))
    tensors = make_tensors()
    second = {name.replace("layer1.0", "layer1.1"): x for name, x in make_tensors(1).items() if "layer1.0" in name}
    for name in [name for name in second if "downsample" in name]:
        del second[name]
    second["layer1.1.conv1.weight"] = second["layer1.1.conv1.weight"][:, :8]
    tensors |= second | {name.replace("layer1.1", "layer1.2"): x + 1 for name, x in second.items()}
    out = import_tensors(tensors, tmp_path)
    scanning = make_model(TINY.config, Lowering(scan_blocks=True))
    stacked = apply_weights(make_variables(scanning, 0, 0), out, scanning)
    want = apply_weights(make_variables(TINY, 0, 0), out, TINY)
    assert "layer1_rest" in stacked["params"]["net"]
    got = unstack_blocks(stacked, scanning)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, got, want)))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    out, model = import_tensors(make_tensors(), tmp_path), make_model(ModelConfig(network="resnet34"))
    with pytest.raises(UsageError, match=r"weights of tiny for model.network resnet34; .*set model.network tiny"):
        apply_weights({}, out, model)


def test_changed_or_foreign_files_are_refused(tmp_path: Path) -> None:
    out = import_tensors(make_tensors(), tmp_path)
    arrays = artifacts.load_npz(out)
    drawn = make_variables(TINY, 0, 0)
    artifacts.save_npz(out, arrays | {STEM: arrays[STEM] + 1})
    with pytest.raises(CorruptFileError, match="differ from their sha256"):
        apply_weights(drawn, out, TINY)
    for facts in (np.array("{}"), np.array("no json"), np.array("[1]")):
        artifacts.save_npz(out, arrays | {"facts": facts})
        with pytest.raises(CorruptFileError, match="not a file of `bonemet weights import`"):
            weights_sha256(out)
    with pytest.raises(CorruptFileError, match="not a file of"):
        apply_weights(drawn, tmp_path / "source.npz", TINY)


def test_sha256_is_of_the_weights_alone(tmp_path: Path) -> None:
    one = import_tensors(make_tensors(), tmp_path)
    first = weights_sha256(one)
    torch_files.save_tensors(tmp_path / "same.pth", make_tensors())
    import_weights(tmp_path / "same.pth", tmp_path / "same.npz")
    assert weights_sha256(tmp_path / "same.npz") == first
    assert weights_sha256(import_tensors(make_tensors(seed=1), tmp_path)) != first


def test_output_is_an_npz(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"name it OUT\.npz"):
        import_weights(tmp_path / "a.pth", tmp_path / "a.pth")
