"""A T11-like cross-section: shapes in mm whose pixel counts meet the row's SFA, VFA and ESMA.

Each region is "the n pixels where a field in mm is smallest", so its area is exact to half a pixel.
Axes: x to the picture's right (the patient's left), y down (posterior), origin in the trunk's middle.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from bonemet_jax import schema

(AIR, SKIN, SAT, MUSCLE, ESM, CORTEX, MARROW, CARTILAGE, LIVER, SPLEEN, GUT_WALL, GUT, GAS, BLOOD, LUNG, VAT, CANAL,
 COUCH, LIVER_VESSEL) = range(19)  # fmt: skip

Field = Float32[np.ndarray, "height width"]
Codes = UInt8[np.ndarray, "height width"]
Mask = Bool[np.ndarray, "height width"]
_ANGLES = 4096
#: Trunk inside the subcutaneous ring without visceral fat and erector spinae: wall, spine, organs. Our choice.
_LEAN_CM2, _LEAN_SD = 345.0, 0.06
_SKIN_MM = 2.2


@dataclass(frozen=True)
class Anatomy:
    """What lies where."""

    material: Codes
    """Codes of this module."""
    tissue: Codes
    """Codes of the schema."""
    body: Codes
    """1 inside the skin."""


@dataclass(frozen=True)
class Areas:
    """The row's areas, cm2."""

    sfa_cm2: float
    vfa_cm2: float
    esma_cm2: float


@dataclass(frozen=True)
class _Trunk:
    """Grid and outline of one patient; profiles are functions of the angle from the front."""

    x: Field
    y: Field
    radius: Field
    angle: np.ndarray
    """Index (height, width) into the profiles."""
    half_width_mm: float
    half_depth_mm: float
    profiles: dict[str, np.ndarray]

    def profile(self, name: str) -> Field:
        """A profile, mm, at every pixel's angle."""
        return self.profiles[name][self.angle]


def smallest(values: Field, allowed: Mask, n: int) -> Mask:
    """The n allowed pixels with the smallest values.

    Raises: ArithmeticError when fewer than n pixels are allowed.
    """
    candidates = np.flatnonzero(allowed)
    if candidates.size < n:
        raise ArithmeticError(f"{n} pixels wanted, {candidates.size} to choose from")
    chosen = np.zeros(values.size, bool)
    if n:
        chosen[candidates[np.argpartition(values.ravel()[candidates], n - 1)[:n]]] = True
    return chosen.reshape(values.shape)


def _ellipse(t: _Trunk, x: float, y: float, rx: float, ry: float, tilt: float = 0.0) -> Field:
    """Signed distance, mm (approximate): negative inside an ellipse with half axes rx, ry, turned by `tilt` rad."""
    c, s = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    dx, dy = t.x - np.float32(x), t.y - np.float32(y)
    u, v = (c * dx + s * dy) / np.float32(rx), (c * dy - s * dx) / np.float32(ry)
    return (np.sqrt(u * u + v * v) - 1) * np.float32(min(rx, ry))


def _capsule(t: _Trunk, start: tuple[float, float], end: tuple[float, float], radius: float) -> Field:
    """Signed distance, mm, to a segment with round ends."""
    ax, ay = np.float32(start[0]), np.float32(start[1])
    bx, by = np.float32(end[0] - start[0]), np.float32(end[1] - start[1])
    share = np.clip(((t.x - ax) * bx + (t.y - ay) * by) / (bx * bx + by * by), 0, 1)
    return np.hypot(t.x - ax - share * bx, t.y - ay - share * by) - np.float32(radius)


def make_anatomy(
    rng: np.random.Generator, shape: tuple[int, int], spacing_mm: float, areas: Areas, rough: Field
) -> Anatomy:
    """Lay out one cross-section.

    Args:
        rng: individual variety.
        shape: rows, columns.
        spacing_mm: pixel spacing, both axes.
        areas: what the masks must measure, within half a pixel.
        rough: smooth field of mean 0 and SD 1 that makes organ borders irregular.
    """
    pixel_cm2 = spacing_mm**2 / 100
    n_sat, n_vat, n_esm = (round(a / pixel_cm2) for a in (areas.sfa_cm2, areas.vfa_cm2, areas.esma_cm2))
    t = _make_trunk(rng, shape, spacing_mm, areas)
    material = np.zeros(shape, np.uint8)

    depth = t.radius - t.profile("lean")
    thickness = t.profile("fat")
    sat = smallest(depth / thickness, depth > 0, n_sat)
    level = float((depth / thickness)[sat].max(initial=0.0))
    body = depth <= thickness * np.float32(level) + np.float32(_SKIN_MM)
    material[body] = SKIN
    material[depth <= 0] = MUSCLE
    material[sat] = SAT

    spine, bone = _paint_spine(rng, t, areas.esma_cm2)
    esm_field = _erector_spinae(t, areas.esma_cm2)
    esm = smallest(esm_field, (depth < -2.5) & (spine > 0.5), n_esm)
    border = float(esm_field[esm].max(initial=0.0))
    material[esm] = ESM

    inner = depth + t.profile("wall")
    cavity = (inner < 0) & (spine > 3) & (esm_field > border + 4) & ~esm
    _paint_cavity(rng, t, material, cavity, inner, rough, n_vat)
    _paint_ribs(rng, t, material, esm | cavity)
    material[bone > 0] = bone[bone > 0]
    _paint_couch(t, material, body)

    tissue = np.zeros(shape, np.uint8)
    for code, of_material in ((schema.TISSUE_SAT, SAT), (schema.TISSUE_VAT, VAT), (schema.TISSUE_ESM, ESM)):
        tissue[material == of_material] = code
    return Anatomy(material, tissue, body.astype(np.uint8))


def _make_trunk(rng: np.random.Generator, shape: tuple[int, int], spacing_mm: float, areas: Areas) -> _Trunk:
    """Outline of the lean trunk, profiles over the angle, and the grid on which the trunk lies on its couch."""
    phi = (np.arange(_ANGLES) / _ANGLES * 2 - 1) * np.pi  # 0 in front, +-pi behind
    side = np.rad2deg(np.abs(phi))
    lean = _lean_profile(rng, phi, areas)
    fat = _fat_profile(rng, phi)
    wall = _smooth(np.interp(side, [0, 6, 14, 30, 60, 100, 140, 180], [5, 6, 12, 12, 13, 14, 16, 18]), 40)
    profiles = {"lean": lean, "fat": fat, "wall": wall, "lungs": _lung_profile(rng, phi)}

    ring_mm = areas.sfa_cm2 * 100 / float(np.sum(lean * fat) * 2 * np.pi / _ANGLES)
    front, flank, back = (int(np.argmin(np.abs(side - angle))) for angle in (0, 90, 180))
    front_mm, back_mm = ((lean + ring_mm * fat)[k] + _SKIN_MM for k in (front, back))
    # The couch (22 mm) shares the picture; what does not fit is cut off the couch, never off the trunk.
    middle = max((front_mm - back_mm - 22) / 2, front_mm + 4 - shape[0] * spacing_mm / 2)
    x = (np.arange(shape[1]) - (shape[1] - 1) / 2) * spacing_mm + rng.normal(0, 2)
    y = (np.arange(shape[0]) - (shape[0] - 1) / 2) * spacing_mm - middle
    x, y = (v.astype(np.float32) for v in np.meshgrid(x, y))
    angle = ((np.arctan2(x, -y) / np.float32(np.pi) + 1) * (_ANGLES / 2)).astype(np.int32) % _ANGLES
    return _Trunk(
        x, y, np.hypot(x, y), angle, float(lean[flank]), float(lean[front] + lean[back]) / 2,
        {name: values.astype(np.float32) for name, values in profiles.items()},
    )  # fmt: skip


def _lean_profile(rng: np.random.Generator, phi: np.ndarray, areas: Areas) -> np.ndarray:
    """Radius of the fascia, mm: a superellipse, boxier behind, with a groove over the spine."""
    side = np.rad2deg(np.abs(phi))
    lean_cm2 = _LEAN_CM2 * np.exp(rng.normal(0, _LEAN_SD)) + areas.vfa_cm2 + areas.esma_cm2
    ratio = np.clip(rng.normal(1.40, 0.05) - 0.0003 * (lean_cm2 + areas.sfa_cm2 - 600), 1.25, 1.55)
    power = 2.45 - 0.30 * np.cos(phi)
    lean = (np.abs(np.sin(phi) / ratio) ** power + np.abs(np.cos(phi)) ** power) ** (-1 / power)
    for k in range(2, 6):
        lean *= 1 + rng.normal(0, 0.012 / k) * np.cos(k * phi) + rng.normal(0, 0.006 / k) * np.sin(k * phi)
    lean *= 1 - 0.03 * np.exp(-(((side - 180) / 8) ** 2)) - 0.01 * np.exp(-((side / 10) ** 2))
    area_mm2 = 0.5 * np.sum(lean**2) * 2 * np.pi / _ANGLES
    return lean * np.sqrt(lean_cm2 * 100 / area_mm2)


def _fat_profile(rng: np.random.Generator, phi: np.ndarray) -> np.ndarray:
    """Relative thickness of subcutaneous fat: thickest at the flanks behind."""
    front, flank, back = rng.normal(0.75, 0.12), rng.normal(1.15, 0.1), rng.normal(0.80, 0.08)
    fat = np.interp(
        np.rad2deg(np.abs(phi)), [0, 35, 80, 125, 155, 180], [front, front + 0.1, 0.85, flank, back, back * 0.9]
    )
    return np.maximum(_smooth(fat * (1 + rng.normal(0, 0.05) * np.sin(phi)), 60), 0.3)


def _lung_profile(rng: np.random.Generator, phi: np.ndarray) -> np.ndarray:
    """Thickness of the lung base behind, mm; left and right differ."""
    def base(s: int) -> np.ndarray:
        return rng.gamma(3, 3.5) * np.exp(-(((np.rad2deg(s * phi) - rng.normal(138, 5)) / 22) ** 2))

    return base(-1) + base(1)


def _smooth(profile: np.ndarray, width: int) -> np.ndarray:
    """Circular running mean, twice."""
    kernel = np.fft.rfft(np.roll(np.pad(np.ones(width) / width, (0, profile.size - width)), -(width // 2)))
    return np.fft.irfft(np.fft.rfft(profile) * kernel**2, profile.size)


def _es_depth_mm(esma_cm2: float) -> float:
    """Depth of one erector spinae muscle, an ellipse 1.6 times as wide as deep."""
    return float(np.sqrt(4 * esma_cm2 * 50 / (np.pi * 1.6)))


def _back_mm(t: _Trunk) -> float:
    """y of the fascia on the midline behind."""
    return float(t.profiles["lean"][0])


def _canal_mm(t: _Trunk, esma_cm2: float) -> float:
    """y of the middle of the spinal canal: deeper muscles, longer spinous process."""
    return _back_mm(t) - 4 - max(0.75 * _es_depth_mm(esma_cm2), 16) - 17


def _erector_spinae(t: _Trunk, esma_cm2: float) -> Field:
    """Field, mm, lowest in the middle of the two muscles."""
    depth = _es_depth_mm(esma_cm2)
    y = _back_mm(t) - 2 - depth / 2
    return np.minimum(*(_ellipse(t, s * (0.8 * depth + 3), y, 0.8 * depth, 0.5 * depth, s * 0.12) for s in (-1, 1)))


def _paint_spine(rng: np.random.Generator, t: _Trunk, esma_cm2: float) -> tuple[Field, Codes]:
    """Signed distance to the vertebra, mm, and its materials."""
    y = _canal_mm(t, esma_cm2)
    scale = rng.normal(1.0, 0.04)
    rx, ry = 17.5 * scale, 14.0 * scale
    middle = y - 8.5 - ry
    canal = _ellipse(t, 0, y, 9.5, 8.5)
    arch = np.abs(_ellipse(t, 0, y + 1, 13, 12)) - 3.2
    spinous = _capsule(t, (0, y + 13), (rng.normal(0, 0.7), _back_mm(t) - 4), 2.6)
    wings = [_capsule(t, (s * 11, y + 4), (s * rng.normal(27, 2), y + rng.normal(12, 2)), 4.2) for s in (-1, 1)]
    body = _ellipse(t, 0, middle, rx, ry)
    heads = [_ellipse(t, s * (rx + 6), middle + 8, 8, 4.5, s * 0.5) for s in (-1, 1)]
    parts = [body, arch, spinous, *wings, *heads]
    distance = np.minimum.reduce(parts)
    material = np.zeros(t.x.shape, np.uint8)
    material[distance < 0] = CORTEX
    material[np.minimum.reduce([part + 1.8 for part in parts]) < 0] = MARROW
    material[canal < 0] = CANAL
    return np.minimum(distance, canal), material


def _great_vessels(rng: np.random.Generator, t: _Trunk, spine_front_mm: float) -> list[tuple[int, Mask]]:
    """Crura, aorta and caval vein before the spine: they keep their size, however much fat there is."""
    x, y, r = rng.normal(7, 3), spine_front_mm - 13, rng.normal(10.0, 0.9)
    crura = np.minimum(_capsule(t, (-17, spine_front_mm + 9), (-6, y - 14), rng.uniform(2.0, 3.5)),
                       _capsule(t, (23, spine_front_mm + 11), (17, y - 13), rng.uniform(2.0, 3.5)))  # fmt: skip
    aorta = np.hypot(t.x - x, t.y - y) - r
    cava = _ellipse(t, rng.normal(-24, 3), spine_front_mm - 27, rng.normal(11.5, 1), rng.normal(8, 1), 0.3)
    return [(MUSCLE, crura < 0), (BLOOD, (aorta < 0) | (cava < 0))]


def _organs(rng: np.random.Generator, t: _Trunk) -> list[tuple[int, Field]]:
    """Material and signed distance, mm, of every organ; positions vary from patient to patient."""
    w, d = t.half_width_mm - 14, t.half_depth_mm - 12

    def put(x: float, y: float, rx: float, ry: float, tilt: float = 0.0) -> Field:
        jitter = rng.normal(0, 0.02, 2)
        size = rng.normal(1, 0.05, 2)
        return _ellipse(t, (x + jitter[0]) * w, (y + jitter[1]) * d, rx * w * size[0], ry * d * size[1], tilt)

    liver = np.minimum(put(-0.44, 0.02, 0.58, 0.86), put(-0.06, -0.50, 0.50, 0.36, 0.1))
    stomach = put(0.36, -0.20, 0.25, 0.46, rng.normal(-0.35, 0.15))
    colon = put(0.66, -0.38, 0.15, 0.18)
    vessels = [
        4 * _ellipse(t, x * w, y * d, r * rng.uniform(1, 2.2), r, rng.uniform(0, np.pi))
        for x, y, r in rng.uniform((0.05, -0.75, 1.3), (0.72, 0.45, 2.8), (12, 3))
    ]
    return [
        (LIVER, liver), (GUT_WALL, stomach), (GUT_WALL, colon), (SPLEEN, put(0.72, 0.34, 0.24, 0.50, -0.25)),
        (BLOOD, np.minimum.reduce(vessels)),
    ]  # fmt: skip


def _paint_cavity(
    rng: np.random.Generator, t: _Trunk, material: np.ndarray, cavity: Mask, inner: Field, rough: Field, n_vat: int
) -> None:
    """Lungs, organs, and visceral fat in the n_vat pixels farthest from every organ."""
    lungs = t.profile("lungs")
    lung = cavity & (inner + lungs > 0) & (lungs > 1.5)
    vessels = _great_vessels(rng, t, float(t.y[cavity & (np.abs(t.x) < 6)].max(initial=0.0)))
    room = cavity & ~lung & ~np.logical_or.reduce([mask for _, mask in vessels])
    for code, mask in vessels:
        material[cavity & mask] = code
    organs = _organs(rng, t)
    fields = np.stack([f for _, f in organs])
    nearest = fields.argmin(axis=0)
    clearance = fields.min(axis=0) + np.float32(1.6) * rough
    vat = smallest(-clearance, room, n_vat)
    room &= ~vat
    codes = np.array([code for code, _ in organs], np.uint8)
    material[room] = codes[nearest[room]]
    material[lung] = LUNG
    material[vat] = VAT
    border = float(clearance[vat].min(initial=np.inf)) if n_vat else 0.0
    _paint_gut(rng, t, material, fields[1:3], border, nearest)
    liver_vessels = [
        _ellipse(t, x * t.half_width_mm, y * t.half_depth_mm, rx, ry, tilt)
        for x, y, rx, ry, tilt in rng.uniform((-0.75, -0.6, 2, 1, 0), (-0.1, 0.5, 7, 2.2, np.pi), (9, 5))
    ]
    material[(material == LIVER) & (np.minimum.reduce(liver_vessels) < 0)] = LIVER_VESSEL


def _paint_gut(
    rng: np.random.Generator, t: _Trunk, material: np.ndarray, fields: np.ndarray, border: float, nearest: np.ndarray
) -> None:
    """Contents inside a 4 mm wall; gas in front (the patient lies on the back)."""
    for k, gas_share in zip((1, 2), (rng.uniform(0.0, 0.4), rng.uniform(0.3, 1.0)), strict=True):
        inside = (material == GUT_WALL) & (nearest == k) & (fields[k - 1] < min(border, 6.0) - 4.5)
        if not inside.any():
            continue
        material[inside] = GUT
        top, bottom = np.quantile(t.y[inside], [0.0, 1.0])
        material[inside & (t.y < top + gas_share * (bottom - top))] = GAS


def _paint_ribs(rng: np.random.Generator, t: _Trunk, material: np.ndarray, keep: Mask) -> None:
    """Ribs slanting through the wall; cartilage in front. Pixels in `keep` stay as they are."""
    lean, wall = t.profiles["lean"], t.profiles["wall"]
    for s in (-1, 1):
        for angle in np.array([24, 47, 70, 90, 110, 131, 152]) + rng.normal(0, 2.5, 7):
            phi = s * np.deg2rad(angle)
            k = int((phi / np.pi + 1) * _ANGLES / 2) % _ANGLES
            r = lean[k] - 0.62 * wall[k]
            x, y = r * np.sin(phi), -r * np.cos(phi)
            step = 40
            a, b = lean[(k - step) % _ANGLES], lean[(k + step) % _ANGLES]
            pa, pb = phi - step * 2 * np.pi / _ANGLES, phi + step * 2 * np.pi / _ANGLES
            tangent = np.arctan2(-b * np.cos(pb) + a * np.cos(pa), b * np.sin(pb) - a * np.sin(pa))
            half = rng.uniform(7, 11)
            rib = _ellipse(t, x, y, half, rng.uniform(3.0, 3.8), tangent + s * 0.12)
            inside = (rib < 0) & (material == MUSCLE) & ~keep
            if inside.sum() < 0.7 * (rib < 0).sum():
                continue  # the erector spinae lie there: no slivers of bone
            if angle < 40:
                material[inside] = CARTILAGE
            else:
                material[inside] = CORTEX
                material[inside & (rib < -1.6)] = MARROW


def _paint_couch(t: _Trunk, material: np.ndarray, body: Mask) -> None:
    """Two shells of a couch, bent up at the sides, below a thin mattress."""
    skin_mm = float(t.y[body].max())
    for drop, half in ((8, 185.0), (14, 185.0), (38, 140.0)):
        line = skin_mm + drop - t.x**2 / 1300
        shell = (np.abs(t.y - line) < 1.1) & (np.abs(t.x) < half) & ~body
        material[shell] = COUCH
