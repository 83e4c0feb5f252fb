"""Shell: write the synthetic cohort directory (docs/contracts.md)."""

import io
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from bonemet_jax import artifacts, schema
from bonemet_jax.config import PhantomConfig
from bonemet_jax.errors import CorruptFileError, UsageError
from bonemet_jax.progress import track
from data_pipelines.canonical import load_slice, save_slice
from data_pipelines.phantom import anatomy, render, tabular, texture, truth

_OVERLAYS = 10
_KIND = "synthetic"
#: Below this many slices starting processes costs more than it saves.
_SPAWN_FROM = 64


def make_cohort(config: PhantomConfig, out: Path, workers: int = 2) -> None:
    """Write the cohort: table, one slice a patient, planted truth, overlays of the first ten, manifest last.

    Equal configs give equal files, whatever `workers` (processes that draw slices) is; images are never held together.

    Raises:
        UsageError: `out` holds something that is not a synthetic cohort; it would be replaced.
        DiskError: a write failed; nothing is left under `out` then.
    """
    _check_free(out)
    table, factor, redrawn = tabular.draw_cohort(config)
    with artifacts.atomic_dir(out) as partial:
        artifacts.save_table(partial / "cohort.parquet", table)
        artifacts.write_json(partial / "truth.json", truth.describe_truth(config, table, factor, redrawn))
        lengths = texture.correlation_length_mm(factor, config.texture_strength)
        areas = table[["sfa_cm2", "vfa_cm2", "esma_cm2"]].to_numpy(float)
        tasks = [
            (config, partial / "slices" / f"{name}.npz", i, anatomy.Areas(*areas[i].tolist()), float(lengths[i]))
            for i, name in enumerate(table[schema.SLICE_ID])
        ]
        for _ in track(_work(tasks, workers), "synthetic slices", config.n):
            pass
        for name in table[schema.SLICE_ID][:_OVERLAYS]:
            _save_overlay(partial, name)
        facts = {"kind": _KIND, "n": config.n, "generator": config.generator, "seed": config.seed,
                 "null": config.null}  # fmt: skip
        artifacts.write_manifest(partial, facts)


def _check_free(out: Path) -> None:
    """An earlier synthetic cohort may be replaced; anything else under `out`, a real cohort too, may not."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not _is_synthetic(out / artifacts.MANIFEST):
        raise UsageError("output folder holds files that are no synthetic cohort", out, "name a new or empty folder")


def _is_synthetic(manifest: Path) -> bool:
    try:
        value = artifacts.load_json(manifest) if manifest.is_file() else None
    except CorruptFileError:
        return False
    facts = value.get("facts") if isinstance(value, dict) else None
    return isinstance(facts, dict) and facts.get("kind") == _KIND


Task = tuple[PhantomConfig, Path, int, anatomy.Areas, float]


def _work(tasks: list[Task], workers: int) -> Iterator[None]:
    """Draw every slice, in this process or in spawned ones (forks beside threads crash)."""
    if workers <= 1 or len(tasks) < _SPAWN_FROM:
        yield from map(_save_one, tasks)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_save_one, tasks, chunksize=4)


def _save_one(task: Task) -> None:
    config, path, index, areas, length_mm = task
    rng = np.random.default_rng([config.seed, 1, index])
    save_slice(path, render.render_slice(rng, (config.height, config.width), config.spacing_mm, areas, length_mm))


def _save_overlay(directory: Path, name: str) -> None:
    from data_pipelines.bodycomp.overlay import draw_overlay

    picture = draw_overlay(load_slice(directory / "slices" / f"{name}.npz"), f"{name} (synthetic)")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    artifacts.write_bytes(directory / "overlays" / f"{name}.png", buffer.getvalue())
