"""One synthetic slice in Hounsfield units."""

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from bonemet_jax import schema
from data_pipelines.canonical import CanonicalSlice
from data_pipelines.phantom import anatomy, texture

Image = Float32[np.ndarray, "height width"]

# Mean HU of each material and the SD of its slow variation (length 8 mm). Fat, muscle and liver from data/ct_t11_dicom
# at z -768.5: liver 90 +- 22 over the label, erector spinae 29 +- 22 in range, fat -83 +- 20 one pixel off its border.
_HU: dict[int, tuple[float, float]] = {
    anatomy.AIR: (-1000, 0), anatomy.SKIN: (5, 5), anatomy.SAT: (-84, 0), anatomy.VAT: (-88, 0),
    anatomy.MUSCLE: (42, 16), anatomy.ESM: (32, 15), anatomy.CORTEX: (620, 120), anatomy.MARROW: (230, 45),
    anatomy.CARTILAGE: (105, 12), anatomy.LIVER: (90, 12), anatomy.SPLEEN: (100, 6), anatomy.GUT_WALL: (72, 12),
    anatomy.GUT: (35, 12), anatomy.GAS: (-930, 10), anatomy.BLOOD: (148, 5), anatomy.LUNG: (-800, 50),
    anatomy.CANAL: (33, 6), anatomy.COUCH: (420, 40),
}  # fmt: skip
#: Scanner noise, HU SD at 0.977 mm (texture.py); blur of edges, mm.
NOISE_HU, BLUR_MM, SLOW_MM = 13.0, 0.8, 8.0
#: Share of texture in the variance of fat that is not scanner noise at 0.977 mm: half, as in the real slice.
TEXTURE_HU = 13.5
#: Mean, SD and range of fat HU, before rounding: inside the paper's ranges (row B1) with room to spare.
FAT_HU: dict[int, tuple[float, float, float, float]] = {
    schema.TISSUE_SAT: (-84.0, 20.0, -185.0, -32.0),
    schema.TISSUE_VAT: (-88.0, 18.0, -148.0, -52.0),
}
#: Erector spinae stay inside the muscle range, so that the measured ESMA is the row's.
ESM_HU = (-28.0, 149.0)


def render_slice(
    rng: np.random.Generator, shape: tuple[int, int], spacing_mm: float, areas: anatomy.Areas, length_mm: float
) -> CanonicalSlice:
    """Draw one slice.

    Args:
        rng: individual variety, noise.
        shape: rows, columns.
        spacing_mm: pixel spacing, both axes.
        areas: SFA, VFA, ESMA the masks must measure.
        length_mm: correlation length of the fat's texture, the planted factor.
    """
    return _render(rng, shape, spacing_mm, areas, length_mm)[0]


def _render(
    rng: np.random.Generator, shape: tuple[int, int], spacing_mm: float, areas: anatomy.Areas, length_mm: float
) -> tuple[CanonicalSlice, anatomy.Anatomy]:
    slow = texture.make_smooth(rng, shape, spacing_mm, SLOW_MM)
    shapes = anatomy.make_anatomy(rng, shape, spacing_mm, areas, slow)
    mean = np.array([_HU[code][0] for code in range(len(_HU))], np.float32)
    mean[anatomy.LIVER] += np.float32(rng.normal(0, 6))
    mean[[anatomy.BLOOD, anatomy.SPLEEN]] += np.float32(rng.normal(0, 8))
    spread = np.array([_HU[code][1] for code in range(len(_HU))], np.float32)
    sharp = mean[shapes.material]
    edges = ndimage.gaussian_filter(sharp, BLUR_MM / spacing_mm, truncate=3.0)
    noise = NOISE_HU * texture.make_noise(rng, shape, spacing_mm)
    hu = edges + slow * spread[shapes.material] + noise
    _paint_fat(rng, hu, shapes.tissue, edges - sharp + noise, spacing_mm, length_mm)
    esm = shapes.tissue == schema.TISSUE_ESM
    hu[esm] = np.clip(hu[esm] - 0.5 * (edges - sharp)[esm], *ESM_HU)
    pixels = np.clip(np.rint(hu), schema.HU_PADDING, 3071).astype(np.int16)
    return CanonicalSlice(pixels, (spacing_mm, spacing_mm), shapes.tissue, shapes.body), shapes


def _paint_fat(
    rng: np.random.Generator, hu: Image, tissue: np.ndarray, rest: Image, spacing_mm: float, length_mm: float
) -> None:
    """Fat pixels: texture, noise and half of the edge blur decide their order, an independent sample their values.

    So mean, SD and histogram of fat HU know nothing of `length_mm`.
    """
    grain = TEXTURE_HU * texture.make_smooth(rng, hu.shape, spacing_mm, length_mm)
    for code, (mean, sd, low, high) in FAT_HU.items():
        fat = tissue == code
        n = int(fat.sum())
        sample = np.clip(rng.normal(mean, sd, n), low, high)
        hu[fat] = texture.rank_map((grain + rest)[fat], sample)
