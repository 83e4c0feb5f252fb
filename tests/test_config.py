"""Configs: frozen, checked, fingerprinted; the files under configs/ load and keep their header."""

import dataclasses
import re
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from bonemet_jax import schema
from bonemet_jax.config import (
    N_STAGES,
    Config,
    FoldsConfig,
    FusionConfig,
    MaskBiasConfig,
    ModelConfig,
    OptimConfig,
    PhantomConfig,
    RecordsConfig,
    TrainConfig,
    from_dict,
    load_config,
    to_dict,
)
from bonemet_jax.config_files import list_configs
from bonemet_jax.errors import UsageError
from bonemet_jax.models.resnet import DEPTHS
from bonemet_jax.refused import REFUSED, Refused

FOLDER = Path(__file__).parents[1] / "configs"
CONFIGS = sorted(FOLDER.rglob("*.py"))


@pytest.mark.parametrize(("name", "path"), list_configs().items())
def test_packaged_configs_load_by_name_and_open_with_their_header(name: str, path: Path) -> None:
    config = load_config(name)
    assert config == load_config(path)
    assert config.name == path.stem
    text = path.read_text()
    for word in ("Claim", "Command", "Machine", "Time", "Result"):
        assert f"\n{word}" in text.split('"""')[1]


def test_paper_config_is_the_paper() -> None:
    config = load_config(FOLDER / "paper.py")
    assert (config.model.network, config.records.height, config.records.width) == ("resnet101", 400, 500)
    assert (config.optim.lr, config.train.batch_size, config.train.epochs) == (1e-6, 64, 200)
    assert (config.folds.n_folds, config.folds.val_fraction) == (3, 0.2)
    assert (config.model.channels, config.model.n_features) == (schema.CHANNELS, 16)


def test_fingerprint_changes_with_any_field_and_only_then() -> None:
    base = Config(name="a")
    assert base.fingerprint == Config(name="a").fingerprint
    assert len(base.fingerprint) == 12
    assert base.fingerprint != dataclasses.replace(base, train=TrainConfig(epochs=3)).fingerprint


@pytest.mark.parametrize("make", [
    lambda: PhantomConfig(n=3), lambda: PhantomConfig(seed=-1), lambda: PhantomConfig(spacing_mm=0.1),
    lambda: PhantomConfig(height=100, width=100), lambda: RecordsConfig(height=8),
    lambda: RecordsConfig(patients_per_shard=0), lambda: FoldsConfig(n_folds=1),
    lambda: FoldsConfig(val_fraction=0.9), lambda: MaskBiasConfig(stages=(5,)),
    lambda: ModelConfig(channels=("hog", "ct")), lambda: ModelConfig(channels=("ct",)),
    lambda: ModelConfig(branches="per_channel"), lambda: ModelConfig(n_features=0), lambda: OptimConfig(lr=0),
    lambda: OptimConfig(step_factor=2), lambda: TrainConfig(epochs=0), lambda: TrainConfig(batch_size=0),
    lambda: TrainConfig(seed=-1), lambda: TrainConfig(checkpoint_epochs=0), lambda: FoldsConfig(seed=-1),
    lambda: FusionConfig(seed=-1), lambda: FusionConfig(classifiers=()), lambda: FusionConfig(feature_sets=()),
    lambda: FusionConfig(classifiers=("svm", "svm")), lambda: FusionConfig(feature_sets=("both", "both")),
    lambda: Config(name=""), lambda: Config(name="a b"), lambda: Config(name="a/b"), lambda: Config(name=".a"),
    lambda: Config(name="caf\u00e9"), lambda: Config(name="a\n"),
    lambda: ModelConfig(network="tiny", mask_bias=MaskBiasConfig(stages=(1, 3))),
])
def test_values_out_of_range_are_refused_with_name_and_remedy(make) -> None:
    with pytest.raises(UsageError, match=r"config value out of range: .* = .*; use ") as caught:
        make()
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("rule", REFUSED, ids=lambda rule: ", ".join(rule.when))
def test_refused_combinations_name_what_to_use_and_any_change_heals_them(rule: Refused) -> None:
    with pytest.raises(UsageError, match=re.escape(rule.instead)):
        _with(rule.when)
    for name, value in rule.when.items():
        part, _, field = name.partition(".")
        kind = get_type_hints(type(getattr(Config("other"), part)))[field]
        allowed = (value + 1,) if kind is int else get_args(kind) or (False, True)
        healed = [_is_made(rule.when | {name: other}) for other in allowed if other != value]
        assert any(healed), name


def _is_made(values: dict[str, object]) -> bool:
    try:
        _with(values)
    except UsageError:
        return False
    return True


def _with(values: dict[str, object]) -> Config:
    """The default config with these fields."""
    nested = to_dict(Config("refused"))
    for name, value in values.items():
        part, _, field = name.partition(".")
        nested[part][field] = value
    return from_dict(Config, nested)


def test_config_knows_the_stages_of_every_network() -> None:
    assert {name: len(depth.blocks) for name, depth in DEPTHS.items()} == N_STAGES
    ModelConfig(network="resnet34", mask_bias=MaskBiasConfig(stages=(1, 2, 3, 4)))


def test_config_file_faults_are_one_line(tmp_path: Path) -> None:
    for text, said in (("x = 1", "defines no"), ("1/0", "does not run"),
                       ("raise SystemExit(0)", "SystemExit: 0"), ("from bonemet_jax.config import *\n"
                        "config = Config(name='a', optim=OptimConfig(lr=-1))", "optim.lr")):
        file = tmp_path / "c.py"
        file.write_text(text)
        with pytest.raises(UsageError, match=said):
            load_config(file)
    with pytest.raises(UsageError, match="neither a packaged config nor a file"):
        load_config(tmp_path / "absent.py")


def test_schema_encodes_every_clinical_column_once() -> None:
    names = schema.encoded_names()
    assert len(schema.CLINICAL) == 24
    assert len(names) == len(set(names)) == 24 + 2  # subtype has four levels: three columns instead of one


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_config_survives_its_json(path: Path) -> None:
    config = load_config(path)
    assert from_dict(Config, to_dict(config)) == config
    with pytest.raises(UsageError, match="warp"):
        from_dict(Config, {**to_dict(config), "warp": 9})
