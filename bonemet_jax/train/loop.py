"""Shell: train folds, epoch by epoch, and leave their files behind (docs/contracts.md)."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import jax
import numpy as np

from bonemet_jax import hosts
from bonemet_jax.cohort.folds import Splits
from bonemet_jax.config import Config
from bonemet_jax.errors import NumericsError
from bonemet_jax.input_pipeline.choose import SourceKeeper, pick_mode
from bonemet_jax.input_pipeline.order import EpochPlan
from bonemet_jax.input_pipeline.records import Records, name_patients
from bonemet_jax.input_pipeline.source import Feeds, Mode, Source
from bonemet_jax.models.flops import compute_train_gflop_per_image
from bonemet_jax.process_state import change_meanwhile
from bonemet_jax.progress import Progress, say
from bonemet_jax.telemetry.compile_cache import COMPILE_CACHE
from bonemet_jax.telemetry.device import compute_mbu, compute_mfu, describe_device
from bonemet_jax.telemetry.goodput import TimeAccount
from bonemet_jax.telemetry.observe import NOTHING, Observe
from bonemet_jax.telemetry.step_timer import summarize
from bonemet_jax.telemetry.trace import Tracer
from bonemet_jax.train.checkpoint import NO_PART, Part, Place, restore_common
from bonemet_jax.train.epoch import EpochSums, TrainedEpoch, add_sums, evaluate, train_epoch
from bonemet_jax.train.fold_data import WavePlans
from bonemet_jax.train.member_run import EpochResult, MemberRun
from bonemet_jax.train.members import Member, count_side_by_side, make_waves
from bonemet_jax.train.parallel import Engine
from bonemet_jax.train.preemption import Preemption
from bonemet_jax.train.state import TrainState
from bonemet_jax.train.step import Evaluation, needed_arrays
from bonemet_jax.train.validation import compute_auc
from bonemet_jax.train.watchdog import Watchdog

#: As engines are kept: one cohort on the devices for all folds, training and embedding.
_SOURCES = SourceKeeper()
_NUMERICS_MEND = "lower optim.lr, or look at the records of this fold; earlier epochs are kept"


@lru_cache(maxsize=2)
def get_engine(config: Config, n_members: int, mode: Mode, ct_shape: tuple[int, ...]) -> Engine:
    """One engine for all folds of a run: equal configs and shapes never compile twice in a process.

    Args:
        config: The run.
        n_members: Trainings side by side.
        mode: Whether the programs take a resident cohort.
        ct_shape: What they are compiled for: (patient, height, width) of the resident CT, (height, width) of a stream.
    """
    del mode, ct_shape  # part of the key only
    return Engine(config, n_members)


class Fed(NamedTuple):
    """An engine and what feeds it."""

    engine: Engine
    source: Source
    reason: str
    """Why this source, for the person watching."""


def get_fed_engine(records: Records, config: Config, n_members: int = 1) -> Fed:
    """The engine for these records and the source that the config asks for or that fits."""
    change_meanwhile(COMPILE_CACHE)
    names = needed_arrays(config)
    mode, reason = hosts.once(
        lambda: pick_mode(config.input, len(records), records.bytes_per_patient(names), jax.local_devices()[0])
    )
    patients = (len(records),) if mode == "resident" else ()
    # Seed, rate, and what is saved or stopped are no part of a program: variants share it.
    train = replace(config.train, seed=0, embed_epoch="last", checkpoint_epochs=1, keep_epochs=0, early_stop_epochs=0)
    shared = replace(config, train=train, optim=replace(config.optim, lr=1.0))
    engine = get_engine(shared, n_members, mode, (*patients, *records.image_shape))
    return Fed(engine, _SOURCES.get(mode, records, engine.split, names), reason)


def train_folds(
    records: Records, folds: Splits, config: Config, run_dir: Path, which: Sequence[int] | None = None,
    observe: Observe = NOTHING,
) -> None:
    """Train these folds, all when None, each into `run_dir/fold_<k>/`; as `train_members`."""
    chosen = range(folds.n_folds) if which is None else which
    train_members(records, folds, [Member(k, config, Path(run_dir) / f"fold_{k}") for k in chosen], observe)


def train_members(
    records: Records, folds: Splits, members: Sequence[Member], observe: Observe = NOTHING
) -> None:
    """Train members, side by side as engine.folds says, or go on where a killed call stopped; what is done is free.

    In `process_control` SIGTERM or SIGHUP ends it at the next step, and the state is saved; elsewhere signals keep
    their handlers.

    Raises:
        Terminated: SIGTERM or SIGHUP was received.
        NumericsError: an input, a loss or a gradient is not finite; the parameters are those before it, nothing of
            that epoch is left behind.
        DiskError: a file could not be written; earlier checkpoints still stand.
        UsageError: the best epoch is wanted, but an earlier call, asked for the last, did not save it.
        InputDataError: folds and records disagree.
    """
    config, n_devices = members[0].config, len(jax.devices())
    size = count_side_by_side(len(members), n_devices, config.engine.folds)
    n_data = n_devices // size if config.engine.folds == "mesh" else n_devices
    n_steps = max(-(-len(folds.patient_ids(k, "train")) // config.train.batch_size) for k in range(folds.n_folds))
    found = [MemberRun(member, records, folds, n_data) for member in members]
    done = hosts.once(lambda: [run.is_done() for run in found])
    runs = [run for run, is_done in zip(found, done, strict=True) if not is_done]
    with contextlib.closing(Tracer(observe.window, members[0].directory.parent / "profile")) as tracer, \
            Preemption() as preemption:
        for wave in make_waves(runs, size):
            _Wave(records, wave, size, n_steps, tracer, preemption, observe.dump_hlo).run()
            if hosts.stops(preemption.is_asked()):
                raise preemption.make_error(f"{', '.join(run.member.name for run in wave)} trained")


class _Epoch(NamedTuple):
    """What the members leave of an epoch, on the host."""

    sums: EpochSums
    """Of every update done, by earlier calls too."""
    evaluation: Evaluation | None
    """None where the epoch was broken off."""
    train_s: float
    """Seconds of the updates, compilation left out."""
    wait_s: float
    """Seconds without data, of this call."""
    seconds: float
    """Of this call."""


class _Wave:
    """Members that train side by side in one process.

    A wave has one size, however many of its members were done before: the places left over train the last one once
    more, and nobody looks. So a training's numbers do not depend on who is done.
    """

    def __init__(
        self, records: Records, runs: Sequence[MemberRun], size: int, n_steps: int, tracer: Tracer,
        preemption: Preemption, dump_hlo: Path | None,
    ) -> None:
        """`n_steps`: updates of the longest epoch of all folds."""
        self.time, self.tracer, self.preemption = TimeAccount(), tracer, preemption
        self.records, self.runs, self.config = records, runs, runs[0].member.config
        self.name = ", ".join(run.member.name for run in runs)
        self.engine, self.source, reason = get_fed_engine(records, self.config, size)
        seats = [*runs, *[runs[-1]] * (size - len(runs))]
        if dump_hlo is not None and hosts.is_writer():
            self.engine.dump_programs(dump_hlo)
        self.watchdog = Watchdog(
            runs[0].member.directory.parent, lambda: self.engine.is_compiling() or self.tracer.is_busy
        )
        preemption.has_nothing_new = self.engine.is_compiling_updates
        say(f"{self.name}: {reason}")
        self.plans = WavePlans(
            [(run.data, run.member.config, run.member.fold) for run in seats], self.engine.arrange,
            n_steps if self.engine.scans(self.source) else 0,
        )
        self.hyper = self.engine.put_hyper(
            [run.member.config.optim.lr for run in seats], [run.data.steps_per_epoch for run in seats],
            [run.data.class_weight for run in seats],
        )  # fmt: skip
        self.first = Place(0)
        self.parts = [NO_PART] * size
        """What each member has done of the epoch that comes first."""
        self.waits_s: list[tuple[float, float]] = []

    def run(self) -> None:
        """From the newest sound checkpoint that all members have, or from the start, to the last epoch."""
        with self.time.during("restore"):
            state = self._restore()
        with contextlib.ExitStack() as stack:
            for run in self.runs:
                stack.enter_context(run.begin(self.first.epoch))
            if any(run.stopped for run in self.runs):
                states = self.engine.fetch_states(state)
                hosts.once(lambda: self._finish(states))
            if all(run.stopped for run in self.runs):
                return
            stack.enter_context(self.watchdog)
            feeds = stack.enter_context(self.source.feeds(self._feed_plans()))
            progress = stack.enter_context(Progress(self.name, self.config.train.epochs - self.first.epoch))
            for epoch in self._epochs():
                self.watchdog.place = f"{self.name}, epoch {epoch}"
                with jax.transfer_guard("disallow"), self.watchdog.watching():
                    state, done = self._run_epoch(state, feeds, epoch)
                if done.evaluation is None:
                    self._leave(Place(epoch - 1, len(done.sums.n)), state, done)
                results = {i: self._judge(i, epoch, done) for i, run in enumerate(self.runs) if not run.stopped}
                self._record(epoch, state, results)
                loss = float(np.mean([result.train_loss for result in results.values()]))
                images_per_s = sum(len(run.data.train) for run in self.runs) / done.train_s
                progress.advance(1, f"loss {loss:.3f}, {images_per_s:.1f} images/s")
                if all(run.stopped for run in self.runs):
                    break
                if self._stops():
                    self._leave(Place(epoch), state, None)

    def _restore(self) -> TrainState:
        """The members' state at `self.first`."""
        self.first, states, self.parts = restore_common(
            [run.store for run in self.runs], self.engine.state_template(), self.config.train.epochs
        )
        n_empty = self.engine.n_members - len(self.runs)
        self.parts += [self.parts[-1]] * n_empty
        if states:
            say(f"{self.name}: going on after {self.first.words}")
            return self.engine.put_states(states + [states[-1]] * n_empty)
        names = [(run.member.config.train.seed, run.member.fold) for run in self.runs]
        return self.engine.make_state(names + [names[-1]] * n_empty)

    def _epochs(self) -> range:
        """Those to come."""
        return range(self.first.epoch + 1, self.config.train.epochs + 1)

    def _n_before(self, epoch: int) -> int:
        """Updates of this epoch that an earlier call made."""
        return min(self.first.step, len(self.plans.get(epoch).train.index)) if epoch == self.first.epoch + 1 else 0

    def _feed_plans(self) -> Iterator[EpochPlan]:
        """What is read, in order: each epoch's updates, unless they are one program, and its validation."""
        for epoch in self._epochs():
            plans, n_before = self.plans.get(epoch), self._n_before(epoch)
            if not self.engine.scans(self.source):
                yield EpochPlan(*(values[n_before:] for values in plans.train))
            yield plans.val

    def _run_epoch(self, state: TrainState, feeds: Feeds, epoch: int) -> tuple[TrainState, _Epoch]:
        """Train, validate, and fetch the epoch's numbers, or what there is of them when asked to end.

        Raises: NumericsError naming epoch, step and patients of the first value that is not finite.
        """
        engine, plans, n_before = self.engine, self.plans.get(epoch), self._n_before(epoch)
        compile_s, profile_s = self._compile_s(), self.tracer.seconds
        parts = self.parts if n_before else [NO_PART] * self.engine.n_members
        began = time.perf_counter()
        trained = train_epoch(
            engine, state, self.source, feeds, plans.train, self.hyper, self.tracer, self.watchdog, n_before,
            self._stops,
        )
        jax.block_until_ready(trained.state)
        train_end, train_compile_s = time.perf_counter(), self._compile_s() - compile_s
        profile_s = self.tracer.seconds - profile_s
        train_s = train_end - began - train_compile_s - profile_s
        evaluations, val_wait_s = evaluate(
            engine, trained.state.variables, self.source, feeds, len(plans.val.index), self.hyper, self.watchdog,
            self._stops,
        )
        sums = add_sums(_join_parts(parts), trained)
        self._check_sound(epoch, sums, trained)
        evaluation = engine.fetch_rows(evaluations) if len(evaluations) == len(plans.val.index) else None
        wait_s, seconds = trained.data_wait_s + val_wait_s, time.perf_counter() - began
        val_compile_s = self._compile_s() - compile_s - train_compile_s
        self.time.add("step", train_s - trained.data_wait_s)
        self.time.add("validation", seconds - (train_end - began) - val_compile_s - val_wait_s)
        self.time.add("data_wait", wait_s)
        self.time.add("compile", train_compile_s + val_compile_s)
        self.time.add("profile", profile_s)
        self.waits_s.append((wait_s, seconds))
        return trained.state, _Epoch(sums, evaluation, parts[0].train_s + train_s, wait_s, seconds)

    def _stops(self) -> bool:
        """Whether to end here, within an epoch too, as this process or another was asked to."""
        return hosts.stops(self.preemption.is_asked())

    def _judge(self, i: int, epoch: int, done: _Epoch) -> EpochResult:
        """Member i's numbers. Raises: NumericsError naming the patients whose validation loss is not finite."""
        assert done.evaluation is not None
        val, rows = self.runs[i].data.val, done.evaluation
        val_loss, val_score = (np.asarray(values[i, : len(val)]) for values in (rows.loss, rows.score))
        if len(bad := val[~np.isfinite(val_loss)]):
            raise NumericsError("a validation loss is not finite",
                                f"{self.runs[i].member.name}, epoch {epoch}, {name_patients(self.records, bad)}",
                                _NUMERICS_MEND)
        train_loss = float(done.sums.loss_sum[:, i].sum() / done.sums.n[:, i].sum())
        auc = compute_auc(self.records.label[val], val_score)
        return EpochResult(train_loss, float(val_loss.mean()), auc, done.train_s, done.wait_s, done.seconds)

    def _check_sound(self, epoch: int, sums: EpochSums, trained: TrainedEpoch) -> None:
        """Raises: NumericsError naming the first step whose input, loss or gradient is not finite, and its patients."""
        going = [i for i, run in enumerate(self.runs) if not run.stopped]
        if sums.sound[:, going].all():
            return
        step, i = (int(found[0]) for found in np.nonzero(~sums.sound[:, going]))
        i = going[i]
        scanned = self.engine.scans(self.source)
        own = trained.metrics[0 if scanned else step - self._n_before(epoch)].unsound
        bad = self.engine.fetch_rows([hosts.fetch(own)[step] if scanned else own])
        index = self.engine.fetch_rows([self.plans.get(epoch).train.index[step]])
        rows = index[i][bad[i]] if bad[i].any() else index[i]
        raise NumericsError(
            "a training loss, gradient or input is not finite", f"{self.runs[i].member.name}, epoch {epoch}, "
            f"step {step + 1}, {name_patients(self.records, rows)}", _NUMERICS_MEND,
        )

    def _leave(self, place: Place, state: TrainState, done: _Epoch | None) -> NoReturn:
        """Save what is not saved yet, the sums of an unfinished epoch with it. Raises: Terminated."""
        with self.time.during("checkpoint"):
            if place > Place(0):
                states = self.engine.fetch_states(state)
                hosts.once(lambda: self._save_parts(place, states, done))
        saved = f"state after {place.words} saved" if place > Place(0) else "nothing to save yet"
        raise self.preemption.make_error(f"{self.name}, {saved}")

    def _save_parts(self, place: Place, states: Sequence[TrainState], done: _Epoch | None) -> None:
        for i, (run, own) in enumerate(zip(self.runs, states, strict=False)):
            if run.stopped or place in run.store.places():
                continue
            run.store.check_space(own)
            if done is None or not place.step:
                run.store.save(place.epoch, own, run.val_auc, run.is_due(place.epoch, run.val_auc))
            else:
                sums = done.sums
                part = Part(sums.loss_sum[:, i].tolist(), sums.n[:, i].tolist(), done.train_s)
                run.store.save_part(place, own, part)

    def _record(self, epoch: int, state: TrainState, results: Mapping[int, EpochResult]) -> None:
        """Write what each member that still trains leaves of an epoch, and count it."""
        saving = hosts.once(lambda: [i for i, result in results.items() if self.runs[i].saves(epoch, result)])
        with self.time.during("checkpoint"):
            states = self.engine.fetch_states(state) if saving else []
        hosts.once(lambda: self._write(epoch, results, {i: states[i] for i in saving}))
        for i, result in results.items():
            self.runs[i].advance(epoch, result)
        if saving:
            hosts.once(lambda: self._finish(states))

    def _write(self, epoch: int, results: Mapping[int, EpochResult], saving: Mapping[int, TrainState]) -> None:
        """The metrics first, so that a saved epoch always has its line."""
        for i, result in results.items():
            run, own = self.runs[i], saving.get(i)
            if own is None:
                run.log(epoch, result)
                continue
            with self.time.during("checkpoint"):
                run.store.check_space(own)
            run.log(epoch, result)
            with self.time.during("checkpoint"):
                run.store.save(epoch, own, result.val_auc, run.is_due(epoch, result.val_auc))

    def _finish(self, states: Sequence[TrainState]) -> None:
        """Say of each member whose last epoch is saved that it is done."""
        for run, own in zip(self.runs, states, strict=False):
            if run.stopped and not run.finished:
                with self.time.during("checkpoint"):
                    run.store.finish()
                run.finish(own, self._make_timing(run))

    def _compile_s(self) -> float:
        return sum(program.seconds for program in self.engine.programs().values())

    def _make_timing(self, run: MemberRun) -> dict[str, Any]:
        """timing.json: this process's part of the training. The first epoch is left out when there are more."""
        own = run.step_times_s[self.first.epoch :] or run.step_times_s
        model, device, time_spent = self.config.model, describe_device(), self.time.summarize()
        step = summarize(own[1:] or own)
        gflop = compute_train_gflop_per_image(model, *self.records.image_shape)
        images_per_step = sum(len(other.data.train) for other in self.runs) / run.data.steps_per_epoch
        images_per_s = images_per_step / step.median_s / self.engine.spread.mesh.size
        return {
            "device": device,
            "parallel": self.config.engine.parallel,
            "mesh": dict(self.engine.spread.mesh.shape),
            "members": [run.member.name for run in self.runs],
            "programs": {name: program.describe() for name, program in self.engine.programs().items()},
            "step_time_s": step._asdict(),
            "images_per_s_per_device": round(images_per_s, 4),
            "train_gflop_per_image": round(gflop, 4),
            "mfu": compute_mfu(device["kind"], model.compute_dtype, gflop, images_per_s),
            "mbu": compute_mbu(device["kind"], self.engine.gb_accessed(), step.median_s),
            "input": {"mode": self.source.mode, "channels": self.config.input.channels,
                      "data_wait_share": _share(self.waits_s[1:] or self.waits_s)},
            "resumed_after_epoch": self.first.epoch,
            "resumed_after_step": self.first.step,
            "checkpoint_s": round(self.time.seconds("checkpoint"), 3),
            "checkpoint_background_s": round(run.store.background_s, 3),
            **time_spent,
        }  # fmt: skip


def _share(waits_s: list[tuple[float, float]]) -> float | None:
    """Seconds waited over seconds passed; None when none passed."""
    passed_s = sum(seconds for _, seconds in waits_s)
    return round(sum(wait for wait, _ in waits_s) / passed_s, 6) if passed_s else None


def _join_parts(parts: Sequence[Part]) -> EpochSums:
    """Sums of the members' updates as an earlier call saved them."""
    loss_sum, n = (np.array([getattr(part, name) for part in parts], np.float64).T for name in ("loss_sum", "n"))
    return EpochSums(loss_sum, n, np.ones(n.shape, bool))
