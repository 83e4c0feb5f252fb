"""Runs that look finished: stamps of stages without their work."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from bonemet_jax.study import stage_cache
from bonemet_jax.study.run import Run
from bonemet_jax.study.stages import BY_NAME, list_needed


def stamp_stages(run: Run, names: Iterable[str], outputs: Mapping[str, list[Path]]) -> None:
    """Stamp these stages and all that they need.

    Args:
        run: its directory and config.
        names: stages.
        outputs: files and folders by stage; none of a stage that is not named.
    """
    keys: dict[str, str] = {}
    for name in (name for name in BY_NAME if name in {*list_needed(names), *names}):
        stage = BY_NAME[name]
        keys[name] = stage_cache.make_key(name, stage.settings(run), {need: keys[need] for need in stage.needs})
        stage_cache.write_stamp(run.directory, name, keys[name], stage.needs, outputs.get(name, []), 0)
