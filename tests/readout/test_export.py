"""`bonemet export`: weights equal to the bit, and a program that any process with jax alone can call."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from jax import export
from safetensors import safe_open
from safetensors.numpy import load_file

from bonemet_jax import artifacts, schema
from bonemet_jax.channels.hog_picture import render_hog
from bonemet_jax.channels.stack import make_channels
from bonemet_jax.cli import main
from bonemet_jax.config import Config, MaskBiasConfig, ModelConfig, to_dict
from bonemet_jax.input_pipeline.records import RecordArrays
from bonemet_jax.models.initial import make_variables as draw_variables
from bonemet_jax.models.pretrained import convert_tensors
from bonemet_jax.models.resnet import make_model
from bonemet_jax.readout import embeddings
from bonemet_jax.readout.embeddings import load_state
from bonemet_jax.readout.export import NORMALISATION
from bonemet_jax.readout.named_weights import make_variables, name_tensors
from bonemet_jax.readout.scoring_program import array_shapes, export_program, weight_shapes
from bonemet_jax.study.run import Run
from bonemet_jax.study.stages import BY_NAME
from bonemet_jax.train.loop import get_fed_engine
from bonemet_jax.train.state import params_sha256
from tests.study.stamped import stamp_stages
from tests.train.small import CONFIG

pytestmark = pytest.mark.every_change

ROOT = Path(__file__).parents[2]
EXAMPLE = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "export.md").read_text(), re.S | re.M)
#: Another lowering of the same sums: float32 rounding through the network.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def finish_run(directory: Path) -> None:
    """Stamp the trained folds as a finished run of the small config."""
    artifacts.write_json(directory / "config.json", {"config": to_dict(CONFIG), "fingerprint": CONFIG.fingerprint})
    run = Run(directory, CONFIG)
    stamp_stages(run, ["fuse"], {name: BY_NAME[name].outputs(run) for name in ("cv", "embed")})


@pytest.fixture(scope="module")
def finished(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small run, finished; read only."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    shutil.copytree(run_dir, directory)
    finish_run(directory)
    return directory


@pytest.fixture(scope="module")
def exported(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes of it; read only."""
    out = tmp_path_factory.mktemp("out") / "exported"
    assert main(["export", str(finished), "-o", str(out)]) == 0
    return out


def pick_arrays(records: RecordArrays, config: Config = CONFIG) -> dict[str, np.ndarray]:
    """The program's arrays of all records."""
    stored = {"ct": records.ct, "lbp": records.lbp, "hog": records.hog[:, 0], "mask": records.mask}
    return {name: stored[name] for name in array_shapes(config)}


@pytest.mark.parametrize("fold", [0, 1])
def test_weights_are_the_run_s_to_the_bit(
    exported: Path, finished: Path, records: RecordArrays, fold: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with them the embeddings, computed as the run computes them."""
    state = load_state(CONFIG, finished, fold, get_fed_engine(records, CONFIG).engine.state_template())
    file = exported / f"fold_{fold}" / "model.safetensors"
    read = make_variables(load_file(file), make_model(CONFIG.model))
    with safe_open(file, "np") as opened:
        facts = json.loads(opened.metadata()["facts"])
    assert params_sha256(read) == params_sha256(state.variables) == facts["params_sha256"]
    assert jax.tree.structure(read) == jax.tree.structure(state.variables)
    assert facts["params_sha256"] == artifacts.load_json(finished / f"fold_{fold}" / "done.json")["params_sha256"]
    assert (facts["network"], facts["fold"], facts["fingerprint"]) == ("tiny", fold, CONFIG.fingerprint)
    monkeypatch.setattr(embeddings, "load_state", lambda *_: state._replace(
        params=read["params"], batch_stats=read["batch_stats"]))
    found, wanted = embeddings.embed(records, CONFIG, finished, [fold]), artifacts.load_npz(finished / "embeddings.npz")
    np.testing.assert_array_equal(found[0][0], wanted["embedding"][fold])
    np.testing.assert_array_equal(found[1][0], wanted["score"][fold])


def test_example_of_the_docs_in_a_process_without_this_package(
    exported: Path, finished: Path, records: RecordArrays, tmp_path: Path
) -> None:
    """Nothing but jax, numpy and safetensors is imported, and the run's own embeddings come out."""
    shutil.copytree(exported, tmp_path / "exported")
    np.savez(tmp_path / "slices.npz", **pick_arrays(records))
    (code,) = EXAMPLE
    code += ("\nnp.savez('results.npz', **results)\nimport sys\n"
             "foreign = {'bonemet_jax', 'data_pipelines', 'flax', 'orbax', 'tensorflow'} & set(sys.modules)\n"
             "assert not foreign, foreign\n")
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, wanted = artifacts.load_npz(tmp_path / "results.npz"), artifacts.load_npz(finished / "embeddings.npz")
    np.testing.assert_allclose(found["embedding"], wanted["embedding"][0], **CLOSE)
    np.testing.assert_allclose(found["score"], wanted["score"][0], **CLOSE)
    assert not np.allclose(found["score"], wanted["score"][1], **CLOSE), "another fold's network would be seen"
    logits = found["logits"]
    assert logits.shape == (24, 1, 2)
    np.testing.assert_allclose(1 / (1 + np.exp(logits[:, 0, 0] - logits[:, 0, 1])), found["score"], **CLOSE)


def test_the_weights_alone_in_pytorch(exported: Path, finished: Path, records: RecordArrays) -> None:
    """Loaded by their names into PyTorch's own layers, with the mask bias written there: the run's embeddings."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (make peers)")
    from safetensors.torch import load_file as load_torch

    from benchmarks.peers.torch_resnet import ResNet

    network = ResNet("tiny", 4, bias_stages=(1, 2)).eval()
    missing = network.load_state_dict(load_torch(exported / "fold_0" / "model.safetensors"), strict=False)
    assert not missing.unexpected_keys and all("num_batches" in name for name in missing.missing_keys)
    x = make_channels(records.ct, records.lbp, records.hog, records.mask, jnp.zeros((24, 2), bool))
    with torch.no_grad():
        found = network.features(network.pooled(torch.tensor(np.moveaxis(x, 3, 1)))).numpy()
    np.testing.assert_allclose(found, artifacts.load_npz(finished / "embeddings.npz")["embedding"][0], **CLOSE)


def test_any_number_of_patients_and_a_wrong_shape(exported: Path, finished: Path, records: RecordArrays) -> None:
    program = export.deserialize((exported / "model.stablehlo").read_bytes())
    assert program.platforms == ("cpu", "cuda", "tpu")
    weights, arrays = load_file(exported / "fold_1" / "model.safetensors"), pick_arrays(records)
    wanted = artifacts.load_npz(finished / "embeddings.npz")["embedding"][1]
    for n in (1, 5):
        found = program.call(weights, {name: x[:n] for name, x in arrays.items()})
        np.testing.assert_allclose(found["embedding"], wanted[:n], **CLOSE)
    with pytest.raises(ValueError, match="shape"):
        program.call(weights, arrays | {"ct": arrays["ct"][:, :32]})


def test_manifest_says_what_the_program_takes(exported: Path) -> None:
    facts = artifacts.check_manifest(exported)["facts"]
    assert (facts["kind"], facts["format"], facts["folds"], facts["channels"]) == (
        "export", 1, [0, 1], list(schema.CHANNELS))
    assert facts["program"]["inputs"] == [
        {"name": "ct", "shape": ["batch", 64, 80], "dtype": "uint8"},
        {"name": "hog", "shape": ["batch", 4, 5, 8], "dtype": "float32"},
        {"name": "lbp", "shape": ["batch", 64, 80, 3], "dtype": "uint8"},
        {"name": "mask", "shape": ["batch", 64, 80], "dtype": "uint8"},
    ]
    assert [out["name"] for out in facts["program"]["outputs"]] == ["embedding", "logits", "score"]
    assert facts["program"]["calling_convention_version"] >= 10 and facts["versions"]["jax"] == jax.__version__
    names = set(load_file(exported / "fold_0" / "model.safetensors"))
    assert facts["program"]["n_weights"] == len(names)
    assert names >= {"conv1.weight", "bn1.running_mean", "layer2.0.downsample.0.weight", "features.weight",
                     "classes.bias"}


def test_normalisation_in_the_manifest_is_that_of_the_network(records: RecordArrays) -> None:
    """From stored values to channels, by the numbers in the manifest."""
    ones = jnp.zeros((24, 2), bool)
    made = make_channels(records.ct, records.lbp, records.hog, records.mask, ones, schema.CHANNELS, "none")
    code = (records.lbp.astype(np.int64) << np.array([16, 8, 0])).sum(-1)
    picture = render_hog(jnp.asarray(records.hog[:, 0]), *records.ct.shape[1:])
    stored = {"ct": records.ct, "lbp": code, "hog": picture, "mask": records.mask}
    for channel, name in enumerate(schema.CHANNELS):
        rule = NORMALISATION[name]
        wanted = stored[name] * rule["scale"] + rule["offset"]
        wanted = np.clip(wanted, -1, 1) if rule["clip"] else wanted
        np.testing.assert_allclose(made[..., channel], wanted, atol=1e-6)


def test_files_are_the_same_each_time_and_name_no_path(exported: Path, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    for _ in range(2):  # the second replaces the first
        assert main(["export", str(finished), "-o", str(out), "--fold", "1"]) == 0
    for name in ("model.stablehlo", "fold_1/model.safetensors"):
        assert (out / name).read_bytes() == (exported / name).read_bytes()
    assert not (out / "fold_0").exists()
    content = b"".join(file.read_bytes() for file in artifacts.list_files(out))
    assert b".py" not in content and str(ROOT).encode() not in content and str(tmp_path).encode() not in content


@pytest.mark.parametrize(("flags", "told"), [
    (["--fold", "2"], "bonemet: --fold is 2; the run has folds 0 to 1\n"),
    (["--batch", "0"], "bonemet: --batch is 0; use a whole number from 1, or symbolic\n"),
    (["--batch", "many"], "--batch"),
])
def test_flags_out_of_range(
    finished: Path, tmp_path: Path, flags: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(finished), "-o", str(tmp_path / "out"), *flags]) == 2
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1 and not (tmp_path / "out").exists()


def test_folders_that_will_not_do(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No run, one that is not finished, an output of someone else: exit 2; damaged: 4. Nothing is touched."""
    other, unfinished = tmp_path / "other", tmp_path / "unfinished"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    shutil.copytree(finished, unfinished)
    (unfinished / "stages" / "fuse.json").unlink()
    damaged = tmp_path / "damaged"
    shutil.copytree(finished, damaged)
    file = next(f for f in (damaged / "fold_1" / "checkpoints" / "4").rglob("*") if f.is_file())
    file.write_bytes(file.read_bytes() + b"x")
    out = tmp_path / "out"
    for run, target, code, told in (
        (other, out, 2, "holds no config.json"), (unfinished, out, 2, "stage 'fuse' is not done"),
        (damaged, out, 4, f"changed since it was written (sha256); {file}"),
        (finished, other, 2, "is not an earlier output of this verb"),
        (finished, finished / "export", 2, "in an input"),
    ):
        assert main(["export", str(run), "-o", str(target)]) == code
        said = capsys.readouterr().err
        assert told in said and said.count("\n") == 1
    assert not out.exists() and [f.name for f in other.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("change", ["on_device", "per_channel", "bfloat16", "pooled"])
@pytest.mark.every_change
def test_every_kind_of_network_is_exported(records: RecordArrays, change: str) -> None:
    """The program as it is read back against the model as it stands, on weights drawn."""
    model, plain = CONFIG.model, MaskBiasConfig(enabled=False)
    config = {
        "on_device": replace(CONFIG, input=replace(CONFIG.input, channels="on_device")),
        "per_channel": replace(CONFIG, model=replace(model, branches="per_channel", mask_bias=plain)),
        "bfloat16": replace(CONFIG, model=replace(model, compute_dtype="bfloat16")),
        "pooled": replace(CONFIG, model=ModelConfig("tiny", ("ct",), mask_bias=plain, embedding="pooled")),
    }[change]
    network = make_model(config.model)
    variables = draw_variables(network, seed=0, fold=0)
    weights, arrays = name_tensors(variables, network), pick_arrays(records, config)
    arrays = {name: x[:2] for name, x in arrays.items()}
    found = export.deserialize(export_program(config).serialize()).call(weights, arrays)
    stored = {name: getattr(records, name)[:2] if name in arrays else None for name in schema.CHANNELS}

    @jax.jit
    def apply(variables: Any, stored: Any) -> Any:
        x = make_channels(**stored, flip=jnp.zeros((2, 2), bool), channels=config.model.channels)
        return network.apply(variables, x, jnp.ones(2))

    out = apply(variables, stored)
    close = {"rtol": 0.05, "atol": 0.05} if change == "bfloat16" else CLOSE
    np.testing.assert_allclose(found["logits"], np.moveaxis(out.logits, 0, 1), **close)
    wanted = out.pooled if change == "pooled" else out.features
    np.testing.assert_allclose(found["embedding"], np.concatenate(list(wanted), axis=-1), **close)
    assert {name: x.shape for name, x in weights.items()} == {
        name: x.shape for name, x in weight_shapes(config).items()}
    if change == "on_device":
        assert set(arrays) == {"ct", "mask"}
    if change == "per_channel":
        assert "hog.layer1.0.conv1.weight" in weights and found["logits"].shape == (2, 4, 2)


def test_a_fixed_number_of_patients(records: RecordArrays) -> None:
    program = export_program(CONFIG, batch=2)
    assert {x.shape[0] for x in program.in_avals[-4:]} == {2}
    with pytest.raises(ValueError, match="shape"):
        jax.eval_shape(program.call, weight_shapes(CONFIG), {n: x[:3] for n, x in pick_arrays(records).items()})


@pytest.mark.parametrize("network", ["resnet34", "resnet50"])
def test_names_and_layouts_are_those_that_the_import_of_torch_s_weights_reads(network: str) -> None:
    model = make_model(ModelConfig(network=network))
    variables = draw_variables(model, seed=0, fold=0)
    tensors = name_tensors(variables, model)
    head = {"features.weight": (16, 512 if network == "resnet34" else 2048), "features.bias": (16,),
            "classes.weight": (2, 16), "classes.bias": (2,)}
    assert {name: tensors[name].shape for name in head} == head
    found, trunk = convert_tensors({n: x for n, x in tensors.items() if n not in head}, "", stem_channels=(4,))
    drawn = traverse_util.flatten_dict(variables, sep="/")
    assert found == network
    for path, x in trunk.items():
        np.testing.assert_array_equal(x, drawn[path.replace("/", "/net/", 1)])
