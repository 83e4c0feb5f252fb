"""Checkpoints of one fold: the only owner of Orbax.

Orbax commits a step atomically but keeps no checksum of its content, so a step exists only once our manifest holds
the sha256 of each of its files. Kept: of the epochs saved, the two newest and the one of best validation AUC.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from bonemet_jax import artifacts, hosts
from bonemet_jax.errors import CorruptFileError
from bonemet_jax.progress import say
from bonemet_jax.train.state import TrainState

_KEEP_NEWEST = 2
#: Beside the state: metadata of every leaf, one line of metrics, one TensorBoard event.
_SPARE_BYTES = 1 << 20
_REMEDY = "delete the fold's folder and run the same command again"


class CheckpointStore:
    """Epochs saved under `directory`, for one training named by `key`.

    A folder written by another training (another config, cohort or fold) is swept: its steps are of no use.
    """

    def __init__(self, directory: Path, key: str) -> None:
        self.directory, self.key = directory, key
        self._manifest = directory / artifacts.MANIFEST
        self._epochs: dict[int, dict[str, Any]] = self._load_epochs()

    def epochs(self) -> list[int]:
        """Epochs saved, oldest first."""
        return sorted(self._epochs)

    def best_epoch(self) -> int | None:
        """The first saved epoch of highest validation AUC; the newest where none has an AUC."""
        scored = {e: entry["val_auc"] for e, entry in self._epochs.items() if entry["val_auc"] is not None}
        if not scored:
            return max(self._epochs, default=None)
        return min(e for e in scored if scored[e] == max(scored.values()))

    def is_best(self, val_auc: float | None) -> bool:
        """Whether this validation AUC is above that of every saved epoch."""
        saved = [entry["val_auc"] for entry in self._epochs.values() if entry["val_auc"] is not None]
        return val_auc is not None and val_auc > max(saved, default=-1.0)

    def check_space(self, state: TrainState) -> None:
        """Refuse an epoch's writes when its state, uncompressed, would not fit: orbax fails in many threads at once.

        Raises: DiskError.
        """
        artifacts.check_space(self.directory, sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + _SPARE_BYTES)

    def save(self, epoch: int, state: TrainState, val_auc: float | None) -> None:
        """Save one epoch, then name it in the manifest, then drop epochs no longer kept.

        Raises: DiskError when it cannot be written; what was saved before still stands.
        """
        path = self._path(epoch)
        with artifacts.disk_errors(path):
            shutil.rmtree(path, ignore_errors=True)
            try:
                with _open_orbax() as checkpointer:
                    checkpointer.save(path.absolute(), state)
                    checkpointer.wait_until_finished()
            except BaseException:
                self.sweep()
                raise
            files = {str(f.relative_to(path)): artifacts.sha256_file(f) for f in artifacts.list_files(path)}
        self._epochs[epoch] = {"files": files, "val_auc": val_auc}
        keep = {*self.epochs()[-_KEEP_NEWEST:], self.best_epoch()}
        self._epochs = {e: entry for e, entry in self._epochs.items() if e in keep}
        self._write_manifest()
        self.sweep()

    def find_sound(self) -> list[int]:
        """Epochs whose files hold their checksums, newest first; damaged ones are named, dropped and swept."""
        for epoch in reversed(self.epochs()):
            try:
                self.check(epoch)
            except CorruptFileError as error:
                say(f"warning: checkpoint of epoch {epoch} is damaged ({error.what}; {error.where}); "
                    "falling back to the one before")
                self.drop(epoch)
        self.sweep()
        return self.epochs()[::-1]

    def drop(self, epoch: int) -> None:
        """Forget an epoch; its folder goes with the next sweep."""
        del self._epochs[epoch]
        self._write_manifest()

    def restore(self, epoch: int, template: TrainState) -> TrainState:
        """The state of one epoch, on the host.

        Args:
            epoch: One of `epochs()`.
            template: ShapeDtypeStructs of the state.

        Raises: CorruptFileError naming the first file that differs from the manifest.
        """
        self.check(epoch)
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        placed = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), template)
        try:
            with _open_orbax() as checkpointer:
                return jax.device_get(checkpointer.restore(self._path(epoch).absolute(), placed))
        except (ValueError, OSError, KeyError) as error:
            raise CorruptFileError(f"checkpoint cannot be read ({error})", self._path(epoch), _REMEDY) from error

    def check(self, epoch: int) -> None:
        """Hold every file of an epoch against the manifest. Raises: CorruptFileError naming the first that differs."""
        if epoch not in self._epochs:
            raise CorruptFileError(f"no checkpoint of epoch {epoch}", self.directory, _REMEDY)
        for name, digest in self._epochs[epoch]["files"].items():
            file = self._path(epoch) / name
            if not file.is_file():
                raise CorruptFileError("checkpoint file is missing", file, _REMEDY)
            if artifacts.sha256_file(file) != digest:
                raise CorruptFileError("checkpoint file differs from its sha256", file, _REMEDY)

    def sweep(self) -> None:
        """Remove every folder the manifest does not name: leftovers of a killed save, epochs no longer kept."""
        if self.directory.is_dir():
            for path in self.directory.iterdir():
                if path.is_dir() and path.name not in map(str, self._epochs):
                    shutil.rmtree(path, ignore_errors=True)

    def _load_epochs(self) -> dict[int, dict[str, Any]]:
        if not self._manifest.is_file():
            return {}
        manifest = artifacts.load_json(self._manifest)
        if not isinstance(manifest, dict) or set(manifest) != {"key", "epochs"}:
            raise CorruptFileError("manifest must hold key and epochs", self._manifest, _REMEDY)
        if manifest["key"] != self.key:
            say(f"note: {self.directory} was written by another training; starting this one from its first epoch")
            return {}
        return {int(epoch): entry for epoch, entry in manifest["epochs"].items()}

    def _write_manifest(self) -> None:
        epochs = {str(epoch): entry for epoch, entry in self._epochs.items()}
        artifacts.write_json(self._manifest, {"key": self.key, "epochs": epochs})

    def _path(self, epoch: int) -> Path:
        return self.directory / str(epoch)


def restore_common(
    stores: Sequence[CheckpointStore], template: TrainState
) -> tuple[int, list[TrainState]]:
    """The newest epoch of which every store has a sound checkpoint, and the states; 0 and none where there is no such.

    Members that train side by side go on together. What a store holds of later epochs is dropped.
    """
    newest = hosts.once(lambda: _keep_common(stores))
    return newest, [store.restore(newest, template) for store in stores] if newest else []


def _keep_common(stores: Sequence[CheckpointStore]) -> int:
    """The newest sound epoch of all stores; later ones are dropped."""
    common = set.intersection(*(set(store.find_sound()) for store in stores))
    newest = max(common, default=0)
    for store in stores:
        for epoch in store.epochs():
            if epoch > newest:
                store.drop(epoch)
        store.sweep()
    return newest


def _open_orbax() -> ocp.StandardCheckpointer:
    """Orbax for this process alone: it would wait for the others, who neither save nor read at the same time."""
    if jax.process_count() == 1:
        return ocp.StandardCheckpointer()
    own = jax.process_index()
    return ocp.StandardCheckpointer(multiprocessing_options=ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process_{own}"
    ))
