"""Neighbours compared with the pixel in whole numbers: what LBP is when nothing rounds."""

import numpy as np

PARTS = 100_000


def compute_margins(image: np.ndarray, P: int, R: float) -> np.ndarray:
    """Neighbour p less the pixel, (P, height, width) int64, 1e-10 grey levels, of a picture of integers.

    Offsets rounded to 5 decimals as in scikit-image; then exact.
    """
    height, width = image.shape
    reach = int(R) + 2
    padded = np.pad(image.astype(np.int64), reach)
    margins = np.empty((P, height, width), np.int64)
    for p in range(P):
        angle = 2 * np.pi * p / P
        (i, fr), (j, fc) = (divmod(round(offset * PARTS), PARTS) for offset in (-R * np.sin(angle), R * np.cos(angle)))
        cell = [[padded[reach + i + u :, reach + j + v :][:height, :width] for v in (0, 1)] for u in (0, 1)]
        top, bottom = ((PARTS - fc) * left + fc * right for left, right in cell)
        margins[p] = (PARTS - fr) * top + fr * bottom - PARTS**2 * image.astype(np.int64)
    return margins


def compute_code(margins: np.ndarray) -> np.ndarray:
    """Code of method "default" from the margins."""
    return np.sum([(margin >= 0).astype(np.int64) << p for p, margin in enumerate(margins)], axis=0)
