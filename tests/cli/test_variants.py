"""`cv --seeds --lrs`: which trainings that makes, where they lie, how they are compared; `--parallel`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bonemet_jax.cli.run import RunArgs, parse_run
from bonemet_jax.cli.stage import CvArgs
from bonemet_jax.cli.variants import find_directory, make_configs, print_table, summarize, train_variants
from bonemet_jax.cohort.folds import make_folds, save_folds
from bonemet_jax.config import (
    Config,
    EngineConfig,
    FoldsConfig,
    ModelConfig,
    OptimConfig,
    RecordsConfig,
    TrainConfig,
)
from bonemet_jax.errors import UsageError
from bonemet_jax.study.run import Run

CONFIG = Config(
    "v", records=RecordsConfig(height=64, width=80), folds=FoldsConfig(n_folds=2), model=ModelConfig(network="tiny"),
    optim=OptimConfig(lr=1e-3), train=TrainConfig(epochs=2, batch_size=4), engine=EngineConfig(folds="vmap"),
)  # fmt: skip


def _write(run: Run, config: Config, fold: int, epochs: list[tuple[float | None, float]]) -> None:
    path = find_directory(run, config) / f"fold_{fold}" / "metrics.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps({"val_auc": auc, "val_loss": loss}) + "\n" for auc, loss in epochs))


def test_every_pair_once_and_the_configs_own_first(tmp_path: Path) -> None:
    configs = make_configs(CONFIG, (0, 1), (1e-3, 1e-2))
    assert [(c.train.seed, c.optim.lr) for c in configs] == [(0, 1e-3), (0, 1e-2), (1, 1e-3), (1, 1e-2)]
    assert [(c.train.seed, c.optim.lr) for c in make_configs(CONFIG, (5, 5), ())] == [(0, 1e-3), (5, 1e-3)]
    run = Run(tmp_path, CONFIG)
    assert find_directory(run, CONFIG) == tmp_path
    assert find_directory(run, configs[3]) == tmp_path / "variants" / "seed_1-lr_0.01"
    with pytest.raises(UsageError, match=r"optim\.lr"):
        make_configs(CONFIG, (), (-1.0,))


def test_table_holds_mean_and_sd_of_last_and_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(tmp_path, CONFIG)
    _write(run, CONFIG, 0, [(0.9, 0.5), (0.7, 0.4)])
    _write(run, CONFIG, 1, [(0.5, 0.9), (0.5, 0.8)])
    row = summarize(run, CONFIG)
    assert row["last"]["val_auc"] == {"mean": pytest.approx(0.6), "sd": pytest.approx(0.02**0.5)}
    assert row["best"]["val_auc"]["mean"] == pytest.approx(0.7) and row["best"]["val_loss"]["mean"] == 0.65
    other = replace(CONFIG, train=replace(CONFIG.train, seed=1))
    _write(run, other, 0, [(None, 0.5)])
    _write(run, other, 1, [(0.5, 0.9)])
    unknown = summarize(run, other)
    assert unknown["last"]["val_auc"] == {"mean": None, "sd": None} and unknown["last"]["val_loss"]["mean"] == 0.7
    print_table([row, unknown])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and "0.600 (SD 0.141)" in lines[1] and " - " in lines[2]


@pytest.mark.parametrize(("kind", "verb"), [(RunArgs, "run"), (CvArgs, "cv")])
def test_parallel_is_short_for_the_configs_field(kind: Any, verb: str) -> None:
    args = parse_run(kind, verb, ["configs/smoke.py", "-o", "r", "--parallel", "pmap"])
    assert args.config.engine.parallel == "pmap"
    assert parse_run(kind, verb, ["configs/smoke.py"]).config.engine.parallel == "jit"
    spread = parse_run(kind, verb, ["configs/smoke.py", "--model.norm", "local", "--parallel", "shard_map"])
    assert spread.config.engine.parallel == "shard_map"  # which jit, the config's own, could not be
    with pytest.raises(UsageError, match=r"--engine\.parallel: .fast. is none of"):
        parse_run(kind, verb, ["configs/smoke.py", "--parallel", "fast"])


@pytest.mark.slow
def test_variants_train_resume_and_equal_runs_of_their_own(
    small_records: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from bonemet_jax.input_pipeline.records import open_records
    from bonemet_jax.train.loop import train_folds

    monkeypatch.setattr(Run, "records_dir", property(lambda self: small_records["tfrecord"]))
    records, run = open_records(small_records["tfrecord"]), Run(tmp_path / "run", CONFIG)
    run.directory.mkdir()
    folds = make_folds(records.patient_id, records.label.tolist(), CONFIG.folds)
    save_folds(run.directory / "folds.json", folds)
    train_folds(records, folds, CONFIG, run.directory)
    table = train_variants(run, (1,), (1e-2,))
    assert [row["directory"] for row in table] == [".", "variants/seed_1-lr_0.01"]
    assert json.loads((run.directory / "variants" / "table.json").read_text()) == {"variants": table}
    own = make_configs(CONFIG, (1,), (1e-2,))[1]
    train_folds(records, folds, own, tmp_path / "own")
    for k in range(2):
        done = [json.loads((d / f"fold_{k}" / "done.json").read_text()) for d in (
            find_directory(run, own), tmp_path / "own", run.directory)]
        assert done[0] == done[1] != done[2]
    capsys.readouterr()
    assert train_variants(run, (1,), (1e-2,)) == table
    assert capsys.readouterr().err.count("already trained") == 2
