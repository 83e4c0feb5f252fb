"""One image under two patients: found whole, flipped, moved or slightly changed, and refused where folds part the two.

Two steps. The fingerprint of a slice is the speckle of its low spatial frequencies: the log magnitude of its Fourier
transform less its own local mean. A shift changes no magnitude and a flip at most mirrors them, so two matrix products
compare all pairs; and the anatomy that patients share, which shapes the local mean, is gone. The few pairs that are
alike then show their pixels: fine grain, correlated at the best shift.

Found, of 40 copies each, flipped and moved, 160 x 200 pixels of 2 mm: noise of 20 HU, half a pixel with 10 HU, 1 %
larger with 10 HU and a turn by 0.5 degrees: all; half a pixel with 20 HU: 37.
Not found: noise of 30 HU (1 of 40), a turn by 1 degree (21) or more (none), another size by 1.5 % (30) or by 2 % and
more (none); and another image or scan of the same patient. On real CT a slice 6 mm further on is another image.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from jaxtyping import Float32, Int, UInt8
from scipy import fft, ndimage

from bonemet_jax import artifacts
from bonemet_jax.cohort.folds import Folds
from bonemet_jax.errors import LeakageError

#: Frequencies of the fingerprint, cycles a side: below, patients are alike; above, copies rescaled by 1 % are not.
_LOW_CYCLES, _HIGH_CYCLES = 4, 32
#: Side of the square of frequencies whose mean is the local mean.
_ENVELOPE_BINS = 9
#: Grain: what lies between two Gaussian blurs, pixels at 160 rows; grey levels are clipped, lest edges decide.
_GRAIN_PX, _GRAIN_ROWS, _GRAIN_CLIP = (0.7, 2.0), 160, 4.0
#: Grain forgives less than half a pixel: from this correlation on, halves between whole pixels and other scales of the
#: second image are tried, as (scale, (rows, columns) of a pixel).
_MAYBE_RESAMPLED = 0.62
_TRIES = (
    (1.0, (0.0, 0.0)), (1.0, (0.5, 0.0)), (1.0, (0.0, 0.5)), (1.0, (0.5, 0.5)), (0.99, (0.0, 0.0)), (1.01, (0.0, 0.0)),
)  # fmt: skip
#: Counts up with every change of the method that no constant above or below shows: pairs found before are sought again.
_VERSION = 2

# Chosen on a synthetic cohort of 431 (phantom.seed 1001, 160 x 200 pixels of 2 mm): copies flipped, moved by up to 20
# pixels, and noisy (5 HU), brighter, JPEG-coded or rescaled by 1 % keep a likeness of 0.49 and a correlation of 0.90;
# between pixels and noisy by 10 HU, 0.83. Different patients (seeds 0 and 1001) that reach a likeness of 0.45 reach
# 0.52; the grain of those that reach 0.38 correlates by 0.69 at most, halves of a pixel tried.
MIN_LIKENESS, MIN_CORRELATION = 0.45, 0.78

ReadCt = Callable[[Int[np.ndarray, " example"]], UInt8[np.ndarray, "example height width"]]


@dataclass(frozen=True)
class Pair:
    """Two patients, the first earlier in the records, whose images are nearly one."""

    first: str
    second: str
    flip: tuple[bool, bool]
    """(vertical, horizontal) flip that brings the second onto the first."""
    scale: float
    """Factor by which it is then magnified about its middle: 1, 0.99 or 1.01."""
    shift_px: tuple[float, float]
    """Rows and columns by which it is then moved, stored pixels and halves."""
    likeness: float
    """Cosine of the fingerprints."""
    correlation: float
    """Correlation of the grain where both overlap."""
    is_exact: bool
    """Every pixel of the overlap is equal."""


class _PairsFile(TypedDict):
    """near_duplicates.json."""

    n: int
    pairs: list[Pair]


def method_settings() -> dict[str, Any]:
    """All that decides which pairs are found in the same images."""
    return {
        "version": _VERSION, "min_likeness": MIN_LIKENESS, "min_correlation": MIN_CORRELATION,
        "cycles": [_LOW_CYCLES, _HIGH_CYCLES], "envelope_bins": _ENVELOPE_BINS,
        "grain": [_GRAIN_PX, _GRAIN_ROWS, _GRAIN_CLIP], "tries": _TRIES, "maybe_resampled": _MAYBE_RESAMPLED,
    }  # fmt: skip


def compute_descriptor(
    ct: UInt8[np.ndarray, "example height width"],
) -> Float32[np.ndarray, "example freq_r freq_c"]:
    """Fingerprint of each slice, of length 1 (0 for a slice without structure); a flip mirrors its row axis.

    Args:
        ct: stored CT, any window. Frequencies from -32 to 32 cycles a side in rows, 0 to 32 in columns, or as many as
            the image holds.

    Raises: ValueError for another number of axes, or images too small to have these frequencies.
    """
    if ct.ndim != 3 or min(ct.shape[1:]) < 2 * (_LOW_CYCLES + 1):
        raise ValueError(f"ct has shape {ct.shape}, wanted (example, height, width) of at least "
                         f"{2 * (_LOW_CYCLES + 1)} pixels a side")
    n_rows, n_columns = (min(_HIGH_CYCLES, side // 2 - 1) for side in ct.shape[1:])
    spectrum = fft.rfft2(np.asarray(ct, np.float32))[..., : n_columns + 1]
    spectrum = np.concatenate([spectrum[:, -n_rows:], spectrum[:, : n_rows + 1]], axis=1)
    level = np.log1p(np.abs(spectrum))
    # Real images: the left half of the plane is the right one turned by half a circle.
    plane = np.concatenate([level[:, ::-1, :0:-1], level], axis=2)
    envelope = ndimage.uniform_filter(plane, (0, _ENVELOPE_BINS, _ENVELOPE_BINS), mode="nearest")[..., n_columns:]
    cycles = np.hypot(*np.ogrid[-n_rows : n_rows + 1, : n_columns + 1])
    kept = (cycles >= _LOW_CYCLES) & (cycles <= _HIGH_CYCLES)
    speckle = np.where(kept, np.clip(level - envelope, -2, 2), 0)
    length = np.sqrt(np.square(speckle).sum(axis=(1, 2), keepdims=True))
    return (speckle / np.maximum(length, 1e-6)).astype(np.float32)


def find_near_duplicates(patient_ids: Sequence[str], read_ct: ReadCt, block: int = 64) -> tuple[Pair, ...]:
    """Every pair of patients whose images are nearly one, in the records' order.

    Pixels are read in blocks and let go: what is held is two fingerprints of 9 kB a patient. Time grows with the square
    of the patients: 10,000 of 160 x 200 pixels took 46 s on one CPU core.

    Args:
        patient_ids: unique, one a record.
        read_ct: stored CT of the records at these positions.
        block: records read, and fingerprints compared, at once.
    """
    n = len(patient_ids)
    if not n:
        return ()
    prints = np.concatenate([compute_descriptor(read_ct(np.arange(i, min(i + block, n)))) for i in range(0, n, block)])
    pairs = (_compare(patient_ids, read_ct, *candidate) for candidate in _find_candidates(prints, block))
    return tuple(pair for pair in pairs if pair is not None)


def _find_candidates(
    prints: Float32[np.ndarray, "example freq_r freq_c"], block: int
) -> Iterator[tuple[int, int, bool, float]]:
    """(first, second, is_mirrored, likeness) of every pair that is alike enough, position `first` below `second`."""
    flat = prints.reshape(len(prints), -1)
    mirrored = prints[:, ::-1].reshape(len(prints), -1)
    for start in range(0, len(flat), block):
        straight, turned = (flat[start : start + block] @ others[start:].T for others in (flat, mirrored))
        likeness = np.maximum(straight, turned)
        for i, j in np.argwhere(np.triu(likeness, k=1) >= MIN_LIKENESS):
            yield start + int(i), start + int(j), bool(turned[i, j] > straight[i, j]), float(likeness[i, j])


def _compare(
    patient_ids: Sequence[str], read_ct: ReadCt, first: int, second: int, is_mirrored: bool, likeness: float
) -> Pair | None:
    """The pair, when the grain says so too; magnitudes cannot tell both flips from none, nor one from the other."""
    a, b = read_ct(np.array([first, second]))
    grain, found = _grain(a), (-1.0, (0, 0), (False, False), _TRIES[0])
    for scale, part_px in _TRIES:
        for flip in ((False, is_mirrored), (True, not is_mirrored)):
            moved = _resample(_flip(b, flip), scale, part_px)
            found = max(found, (*_correlate(grain, _grain(moved)), flip, (scale, part_px)))
        if found[0] >= MIN_CORRELATION:
            correlation, (rows, columns), flip, (scale, part_px) = found
            is_exact = (scale, part_px) == _TRIES[0] and np.array_equal(*_overlap(a, _flip(b, flip), (rows, columns)))
            shift_px = rows + part_px[0], columns + part_px[1]
            return Pair(patient_ids[first], patient_ids[second], flip, scale, shift_px, round(likeness, 4),
                        round(correlation, 4), is_exact)
        if found[0] < _MAYBE_RESAMPLED:
            break
    return None


def _grain(ct: np.ndarray) -> Float32[np.ndarray, "height width"]:
    pixels, unit = ct.astype(np.float32), len(ct) / _GRAIN_ROWS
    fine, coarse = (ndimage.gaussian_filter(pixels, sigma * unit) for sigma in _GRAIN_PX)
    return np.clip(fine - coarse, -_GRAIN_CLIP, _GRAIN_CLIP)


def _resample(ct: UInt8[np.ndarray, "height width"], scale: float, part_px: tuple[float, float]) -> np.ndarray:
    """The slice magnified about its middle, then moved by a part of a pixel down and right."""
    if (scale, part_px) == _TRIES[0]:
        return ct
    middle = (np.array(ct.shape) - 1) / 2
    matrix = np.full(2, 1 / scale)
    return ndimage.affine_transform(ct.astype(np.float32), matrix, middle - (middle + part_px) * matrix, order=1)


def _correlate(
    a: Float32[np.ndarray, "height width"], b: Float32[np.ndarray, "height width"]
) -> tuple[float, tuple[int, int]]:
    """Greatest correlation of a with b moved, and the move in rows and columns; outside the body grain is 0."""
    padded = [fft.next_fast_len(2 * side, real=True) for side in a.shape]
    product = fft.irfft2(fft.rfft2(a, padded) * np.conj(fft.rfft2(b, padded)), padded)
    peak = np.unravel_index(np.argmax(product), product.shape)
    rows, columns = (int(at) if at < side else int(at) - size
                     for at, side, size in zip(peak, a.shape, padded, strict=True))
    shift = rows, columns
    a, b = _overlap(a, b, shift)
    scale = float(np.sqrt(np.square(a).sum() * np.square(b).sum()))
    return (float((a * b).sum()) / scale if scale else 0.0), shift


def _flip(image: np.ndarray, flip: tuple[bool, bool]) -> np.ndarray:
    return image[:: -1 if flip[0] else 1, :: -1 if flip[1] else 1]


def _overlap(a: np.ndarray, b: np.ndarray, shift: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The parts of a and of b, moved by shift, that lie on each other."""
    of_a = tuple(slice(max(by, 0), side + min(by, 0)) for by, side in zip(shift, a.shape, strict=True))
    of_b = tuple(slice(max(-by, 0), side + min(-by, 0)) for by, side in zip(shift, a.shape, strict=True))
    return a[of_a], b[of_b]


def check_leakage(pairs: Sequence[Pair], folds: Folds, where: object = "") -> None:
    """Refuse folds that part two patients of one image, and say how many such pairs they part.

    Pairs suffice for groups: who shares every split with a second shares it with the second's second.

    Args:
        where: the file that names the patients; the message counts them in the order of their ids.

    Raises: LeakageError for the first pair in different splits of any fold.
    """
    parted = [(pair, fold) for pair in pairs if (fold := _parting_fold(pair, folds)) is not None]
    if not parted:
        return
    pair, fold = parted[0]
    both = pair.first, pair.second
    splits = [folds.split_of(p, fold) for p in both]
    position = {p: i for i, p in enumerate(sorted(folds.splits), start=1)}
    raise LeakageError(
        f"one image under two patients, {splits[0]} and {splits[1]} in fold {fold}: patients {position[both[0]]} and "
        f"{position[both[1]]} of {len(position)} in the order of their ids (1 of {len(parted)} such pairs)",
        where, "leave one out of the cohort; or, also when it is a false alarm, copy folds.json without its "
               '"sha256" line, give both the same entry, and add --folds.file with the copy',
    )


def _parting_fold(pair: Pair, folds: Folds) -> int | None:
    """First fold in which the two are in different splits."""
    both = pair.first, pair.second
    return next((k for k in range(folds.n_folds) if len({folds.split_of(p, k) for p in both}) > 1), None)


def save_pairs(path: Path, pairs: Sequence[Pair], n: int) -> None:
    """Write near_duplicates.json (docs/contracts.md); n is the number of patients compared."""
    artifacts.write_json(path, {
        "n": n, "min_likeness": MIN_LIKENESS, "min_correlation": MIN_CORRELATION,
        "pairs": [asdict(pair) for pair in pairs],
    })  # fmt: skip


def load_pairs(path: Path) -> tuple[Pair, ...]:
    """Read near_duplicates.json. Raises: CorruptFileError for a damaged file."""
    value = artifacts.load_json(path, _PairsFile)
    return tuple(Pair(**pair | {"flip": tuple(pair["flip"]), "shift_px": tuple(pair["shift_px"])})
                 for pair in value["pairs"])
