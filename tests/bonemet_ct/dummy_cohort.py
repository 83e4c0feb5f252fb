"""Makes data_pipelines/bonemet_ct/dummy_data, the cohort of TFDS's own test: `python tests/bonemet_ct/dummy_cohort.py`.

Three ellipses without noise, 40 x 50 pixels of 8 mm; clinical values count up.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from bonemet_jax import artifacts, schema
from data_pipelines.canonical import CanonicalSlice, save_slice

N_PATIENTS = 3
DIRECTORY = Path(__file__).parents[2] / "data_pipelines" / "bonemet_ct" / "dummy_data"


def make_slice(i: int) -> CanonicalSlice:
    """An ellipse with a fat ring, visceral fat in front and muscle behind."""
    rows, columns = np.mgrid[-1:1:40j, -1:1:50j] / (0.7 + 0.05 * i)
    radius = np.hypot(rows, columns)
    inside = [(radius > 0.85) & (radius < 1), (radius < 0.5) & (rows < 0), (radius < 0.5) & (rows >= 0)]
    tissue = np.select(inside, [schema.TISSUE_SAT, schema.TISSUE_VAT, schema.TISSUE_ESM])
    hu = np.select([np.isin(tissue, schema.FAT_CODES), radius < 1], [-100, 50], schema.HU_PADDING)
    return CanonicalSlice(hu.astype(np.int16), (8.0, 8.0), tissue.astype(np.uint8), (radius < 1).astype(np.uint8))


def make_row(i: int) -> dict[str, object]:
    """Patient i's row of the cohort table."""
    clinical = {c.name: c.levels[i % len(c.levels)] if c.levels else float(i % 2) for c in schema.CLINICAL}
    outcome = {schema.LABEL: i % 2, schema.TIME: 12.0 + i, schema.EVENT: float(i % 2)}
    return {schema.PATIENT_ID: f"p{i}", schema.SLICE_ID: f"s{i}", schema.HEIGHT: 1.6, **clinical, **outcome}


def main(directory: Path) -> None:
    """Write the cohort directory."""
    for i in range(N_PATIENTS):
        save_slice(directory / "slices" / f"s{i}.npz", make_slice(i))
    artifacts.save_table(directory / "cohort.parquet", pd.DataFrame([make_row(i) for i in range(N_PATIENTS)]))
    artifacts.write_manifest(directory, {"kind": "synthetic", "n": N_PATIENTS})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DIRECTORY)
