"""Correlated fields: the scanner's noise and the fat's texture, both defined in mm and sampled on any grid."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32
from scipy import fft

Image = Float32[np.ndarray, "height width"]

#: Correlation length of fat texture at factor 0, mm, and its log per SD of the factor.
# The real fat of TotalSegmentator's example_ct_dicom series (Apache-2.0), z -768.5:
# autocorrelation .73, .51, .43 at 1 to 3 px of 0.977 mm, of which half the variance is scanner noise; the rest falls
# as exp(-d^2 / 2 L^2) with L about 4 mm.
MEDIAN_LENGTH_MM, LOG_LENGTH_PER_SD = 4.2, 0.30


def correlation_length_mm(factor: Float[np.ndarray, "..."], strength: float = 1.0) -> Float[np.ndarray, "..."]:
    """Correlation length L, mm, of a standard-normal texture factor: autocorrelation exp(-d^2 / 2 L^2)."""
    return MEDIAN_LENGTH_MM * np.exp(strength * LOG_LENGTH_PER_SD * np.asarray(factor))


# Scanner noise: liver of the same slice, 24 x 24 px patches (median of 71, patch mean removed): SD 13.6 HU,
# autocorrelation along rows .63 .31 .20 .12 .09, along columns .28 -.06 .00, so horizontal streaks. The model is a
# mixture of a Gaussian and an exponential along the row, Gaussian along the column; lengths in mm.
REFERENCE_SPACING_MM = 0.9765625
_STREAK_SHARE, _STREAK_MM, _ROW_MM, _COLUMN_MM = 0.38, 2.6, 0.87, 0.46


@lru_cache(maxsize=4)
def _frequencies(shape: tuple[int, int], spacing_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Cycles per mm along rows (column vector) and columns of a real FFT."""
    return fft.fftfreq(shape[0], spacing_mm)[:, None], fft.rfftfreq(shape[1], spacing_mm)[None, :]


def _noise_power(shape: tuple[int, int], spacing_mm: float) -> np.ndarray:
    """Noise power per pixel, before it is scaled to unit variance at the reference spacing."""
    fy, fx = _frequencies(shape, spacing_mm)
    column = np.exp(-2 * (np.pi * fy * _COLUMN_MM) ** 2)
    gauss = np.sqrt(2 * np.pi) * _ROW_MM * np.exp(-2 * (np.pi * fx * _ROW_MM) ** 2)
    streak = 2 * _STREAK_MM / (1 + (2 * np.pi * fx * _STREAK_MM) ** 2)
    return column * ((1 - _STREAK_SHARE) * gauss + _STREAK_SHARE * streak) / spacing_mm**2


def _variance(power: np.ndarray, width: int) -> float:
    """Variance of a real field whose half spectrum has this power."""
    twice = np.full(power.shape[1], 2.0)
    twice[0] = 1.0
    if width % 2 == 0:
        twice[-1] = 1.0
    return float((power * twice).sum() / (power.shape[0] * width))


@lru_cache(maxsize=4)
def _noise_filter(shape: tuple[int, int], spacing_mm: float) -> np.ndarray:
    reference = _variance(_noise_power((512, 512), REFERENCE_SPACING_MM), 512)
    return np.sqrt(_noise_power(shape, spacing_mm) / reference).astype(np.float32)


def _filtered(rng: np.random.Generator, shape: tuple[int, int], spectrum: np.ndarray) -> Image:
    white = rng.standard_normal(shape, dtype=np.float32)
    return fft.irfft2(fft.rfft2(white) * spectrum, s=shape).astype(np.float32)


def make_noise(rng: np.random.Generator, shape: tuple[int, int], spacing_mm: float) -> Image:
    """Scanner noise (shape): SD 1 at 0.977 mm; coarser pixels average more of it away, as a scanner's would."""
    return _filtered(rng, shape, _noise_filter(shape, spacing_mm))


def make_smooth(rng: np.random.Generator, shape: tuple[int, int], spacing_mm: float, length_mm: float) -> Image:
    """Gaussian field (shape), mean 0, SD 1, autocorrelation exp(-d^2 / 2 length^2), d in mm."""
    fy, fx = _frequencies(shape, spacing_mm)
    scale = (np.pi * length_mm) ** 2
    spectrum = (np.exp(-scale * fy**2) * np.exp(-scale * fx**2)).astype(np.float32)
    return _filtered(rng, shape, spectrum / np.float32(np.sqrt(_variance(spectrum**2, shape[1]))))


def rank_map(values: Float[np.ndarray, " pixel"], sample: Float[np.ndarray, " pixel"]) -> Float[np.ndarray, " pixel"]:
    """`sample` in the order of `values`: keeps where the high and low pixels lie, and nothing else of `values`.

    What comes out has exactly the sample's mean, SD and histogram, whatever the correlation of `values`.
    """
    mapped = np.empty_like(sample)
    mapped[np.argsort(values, kind="stable")] = np.sort(sample)
    return mapped
