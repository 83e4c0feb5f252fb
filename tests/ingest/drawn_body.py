"""A coarse body drawn level by level, with any numbering's labels: partial fields of view for tests of numberings."""

from dataclasses import dataclass

import numpy as np

from data_pipelines.ingest.anatomy_rules import DISTANCES_MM
from data_pipelines.ingest.grid import Grid
from data_pipelines.ingest.label_picture import Look, Sample
from data_pipelines.ingest.label_stats import LabelStats, count_labels
from data_pipelines.ingest.label_tables import VERTEBRAE, LabelTable

PIXEL_MM, SLICE_MM, HEIGHT, WIDTH = 6.0, 3.0, 44, 66
#: Structure -> levels of its upper and lower end, centre to the left and to the back of the spine, radii (mm), HU.
ORGANS: dict[str, tuple[float, float, float, float, float, float, float]] = {
    "liver": (14.5, 20, -70, -80, 60, 50, 60), "spleen": (15, 19, 90, -30, 25, 30, 60),
    "kidney_left": (17.5, 21, 60, -20, 20, 20, 120), "kidney_right": (18, 21.5, -60, -20, 20, 20, 120),
    "heart": (10.5, 15, 30, -100, 45, 30, 100), "aorta": (10, 22, 15, -45, 10, 10, 150),
    "lung_lower_lobe_left": (10, 17, 85, -25, 40, 35, -800), "lung_lower_lobe_right": (10, 17, -85, -25, 40, 35, -800),
    "lung_upper_lobe_left": (7, 12, 80, -70, 40, 40, -800), "lung_upper_lobe_right": (7, 12, -80, -70, 40, 40, -800),
    "autochthon_left": (6, 25, 30, 35, 18, 14, 50), "autochthon_right": (6, 25, -30, 35, 18, 14, 50),
    "hip_left": (22, 27, 100, -10, 30, 30, 300), "hip_right": (22, 27, -100, -10, 30, 30, 300),
    "clavicula_left": (6, 8.5, 70, -60, 40, 8, 300), "clavicula_right": (6, 8.5, -70, -60, 40, 8, 300),
    "urinary_bladder": (25, 27, 0, -80, 30, 25, 10), "trachea": (4, 10, 0, -50, 9, 9, -900),
    "rib_left_8": (14, 18, 130, -30, 8, 30, 200), "rib_right_8": (14, 18, -130, -30, 8, 30, 200),
}  # fmt: skip
TISSUES = {"subcutaneous_fat": -100, "torso_fat": -95, "skeletal_muscle": 50}


@dataclass(frozen=True)
class Body:
    """Structure names and Hounsfield units of a volume, slice 0 the lowest."""

    names: tuple[str, ...]
    """Name of every value of `structures`, the first for none."""
    structures: np.ndarray
    hu: np.ndarray
    grid: Grid

    def label(self, table: LabelTable) -> np.ndarray:
        """The map that this numbering gives: 0 where it has no label."""
        of_name = {name: label for label, name in table.names.items()}
        return np.array([of_name.get(name, 0) for name in self.names])[self.structures]

    def count(self, labels: np.ndarray) -> LabelStats:
        """Statistics of a map of this body."""
        return count_labels(enumerate(labels), self.grid, "map")

    def look(self, labels: np.ndarray) -> Look:
        """Image and map of some slices."""
        return lambda slices: [
            Sample(self.grid.z_mm[k], self.hu[k], labels[k], self.grid.spacing_mm) for k in slices
        ]

    def flip(self) -> "Body":
        """Upside down."""
        return Body(self.names, self.structures[::-1], self.hu[::-1], self.grid)


def draw_body(random: np.random.Generator, top: int, n: int, organs: bool = True) -> Body:
    """A field of view that shows n vertebrae from the level `top` downwards, the outer two cut somewhere.

    Sizes: body 0.88 to 1.12 of the mean, a trend along the spine of up to 8 % either way, 5 % for single distances.
    """
    between = np.array([*DISTANCES_MM, 40.0])
    trend = 1 + random.uniform(-0.08, 0.08) * np.linspace(-1, 1, len(between))
    single = 1 + random.normal(0, 0.05, len(between)).clip(-0.15, 0.15)
    between = between * random.uniform(0.88, 1.12) * trend * single
    centres = np.cumsum([0.0, *between])  # mm below C1; the last is the sacrum
    ends = (centres[1:] + centres[:-1]) / 2
    edges = np.array([-9.0, *ends, centres[-1] + 45])
    last = top + n - 1
    high = edges[top] + random.uniform(0, 0.6) * (edges[top + 1] - edges[top])
    low = edges[last] + random.uniform(0.4, 1) * (edges[last + 1] - edges[last])
    depth_mm = np.arange(high + SLICE_MM / 2, low, SLICE_MM)[::-1]
    ranks = np.interp(depth_mm, centres, np.arange(len(centres), dtype=float))
    grid = Grid(HEIGHT, WIDTH, (PIXEL_MM, PIXEL_MM), (-PIXEL_MM * WIDTH / 2, -PIXEL_MM * HEIGHT / 2), tuple(-depth_mm))
    y, x = np.indices((HEIGHT, WIDTH)).astype(float)
    x_mm, y_mm = (x - WIDTH / 2) * PIXEL_MM, (y - HEIGHT / 2) * PIXEL_MM - 40  # the spine is behind the middle
    names = ["", *(f"vertebrae_{level}" for level in VERTEBRAE), "sacrum", *ORGANS, *TISSUES]
    code = {name: i for i, name in enumerate(names)}
    structures = np.zeros((len(depth_mm), HEIGHT, WIDTH), np.int64)
    hu = np.full(structures.shape, -1000, np.int16)
    for k, (mm, rank) in enumerate(zip(depth_mm, ranks, strict=True)):
        wide, deep = (60, 60) if rank < 5 else (165, 110)
        skin = (x_mm / wide) ** 2 + ((y_mm + 0.5 * deep) / deep) ** 2
        structures[k][skin < 1], hu[k][skin < 1] = code["subcutaneous_fat"], -100
        structures[k][skin < 0.75], hu[k][skin < 0.75] = code["skeletal_muscle"], 50
        structures[k][skin < 0.55], hu[k][skin < 0.55] = code["torso_fat"], -95
        for name, (first, end, left, back, across, along, value) in ORGANS.items():
            if first <= rank < end and (organs or name.startswith("lung")):
                inside = ((x_mm - left) / across) ** 2 + ((y_mm - back) / along) ** 2 < 1
                structures[k][inside], hu[k][inside] = code[name] if organs else 0, value
        at = int(np.searchsorted(edges, mm) - 1)
        within = (mm - edges[at]) / (edges[at + 1] - edges[at])
        body = ((x_mm / 24) ** 2 + (y_mm / 20) ** 2 < 1) if within < 0.8 else (abs(x_mm) < 9) & (abs(y_mm - 20) < 14)
        structures[k][body] = code[names[at + 1]]
        hu[k][body] = 250
    return Body(tuple(names), structures, hu, grid)


def keep(body: Body, prefix: tuple[str, ...]) -> Body:
    """The same picture with a map of some structures alone."""
    wanted = np.array([name.startswith(prefix) if name else False for name in body.names])
    return Body(body.names, np.where(wanted[body.structures], body.structures, 0), body.hu, body.grid)
