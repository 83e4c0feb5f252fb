"""Event files are read by TensorBoard's own loader, and a full disk is told at once."""

import sys
from pathlib import Path

import pytest

from bonemet_jax.errors import DiskError
from bonemet_jax.train import board as board_module
from bonemet_jax.train.board import Board, open_board


def test_tensorboard_reads_them(tmp_path: Path) -> None:
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = Board(tmp_path, 1)
    for epoch in (1, 2):
        board.write({"epoch": epoch, "val_auc": None if epoch == 1 else 0.75, "train_loss": 1 / epoch})
    board.close()
    found = loader.EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in found.Scalars("train_loss")] == [(1, 1.0), (2, 0.5)]
    assert [(e.step, e.value) for e in found.Scalars("val_auc")] == [(2, 0.75)]


def test_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(tmp_path, 1)

    def full(event: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(board._writer, "write_event", full)
    with pytest.raises(DiskError, match="No space left"):
        board.write({"epoch": 1, "train_loss": 0.5})
    board.close()


def test_without_tensorboardx_nothing_is_written_and_that_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboardX"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    board_module._say_missing.cache_clear()
    assert [open_board(tmp_path / "fold" / "tensorboard", epoch) for epoch in (1, 2)] == [None, None]
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "pip install tensorboardX" in told
    assert list(tmp_path.iterdir()) == []
