"""One synthetic slice in Hounsfield units."""

import numpy as np
from jaxtyping import Float32
from scipy import ndimage
from scipy.special import ndtr, ndtri

from bonemet_jax import schema
from data_pipelines.canonical import CanonicalSlice
from data_pipelines.phantom import anatomy, texture

Image = Float32[np.ndarray, "height width"]

# Mean HU of each material, SD of its variation across the slice, gain of the scanner's noise. Fat, muscle, liver from
# TotalSegmentator's example_ct_dicom series at z -768.5: liver 90 +- 22 over its label but 13.6 within 24 px,
# erector spinae 29 +- 22 in range, fat -75 +- 26 in range and -83 +- 20 one pixel off its border. Noise is higher
# beside the spine.
_HU: dict[int, tuple[float, float, float]] = {
    anatomy.AIR: (-1000, 0, 0.7), anatomy.SKIN: (45, 5, 1), anatomy.SAT: (-84, 0, 1), anatomy.VAT: (-84, 0, 1),
    anatomy.MUSCLE: (44, 12, 1.3), anatomy.ESM: (31, 14, 1.4), anatomy.CORTEX: (620, 90, 1),
    anatomy.MARROW: (230, 35, 2.0), anatomy.CARTILAGE: (105, 12, 1), anatomy.LIVER: (91, 11, 1),
    anatomy.SPLEEN: (98, 5, 1), anatomy.GUT_WALL: (72, 12, 1), anatomy.GUT: (35, 12, 1), anatomy.GAS: (-930, 10, 1),
    anatomy.BLOOD: (148, 5, 1), anatomy.LUNG: (-800, 40, 1.5), anatomy.CANAL: (33, 6, 1.2),
    anatomy.COUCH: (420, 40, 1), anatomy.LIVER_VESSEL: (112, 11, 1),
}  # fmt: skip
#: Scanner noise, HU SD at 0.977 mm (texture.py); blur of edges, mm.
NOISE_HU, BLUR_MM = 13.2, 0.7
#: Correlation lengths, mm, of HU across the slice and of organ borders.
SLOW_MM, ROUGH_MM = 50.0, 14.0
#: Texture's SD before ranks decide, HU: about half of fat's variance at 0.977 mm, as in the real slice.
TEXTURE_HU = 13.5
#: Fat HU: a normal curve (mean, SD) cut to a range inside both of the paper's (row B1), so that every pixel counts.
#: One curve for subcutaneous and visceral fat: the histogram of all fat then knows nothing of their areas either.
FAT_HU, FAT_RANGE_HU = (-77.0, 25.0), (-149.4, -50.6)
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
    return render_with_anatomy(rng, shape, spacing_mm, areas, length_mm)[0]


def render_with_anatomy(
    rng: np.random.Generator, shape: tuple[int, int], spacing_mm: float, areas: anatomy.Areas, length_mm: float
) -> tuple[CanonicalSlice, anatomy.Anatomy]:
    """As render_slice, with the materials beside it."""
    rough = texture.make_smooth(rng, shape, spacing_mm, ROUGH_MM)
    slow = texture.make_smooth(rng, shape, spacing_mm, SLOW_MM)
    shapes = anatomy.make_anatomy(rng, shape, spacing_mm, areas, rough)
    mean = np.array([_HU[code][0] for code in range(len(_HU))], np.float32)
    mean[[anatomy.LIVER, anatomy.LIVER_VESSEL]] += np.float32(rng.normal(0, 5))
    mean[[anatomy.BLOOD, anatomy.SPLEEN]] += np.float32(rng.normal(0, 7))
    liver = np.isin(shapes.material, (anatomy.LIVER, anatomy.LIVER_VESSEL))
    slow[liver] -= slow[liver].mean()
    spread, gain = (np.array([_HU[code][k] for code in range(len(_HU))], np.float32) for k in (1, 2))
    sharp = mean[shapes.material]
    edges = ndimage.gaussian_filter(sharp, BLUR_MM / spacing_mm, truncate=3.0)
    noise = NOISE_HU * gain[shapes.material] * texture.make_noise(rng, shape, spacing_mm)
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
    low, high = ndtr((np.array(FAT_RANGE_HU) - FAT_HU[0]) / FAT_HU[1])
    for code in (schema.TISSUE_SAT, schema.TISSUE_VAT):
        fat = tissue == code
        sample = FAT_HU[0] + FAT_HU[1] * ndtri(rng.uniform(low, high, int(fat.sum())))
        hu[fat] = texture.rank_map((grain + rest)[fat], sample)
