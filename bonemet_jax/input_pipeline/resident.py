"""Resident mode: the whole cohort lives on the device as stored; batches are gathered inside the compiled step."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32

from bonemet_jax.input_pipeline.records import RecordArrays

Batch = dict[str, Array]


def put_resident(records: RecordArrays, sharding: jax.sharding.Sharding | None = None) -> dict[str, Array]:
    """Copy the stored arrays to the device once, about 1 MB a patient at 400x500.

    Args:
        records: The cohort.
        sharding: Where to; the default device when None.

    Returns: ct, lbp, hog, mask, label with the patient on the first axis, in the records' order.
    """
    return jax.device_put(
        {"ct": records.ct, "lbp": records.lbp, "hog": records.hog, "mask": records.mask, "label": records.label},
        sharding,
    )


def take_batch(
    resident: dict[str, Array],
    index: Int32[Array, " batch"],
    weight: Float32[Array, " batch"],
    flip: Bool[Array, "batch 2"],
) -> Batch:
    """One batch: ct, lbp, hog, mask, label of the indexed patients, with weight and flip as given.

    Pure, for use in jit. Indices must lie in 0..n-1 (`order` sees to it): nothing is checked in the compiled step.
    """
    batch = {name: jnp.take(array, index, axis=0, mode="clip") for name, array in resident.items()}
    return batch | {"weight": weight, "flip": flip}
