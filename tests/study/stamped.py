"""Runs that look finished: stamps of stages without their work."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from bonemet_jax.study import stage_cache
from bonemet_jax.study.run import Run
from bonemet_jax.study.runner import stage_keys
from bonemet_jax.study.stages import BY_NAME, list_with_needed


def stamp_stages(run: Run, names: Iterable[str], outputs: Mapping[str, list[Path]]) -> None:
    """Stamp these stages and all that they need.

    Args:
        run: its directory and config.
        names: stages.
        outputs: files and folders by stage; none of a stage that is not named.
    """
    keys = stage_keys(run)
    for name in list_with_needed(names):
        stage_cache.write_stamp(run.directory, name, keys[name], BY_NAME[name].needs, outputs.get(name, []), 0)
