"""The trunk's cavity: inside the ribs and before the muscles of the back."""

import numpy as np
from jaxtyping import Bool, Float64, Int, Int16
from scipy import ndimage

from data_pipelines.bodycomp.trunk import find_labels
from data_pipelines.bodycomp.wall import N_RAYS, Rays, to_degrees

Mask = Bool[np.ndarray, "height width"]
Field = Float64[np.ndarray, "height width"]

#: Compact bone, HU: contrast in vessels, kidneys and bowel seldom reaches it.
BONE_ABOVE_HU = 250
#: A rib lies so near the wall's surface, mm; smaller specks are none, mm2.
RIB_WITHIN_MM, MIN_RIB_MM2 = 25.0, 20.0
#: The spine lies within so many mm of the midline; beside and behind its middle lies muscle to this distance.
SPINE_WITHIN_MM, BESIDE_SPINE_MM = 20.0, 30.0
#: Ribs so many degrees apart are neighbours; behind, the last ribs of both sides are, across the spine.
NEIGHBOUR_DEG, ACROSS_SPINE_DEG = 50.0, 130.0
_BACK_DEG = (60.0, 120.0)
_CONNECT_DIAGONALLY = np.ones((3, 3))


def find_outside_cavity(
    fat: Mask,
    hu: Int16[np.ndarray, "height width"],
    trunk: Mask,
    wall_depth_mm: Field,
    spacing_mm: tuple[float, float],
) -> Mask:
    """The fat beyond the chords between neighbouring ribs and behind the spine: it is between muscles.

    Where there are no ribs, as at the flanks of lower slices, nothing is marked.
    """
    rays = Rays.of(trunk, spacing_mm)
    back_mm, left_mm = rays.offsets_mm(hu.shape)
    bones, n = ndimage.label(trunk & (hu > BONE_ABOVE_HU), _CONNECT_DIAGONALLY)
    if not n:
        return np.zeros_like(trunk)
    midline = (back_mm > 0) & (np.abs(left_mm) < SPINE_WITHIN_MM)
    spine = _find_spine(bones, midline)
    behind_spine = np.zeros_like(trunk)
    if spine.any():
        beside_mm = np.abs(left_mm - left_mm[spine].mean())
        behind_spine = (back_mm > back_mm[spine].mean()) & (beside_mm < BESIDE_SPINE_MM)
    near = find_labels(bones, n, wall_depth_mm < RIB_WITHIN_MM) & ~find_labels(bones, n, midline)
    large = np.bincount(bones.ravel()) * spacing_mm[0] * spacing_mm[1] >= MIN_RIB_MM2
    return (fat & behind_spine) | _find_beyond_chords(fat, rays, (near & large)[bones])


def _find_spine(bones: Int[np.ndarray, "height width"], midline: Mask) -> Mask:
    """The bone that has most of the midline behind."""
    there = bones[midline & (bones > 0)]
    return bones == np.bincount(there).argmax() if there.size else np.zeros(bones.shape, bool)


def _find_beyond_chords(fat: Mask, rays: Rays, ribs: Mask) -> Mask:
    """The fat beyond the straight lines between the inner edges of neighbouring ribs."""
    outside = np.zeros_like(fat)
    steps = np.arange(0.0, rays.reach_mm(ribs) + sum(rays.spacing_mm), 0.5)
    hit = rays.sample(ribs, np.broadcast_to(steps, (N_RAYS, steps.size)), order=0) > 0
    found = np.flatnonzero(hit.any(axis=1))
    if found.size < 2:
        return outside
    edge_mm = steps[hit[found].argmax(axis=1)]
    degrees = found * (360 / N_RAYS)
    around = np.concatenate([degrees - 360, degrees, degrees + 360])
    corners = np.tile(edge_mm, 3) * np.array([np.sin(np.radians(around)), np.cos(np.radians(around))])
    point = np.stack([offset_mm[fat] for offset_mm in rays.offsets_mm(fat.shape)])
    at = np.searchsorted(around, to_degrees(*point), side="right") - 1
    start, end = corners[:, at], corners[:, at + 1]
    along = end - start
    # The middle and the point lie on different sides of the chord.
    beyond = _cross(along, point - start) * _cross(along, -start) < 0
    middle_deg = (around[at] + around[at + 1]) / 2 % 360
    at_back = (middle_deg > _BACK_DEG[0]) & (middle_deg < _BACK_DEG[1])
    outside[fat] = beyond & (around[at + 1] - around[at] <= np.where(at_back, ACROSS_SPINE_DEG, NEIGHBOUR_DEG))
    return outside


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[0] * b[1] - a[1] * b[0]
