"""Event files are read by TensorBoard's own loader, and a full disk is told at once."""

from pathlib import Path

import pytest

from bonemet_jax.errors import DiskError
from bonemet_jax.train.board import Board


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
