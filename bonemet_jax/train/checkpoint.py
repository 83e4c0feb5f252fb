"""Checkpoints of one fold: the only owner of Orbax.

Orbax commits a step atomically but keeps no checksum of its content, so a step exists only once our manifest holds
the sha256 of each of its files. A thread writes while the training goes on. Kept: of the epochs saved, the two newest,
the one of best validation AUC, and those that are due for good; of an epoch broken off, the newest alone.
"""

import re
import shutil
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

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
_PLACE = re.compile(r"[0-9]{1,9}(\+[0-9]{1,9})?")
#: One save at a time, however many members train: they share a disk, and the devices want the cores.
_SAVING = threading.Lock()


class Place(NamedTuple):
    """How far a training is."""

    epoch: int
    """Epochs done."""
    step: int = 0
    """Updates done of the next one."""

    def __str__(self) -> str:
        return f"{self.epoch}+{self.step}" if self.step else f"{self.epoch}"

    @property
    def words(self) -> str:
        """For the person watching."""
        return f"epoch {self.epoch}, step {self.step}" if self.step else f"epoch {self.epoch}"


class Part(NamedTuple):
    """What the finished updates of an epoch that was broken off left, besides the state: one number each."""

    loss_sum: list[float]
    n: list[float]
    train_s: float
    """Seconds of all of them."""


#: Of an epoch not begun.
NO_PART = Part([], [], 0.0)


class _PartEntry(TypedDict):
    loss_sum: list[float]
    n: list[float]
    train_s: float


class _Entry(TypedDict):
    files: dict[str, str]
    metrics_sha256: NotRequired[str]  # this and the next are not in those of earlier versions, which have other keys
    val_auc: float | None
    due: NotRequired[bool]
    part: NotRequired[_PartEntry]
    jax: NotRequired[str]  # version that computed it


class _CheckpointsFile(TypedDict):
    """manifest.json of the checkpoints."""

    key: str
    epochs: dict[str, _Entry]


class CheckpointStore:
    """Epochs saved under `directory`, for one training named by `key`.

    A folder written by another training (another config, cohort or fold) is swept: its steps are of no use.
    """

    def __init__(self, directory: Path, key: str, keep_epochs: int = 0, needs_best: bool = False) -> None:
        """Args:
        directory: Its own, beside the training's metrics.jsonl.
        key: The training.
        keep_epochs: Every so many are kept for good; 0: none is.
        needs_best: Where the best is damaged, what was saved later is of no use either: it comes again on the way.
        """
        self.directory, self.key = directory, key
        self._keep_epochs, self._needs_best = keep_epochs, needs_best
        self.background_s = 0.0
        """Seconds that saves took beside the training."""
        self._saving: Future[None] | None = None
        self._manifest, self._metrics = directory / artifacts.MANIFEST, directory.parent / "metrics.jsonl"
        self._saved: dict[Place, dict[str, Any]] = self._load_manifest()

    def places(self) -> list[Place]:
        """All that is saved, oldest first."""
        self.finish()
        return sorted(self._saved)

    def epochs(self) -> list[int]:
        """Epochs saved whole, oldest first."""
        return [place.epoch for place in self.places() if not place.step]

    def best_epoch(self) -> int | None:
        """The first saved epoch of highest validation AUC; the newest where none has an AUC."""
        self.finish()
        return self._find_best()

    def is_best(self, val_auc: float | None) -> bool:
        """Whether this validation AUC is above that of every saved epoch."""
        self.finish()
        saved = [entry["val_auc"] for entry in self._saved.values() if entry["val_auc"] is not None]
        return val_auc is not None and val_auc > max(saved, default=-1.0)

    def check_space(self, state: TrainState) -> None:
        """Refuse an epoch's writes when its state, uncompressed, would not fit: orbax fails in many threads at once.

        Raises: DiskError, also that of the save before.
        """
        self.finish()
        artifacts.check_space(self.directory, sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + _SPARE_BYTES)

    def save(self, epoch: int, state: TrainState, val_auc: float | None, is_due: bool = True) -> None:
        """Begin to save one epoch; once it is whole on disk, name it in the manifest and drop what is no longer kept.

        Args:
            epoch: Epochs done.
            state: On the host; not to be changed until `finish`.
            val_auc: Of this epoch.
            is_due: False where it is saved only because the training stops here: it goes with the next one saved.

        Raises: DiskError when the save before could not be written, at any later call when this one cannot; what was
            saved before still stands.
        """
        self._begin(Place(epoch), state, {"val_auc": val_auc, "due": is_due})

    def save_part(self, place: Place, state: TrainState, part: Part) -> None:
        """As `save`, for an epoch broken off; the next save takes its place."""
        self._begin(place, state, {"val_auc": None, "due": False, "part": part._asdict()})

    def finish(self) -> None:
        """Wait for the save that is under way. Raises: DiskError when it failed."""
        if (saving := self._saving) is not None:
            wait([saving])
            self._saving = None
            saving.result()

    def get_part(self, place: Place) -> Part:
        """What was saved beside the state."""
        part = self._saved[place].get("part")
        return NO_PART if part is None else Part(**part)

    def list_versions(self) -> list[str]:
        """Versions of jax that computed what is saved, as far as they are known."""
        self.finish()
        return sorted({entry["jax"] for entry in self._saved.values() if "jax" in entry})

    def find_sound(self) -> list[Place]:
        """What is saved and holds its checksums, newest first; the damaged is named, dropped and swept, as is what a
        stopped save left.
        """
        self._sweep_leftovers()
        best = self.best_epoch()
        for place in reversed(self.places()):
            try:
                self.check(*place)
            except CorruptFileError as error:
                say(f"warning: checkpoint of {place.words} is damaged ({error.what}; {error.where}); "
                    "falling back to the one before")
                later = [other for other in self.places() if other > place]
                for useless in [place, *(later if self._needs_best and place == Place(best or 0) else [])]:
                    self.drop(useless)
        self.sweep()
        return self.places()[::-1]

    def drop(self, place: Place) -> None:
        """Forget it; its folder goes with the next sweep."""
        del self._saved[place]
        self._write_manifest()

    def restore(self, epoch: int, template: TrainState, step: int = 0) -> TrainState:
        """The state at one of `places()`, on the host.

        Args:
            epoch: Epochs done.
            template: ShapeDtypeStructs of the state.
            step: Updates done of the next.

        Raises: CorruptFileError naming the first file that differs from the manifest.
        """
        self.check(epoch, step)
        path = self._path(Place(epoch, step))
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        placed = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), template)
        try:
            with _open_orbax() as checkpointer:
                return jax.device_get(checkpointer.restore(path.absolute(), placed))
        except (ValueError, OSError, KeyError) as error:
            raise CorruptFileError(f"checkpoint cannot be read ({error})", path, _REMEDY) from error

    def check(self, epoch: int, step: int = 0) -> None:
        """Hold every file against the manifest. Raises: CorruptFileError naming the first that differs."""
        place = Place(epoch, step)
        if place not in self._saved:
            raise CorruptFileError(f"no checkpoint of {place.words}", self.directory, _REMEDY)
        for name, digest in self._saved[place]["files"].items():
            file = self._path(place) / name
            if not file.is_file():
                raise CorruptFileError("checkpoint file is missing", file, _REMEDY)
            if artifacts.sha256_file(file) != digest:
                raise CorruptFileError("checkpoint file differs from its sha256", file, _REMEDY)
        if _digest_lines(self._metrics, epoch) != self._saved[place]["metrics_sha256"]:
            raise CorruptFileError("the epochs' metrics differ from their sha256", self._metrics, _REMEDY)

    def end_at(self, epochs: int) -> None:
        """Drop what a longer training saved after its first `epochs`; all of it, where the best epoch was a later one:
        that of the first ones may not have been kept.
        """
        later = [place for place in self.places() if place > Place(epochs)]
        if later:
            is_best_later = self._needs_best and (self.best_epoch() or 0) > epochs
            say(f"note: {self.directory} holds a training of more than {epochs} epochs; its later ones are removed")
            for place in self.places() if is_best_later else later:
                self.drop(place)
            self.sweep()

    def sweep(self) -> None:
        """Remove everything that the manifest does not name."""
        for path in self._find_unnamed():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _begin(self, place: Place, state: TrainState, entry: dict[str, Any]) -> None:
        self.finish()
        entry = {"metrics_sha256": _digest_lines(self._metrics, place.epoch), "jax": jax.__version__, **entry}
        saver = ThreadPoolExecutor(1, "bonemet-checkpoint")
        self._saving = saver.submit(self._write, place, state, entry)
        saver.shutdown(wait=False)  # its thread ends with the save

    def _write(self, place: Place, state: TrainState, entry: dict[str, Any]) -> None:
        """Files, their checksums, the manifest, in this order; then what is no longer kept goes."""
        began, path = time.perf_counter(), self._path(place)
        with _SAVING, artifacts.disk_errors(path):
            shutil.rmtree(path, ignore_errors=True)
            try:
                with _open_orbax() as checkpointer:
                    checkpointer.save(path.absolute(), state)
                    checkpointer.wait_until_finished()
            except BaseException:
                self.sweep()
                raise
            files = {str(f.relative_to(path)): artifacts.sha256_file(f) for f in artifacts.list_files(path)}
        self._saved[place] = {"files": files, **entry}
        self._saved = {kept: self._saved[kept] for kept in self._choose_kept()}
        self._write_manifest()
        self.sweep()
        self.background_s += time.perf_counter() - began

    def _choose_kept(self) -> list[Place]:
        newest, due = max(self._saved), sorted(place for place, entry in self._saved.items() if entry["due"])
        for_good = [place for place in due if self._keep_epochs and place.epoch % self._keep_epochs == 0]
        best_epoch = self._find_best()
        best = [place for place in due if place.epoch == best_epoch]
        whole = [place for place in self._saved if not place.step]
        newest_two = sorted({*due, max(whole, default=newest)})[-_KEEP_NEWEST:]
        return sorted({newest, *newest_two, *for_good, *best})

    def _find_best(self) -> int | None:
        due = {place.epoch: entry["val_auc"] for place, entry in self._saved.items() if entry["due"]}
        scored = {epoch: val_auc for epoch, val_auc in due.items() if val_auc is not None}
        if not scored:
            return max((place.epoch for place in self._saved if not place.step), default=None)
        return min(epoch for epoch in scored if scored[epoch] == max(scored.values()))

    def _find_unnamed(self) -> list[Path]:
        named = {artifacts.MANIFEST, *map(str, self._saved)}
        return [path for path in self.directory.iterdir() if path.name not in named] if self.directory.is_dir() else []

    def _sweep_leftovers(self) -> None:
        """Tell what a stopped save left, and remove it."""
        if found := sorted(path.name for path in self._find_unnamed()):
            say(f"note: removed what a stopped save left in {self.directory}: {', '.join(found)}")
            self.sweep()

    def _load_manifest(self) -> dict[Place, dict[str, Any]]:
        if not self._manifest.is_file():
            return {}
        manifest = artifacts.load_json(self._manifest, _CheckpointsFile)
        is_whole = set(manifest) - {artifacts.CHECKSUM} == {"key", "epochs"}
        if not is_whole or not all(map(_PLACE.fullmatch, manifest["epochs"])):
            raise CorruptFileError("manifest must hold key and epochs", self._manifest, _REMEDY)
        if not artifacts.has_own_checksum(manifest):
            raise CorruptFileError("manifest differs from its own sha256", self._manifest, _REMEDY)
        if manifest["key"] != self.key:
            say(f"note: {self.directory} was written by another training; starting this one from its first epoch")
            return {}
        return {Place(*map(int, name.split("+"))): entry for name, entry in manifest["epochs"].items()}

    def _write_manifest(self) -> None:
        manifest = {"key": self.key, "epochs": {str(place): entry for place, entry in sorted(self._saved.items())}}
        artifacts.write_json(self._manifest, artifacts.add_checksum(manifest))

    def _path(self, place: Place) -> Path:
        return self.directory / str(place)


class Restored(NamedTuple):
    """Where members that train side by side go on."""

    place: Place
    states: list[TrainState]
    """On the host; none at the very start."""
    parts: list[Part]


def restore_common(stores: Sequence[CheckpointStore], template: TrainState, epochs: int) -> Restored:
    """The newest place, at most `epochs`, of which every store has a sound checkpoint; the start where there is none.

    Members that train side by side go on together. What a store holds of later places is dropped.
    """
    place = Place(*hosts.once(lambda: _keep_common(stores, epochs)))
    if place == Place(0):
        return Restored(place, [], [NO_PART] * len(stores))
    states = [store.restore(place.epoch, template, place.step) for store in stores]
    others = {version for store in stores for version in store.list_versions()} - {jax.__version__}
    if others:
        say(f"note: {stores[0].directory} was computed by jax {', '.join(sorted(others))} and goes on with "
            f"{jax.__version__}: sound, but not equal bit for bit to a training by one version alone")
    return Restored(place, states, [store.get_part(place) for store in stores])


def _keep_common(stores: Sequence[CheckpointStore], epochs: int) -> Place:
    """The newest sound place of all stores, of their first `epochs`; later ones are dropped."""
    for store in stores:
        store.end_at(epochs)
    common = set.intersection(*(set(store.find_sound()) for store in stores))
    newest = max(common, default=Place(0))
    for store in stores:
        for place in store.places():
            if place > newest:
                store.drop(place)
        store.sweep()
    return newest


def _digest_lines(path: Path, n: int) -> str:
    """sha256 of the first lines of a file, as many as there are."""
    lines = path.read_bytes().splitlines(keepends=True)[:n] if path.is_file() else []
    return sha256(b"".join(lines)).hexdigest()


def _open_orbax() -> ocp.StandardCheckpointer:
    """Orbax for this process alone: it would wait for the others, who neither save nor read at the same time."""
    if jax.process_count() == 1:
        return ocp.StandardCheckpointer()
    own = jax.process_index()
    return ocp.StandardCheckpointer(multiprocessing_options=ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process_{own}"
    ))
