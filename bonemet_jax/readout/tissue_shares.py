"""How much of a Grad-CAM lies in which tissue, beside how much of the picture that tissue is."""

import numpy as np
from jaxtyping import Float, UInt8

from bonemet_jax import schema

#: Parts of the picture, disjoint, together all of it: name -> as a reader knows it. Their places here are their codes.
REGIONS: dict[str, str] = {
    "sat": "subcutaneous fat", "vat": "visceral fat", "muscle": "erector spinae",
    "fat_unsegmented": "fat, unsegmented", "body": "rest of the body", "outside": "outside the body",
}
_TISSUES: dict[str, int] = {
    "sat": schema.TISSUE_SAT, "vat": schema.TISSUE_VAT, "muscle": schema.TISSUE_ESM,
    "fat_unsegmented": schema.TISSUE_FAT_UNSEGMENTED,
}


def make_regions(
    tissue: UInt8[np.ndarray, "... height width"], body: UInt8[np.ndarray, "... height width"]
) -> UInt8[np.ndarray, "... height width"]:
    """Each pixel's place in REGIONS, from tissue codes of the schema and the trunk's mask."""
    names = list(REGIONS)
    regions = np.where(body > 0, names.index("body"), names.index("outside")).astype(np.uint8)
    for name, code in _TISSUES.items():
        regions[tissue == code] = names.index(name)
    return regions


def compute_shares(
    cam: Float[np.ndarray, "... patient height width"], regions: UInt8[np.ndarray, "patient height width"]
) -> Float[np.ndarray, "... patient region"]:
    """Share of each map's sum in each of REGIONS; NaN for a map that is zero everywhere."""
    mass = _sum_by_region(cam, regions)
    total = mass.sum(-1, keepdims=True)
    return np.divide(mass, total, out=np.full(mass.shape, np.nan), where=total > 0)


def compute_area_shares(regions: UInt8[np.ndarray, "patient height width"]) -> Float[np.ndarray, "patient region"]:
    """Share of each picture's pixels in each of REGIONS: what a map without preference would have."""
    return compute_shares(np.ones(regions.shape, np.float32), regions)


def _sum_by_region(cam: np.ndarray, regions: np.ndarray) -> Float[np.ndarray, "... patient region"]:
    """One count over all patients a map: each has codes of its own."""
    n = len(regions)
    codes = (regions + len(REGIONS) * np.arange(n, dtype=np.int64)[:, None, None]).ravel()
    sums = [np.bincount(codes, one.ravel(), n * len(REGIONS)) for one in cam.reshape(-1, *regions.shape)]
    return np.reshape(sums, (*cam.shape[:-2], len(REGIONS)))
