"""TFDS features of the records (docs/contracts.md)."""

from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from bonemet_jax import schema
from bonemet_jax.config import RecordsConfig


def make_features(records: RecordsConfig) -> dict[str, Any]:
    """TFDS features of one example: arrays as raw bytes, every clinical column and label as a scalar."""
    height, width = records.height, records.width
    cells = (height // schema.HOG_CELL, width // schema.HOG_CELL)

    def array(shape: tuple[int, ...], dtype: Any) -> tfds.features.Tensor:
        return tfds.features.Tensor(shape=shape, dtype=dtype, encoding=tfds.features.Encoding.BYTES)

    return {
        schema.PATIENT_ID: tfds.features.Text(),
        "ct": array((height, width), np.uint8),
        "lbp": array((height, width, 3), np.uint8),
        "hog": array((len(schema.HOG_FLIPS), *cells, schema.HOG_ORIENTATIONS), np.float32),
        "mask": array((height, width), np.uint8),
        schema.LABEL: np.int32,
        **{name: np.float32 for name in (schema.HEIGHT, schema.TIME, schema.EVENT)},
        **{c.name: tfds.features.Text() if c.kind == "category" else np.float32 for c in schema.CLINICAL},
    }
