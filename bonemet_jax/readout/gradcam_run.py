"""Shell: Grad-CAM of every patient of a run, by the network of the fold that holds the patient out; gradcam.npz."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from bonemet_jax import artifacts, hosts
from bonemet_jax.cohort.folds import Folds
from bonemet_jax.config import Config
from bonemet_jax.errors import CorruptFileError
from bonemet_jax.input_pipeline.records import Records
from bonemet_jax.progress import Progress
from bonemet_jax.readout.embeddings import load_state
from bonemet_jax.readout.gradcam import EVIDENCE, CamBatch, find_stages, read_gradcam
from bonemet_jax.readout.tissue_shares import REGIONS, compute_area_shares, compute_shares
from bonemet_jax.train.loop import get_fed_engine

ReadRegions = Callable[[Sequence[str]], UInt8[np.ndarray, "patient height width"]]


class _Part(NamedTuple):
    """What is kept of a batch."""

    position: Int[np.ndarray, " patient"]
    share: Float[np.ndarray, "evidence stage patient region"]
    area_share: Float[np.ndarray, "patient region"]
    mass: Float[np.ndarray, "evidence stage patient"]
    """Sum of each map's pixels."""
    shown: dict[int, dict[str, np.ndarray]]
    """By position, of the few patients that are drawn: cam, cam_max, region."""


def compute_run_gradcam(
    records: Records, folds: Folds, config: Config, run_dir: Path, read_regions: ReadRegions
) -> None:
    """Write gradcam.npz (docs/contracts.md): shares of all test patients, maps of two of each fold.

    Args:
        records: Of the run.
        folds: Whose network holds out whom.
        config: The run.
        run_dir: With embeddings.npz: maps are kept of the highest and the lowest scored test patient of each fold.
        read_regions: Places in REGIONS of these patients' pixels; asked on the writing process alone.

    Raises: as `compute_gradcam`; CorruptFileError when embeddings.npz is of other records.
    """
    score = _load_scores(run_dir / "embeddings.npz", records, folds.n_folds)
    row = {patient: i for i, patient in enumerate(records.patient_id)}
    tested = [np.array([row[patient] for patient in folds.patient_ids(k, "test")]) for k in range(folds.n_folds)]
    shown = [position for fold, at in enumerate(tested) for position in _pick_extremes(at, score[fold, at])]
    parts = list(_read_parts(records, config, run_dir, tested, shown, read_regions))
    if hosts.is_writer():
        stages = {"stage": np.array(find_stages(config.model)), "evidence": np.array(EVIDENCE)}
        arrays = stages | _describe_patients(records, tested, score) | _join(parts) | _join_shown(parts, shown, records)
        artifacts.save_npz(run_dir / "gradcam.npz", arrays)


def _load_scores(path: Path, records: Records, n_folds: int) -> Float[np.ndarray, "fold patient"]:
    arrays = artifacts.load_npz(path, layout={"patient_id": ("U", 1), "score": ("f", 2)})
    wanted = (n_folds, len(records))
    if tuple(arrays["patient_id"].tolist()) != records.patient_id or arrays["score"].shape != wanted:
        raise CorruptFileError("embeddings are not of these records and folds", path, "run `embed` again")
    return arrays["score"]


def _pick_extremes(positions: Int[np.ndarray, " patient"], score: Float[np.ndarray, " patient"]) -> list[int]:
    """The highest scored and the lowest scored, which may be one."""
    return list(dict.fromkeys(positions[[score.argmax(), score.argmin()]].tolist()))


def _read_parts(
    records: Records, config: Config, run_dir: Path, tested: Sequence[Int[np.ndarray, " patient"]],
    shown: Sequence[int], read_regions: ReadRegions,
) -> Iterator[_Part]:
    """Batch after batch, fold after fold; on the writing process alone, but all compute."""
    template = get_fed_engine(records, config).engine.state_template()
    with Progress("gradcam", sum(map(len, tested))) as progress:
        for fold, positions in enumerate(tested):
            state = load_state(config, run_dir, fold, template)
            for batch in read_gradcam(records, config, state, positions.tolist(), run_dir=run_dir):
                if hosts.is_writer():
                    regions = read_regions([records.patient_id[i] for i in batch.position])
                    yield _measure(batch, regions, shown)
                progress.advance(len(batch.position), f"fold {fold}")


def _measure(batch: CamBatch, regions: UInt8[np.ndarray, "patient height width"], shown: Sequence[int]) -> _Part:
    mass = batch.cam.sum((-2, -1), dtype=np.float64)
    kept = {at: _keep(batch.cam[:, :, i], regions[i]) for i, at in enumerate(batch.position.tolist()) if at in shown}
    return _Part(batch.position, compute_shares(batch.cam, regions), compute_area_shares(regions), mass, kept)


def _keep(cam: Float[np.ndarray, "evidence stage height width"], region: np.ndarray) -> dict[str, np.ndarray]:
    """Each map in parts of its own maximum, so that float16 holds it."""
    top = cam.max((-2, -1), keepdims=True)
    scaled = np.divide(cam, top, out=np.zeros_like(cam), where=top > 0)
    return {"cam": scaled.astype(np.float16), "cam_max": top[..., 0, 0], "region": region}


def _describe_patients(records: Records, tested: Sequence[np.ndarray], score: np.ndarray) -> dict[str, np.ndarray]:
    """Who is in the file, in the records' order."""
    fold = np.concatenate([np.full(len(at), k) for k, at in enumerate(tested)])
    at = np.concatenate(tested)
    order = np.argsort(at)
    fold, at = fold[order], at[order]
    return {"patient_id": np.array(records.patient_id)[at], "fold": fold, "label": records.label[at],
            "score": score[fold, at]}


def _join(parts: Sequence[_Part]) -> dict[str, np.ndarray]:
    """What is known of all patients, in the records' order."""
    order = np.argsort(np.concatenate([part.position for part in parts]))
    return {
        "region": np.array(list(REGIONS)),
        "region_label": np.array(list(REGIONS.values())),
        "share": np.concatenate([part.share for part in parts], axis=2)[:, :, order].astype(np.float32),
        "mass": np.concatenate([part.mass for part in parts], axis=2)[:, :, order],
        "area_share": np.concatenate([part.area_share for part in parts])[order].astype(np.float32),
    }


def _join_shown(parts: Sequence[_Part], shown: Sequence[int], records: Records) -> dict[str, np.ndarray]:
    """The patients who are drawn, as they were chosen."""
    kept = {at: arrays for part in parts for at, arrays in part.shown.items()}
    return {
        "shown_patient_id": np.array([records.patient_id[at] for at in shown]),
        "shown_cam": np.stack([kept[at]["cam"] for at in shown], axis=2),
        "shown_cam_max": np.stack([kept[at]["cam_max"] for at in shown], axis=2),
        "shown_region": np.stack([kept[at]["region"] for at in shown]),
        "shown_ct": records.read(shown, ("ct",))["ct"],
    }
