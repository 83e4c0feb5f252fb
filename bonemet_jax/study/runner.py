"""Runs the stages of a run that are not done yet."""

import contextlib
import shutil
import time
from collections.abc import Iterator, Mapping
from typing import Any, NotRequired, TypedDict

from bonemet_jax import artifacts, hosts
from bonemet_jax.config import to_dict
from bonemet_jax.errors import CorruptFileError, TryAgainError, UsageError
from bonemet_jax.progress import say
from bonemet_jax.study import stage_cache
from bonemet_jax.study.run import Run
from bonemet_jax.study.stages import BY_NAME, STAGES, Stage, key_of_cohort, list_with_needed

_MAX_NAMED = 4
_EPOCHS_DECIDE = "with the cosine schedule every learning rate depends on the number of epochs"


class _Started(TypedDict):
    """stages/STAGE.started.json: of a stage that goes on where an earlier attempt stopped."""

    key: str
    settings: NotRequired[Any]


def stage_keys(run: Run) -> dict[str, str]:
    """Key of every stage under this config."""
    keys: dict[str, str] = {}
    for stage in STAGES:
        keys[stage.name] = stage_cache.make_key(stage.name, stage.settings(run), {n: keys[n] for n in stage.needs})
    return keys


def run_stages(run: Run, names: tuple[str, ...]) -> dict[str, float]:
    """Do the named stages that are not done yet; returns seconds of those done now.

    Raises: UsageError when a stage outside `names` that they depend on, however indirectly, is not done;
        CorruptFileError when one of its outputs, or a record, differs from what that stage wrote.
    """
    keys = stage_keys(run)
    for need in (name for name in list_with_needed(names) if name not in names):
        if not hosts.once(lambda need=need: _is_done(run, BY_NAME[need], keys[need], may_remake=False)):
            raise UsageError(f"stage '{need}' is not done with this config", run.directory, "run `bonemet run` first")
    hosts.once(lambda: _write_config(run))
    seconds: dict[str, float] = {}
    for name in names:
        if hosts.once(lambda name=name: _is_done(run, BY_NAME[name], keys[name], may_remake=BY_NAME[name].remade)):
            say(f"{name:<7} already done")
            continue
        with artifacts.disk_errors(run.directory), _name_stage(name):
            seconds[name] = _do(run, BY_NAME[name], keys)
        say(f"{name:<7} done, {seconds[name]:.1f} s")
    return seconds


@contextlib.contextmanager
def _name_stage(name: str) -> Iterator[None]:
    """Add the stage to the error for a package that is not installed."""
    try:
        yield
    except ImportError as error:
        error.add_note(f"stage '{name}'")
        raise


def _is_done(run: Run, stage: Stage, key: str, may_remake: bool) -> bool:
    """Whether the stage is done with this key, from what the stages before it hold now.

    False when all that it wrote is gone. Raises: CorruptFileError when a part of it is missing or changed and must not
    be made again now.
    """
    if not stage_cache.is_current(run.directory, stage.name, key, stage.needs):
        return False
    damaged = stage_cache.find_damage(run.directory, stage.name)
    if damaged is None:
        return True
    if not may_remake and any(path.exists() for path in stage.outputs(run)):
        left = " and ".join(map(str, stage.outputs(run)))
        raise CorruptFileError(f"what stage '{stage.name}' left is missing or changed (sha256)", damaged,
                               f"delete {left}, then `bonemet run` makes it again")
    if may_remake:
        say(f"{stage.name}: missing or changed (sha256), so done again; {damaged}")
    return False


def _do(run: Run, stage: Stage, keys: Mapping[str, str]) -> float:
    start = time.perf_counter()
    hosts.once(lambda: _begin(run, stage))
    if stage.together:
        stage.work(run)
    else:
        hosts.once(lambda: stage.work(run))
    seconds = round(time.perf_counter() - start, 3)
    hosts.once(lambda: _finish(run, stage, keys, seconds))
    return seconds


def _finish(run: Run, stage: Stage, keys: Mapping[str, str], seconds: float) -> None:
    """Stamp the stage. Raises: TryAgainError when a given cohort was replaced while the stage may have read it."""
    if run.config.cohort_dir is not None and keys["cohort"] != key_of_cohort(run.cohort_dir):
        raise TryAgainError("the cohort was replaced while the run used it", run.cohort_dir,
                            "run the same command again")
    stage_cache.write_stamp(run.directory, stage.name, keys[stage.name], stage.needs, stage.outputs(run), seconds)


def _begin(run: Run, stage: Stage) -> None:
    stage_cache.remove_stamp(run.directory, stage.name)
    if stage.resumed:
        _remove_other(run, stage)


def _remove_other(run: Run, stage: Stage) -> None:
    """Remove what was trained under settings with which it cannot go on, and say which they were."""
    path = run.directory / "stages" / f"{stage.name}.started.json"
    mark = {"key": _resume_key(run, stage), "settings": stage.settings(run)}
    earlier = artifacts.load_json(path, _Started) if path.is_file() else {"key": ""}
    if earlier["key"] != mark["key"]:
        for folder in (found := list(run.directory.glob(stage.resumed))):
            shutil.rmtree(folder)
        if found and earlier["key"]:
            say(f"{stage.name}: trained anew, {_describe_change(earlier.get('settings'), mark['settings'])}")
    if earlier != mark:
        artifacts.write_json(path, mark)


def _resume_key(run: Run, stage: Stage) -> str:
    """Key of the attempts that go on: as a stage's key, with what they must share in place of all settings."""
    settings = (stage.resume_settings or stage.settings)(run)
    return stage_cache.make_key(stage.name, settings, {n: _resume_key(run, BY_NAME[n]) for n in stage.needs})


def _describe_change(earlier: Any, now: Any) -> str:
    """Why a training cannot go on, in words."""
    before, after = dict(_flatten(earlier)), dict(_flatten(now))
    changed = [name for name in sorted(before | after) if before.get(name) != after.get(name)]
    if not before or not changed:
        return "as the records, the folds or an earlier stage changed"
    named = ", ".join(f"{name} {before.get(name)} is now {after.get(name)}" for name in changed[:_MAX_NAMED])
    more = f" and {len(changed) - _MAX_NAMED} more" if len(changed) > _MAX_NAMED else ""
    return f"as {named}{more}" + (f": {_EPOCHS_DECIDE}" if changed == ["train.epochs"] else "")


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _flatten(item, f"{prefix}.{name}" if prefix else name)
    elif prefix:
        yield prefix, value


def _write_config(run: Run) -> None:
    path = run.directory / "config.json"
    value = {"fingerprint": run.config.fingerprint, "config": to_dict(run.config)}
    if not path.is_file() or artifacts.load_json(path) != value:
        artifacts.write_json(path, value)
