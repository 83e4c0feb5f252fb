"""Embeddings of a fold's training patients by networks that never saw them (mode `honest`).

A network describes the patients it was trained on better than any others, so a classifier that learns from them trusts
X1..Xn too much. Here each training patient of fold k, itself held out by fold j, is described by the network of the
pair (j, k), which saw neither fold. Every network has features of its own, so they are brought into those of fold k's
network, which describes the test patients, by a linear map: ridge regression over the other training patients. These
two networks saw, and a network sets those apart it saw; so mean and SD of every mapped feature are then made those that
fold k's network gives its validation patients, whom it did not see either.
Source: Wolpert, Neural Networks 5 (1992) 241 (stacking); the map is ours (docs/decisions/0020).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

#: Ridge penalty of the map, as a share of the patients: features are standardised.
_RIDGE = 0.1


def cross_fit(
    own: pd.DataFrame, pairs: Mapping[int, pd.DataFrame], test_fold: Mapping[str, int], fold: int, val: Sequence[str],
) -> pd.DataFrame:
    """X1..Xn of the training patients of `fold`, in the coordinates of its network, by networks that saw none of them.

    Args:
        own: X1..Xn by the network of `fold`, indexed by patient_id.
        pairs: the same by the network that saw neither `fold` nor the fold in the key.
        test_fold: the fold that holds each patient out.
        fold: the fold whose test patients are left alone: they are in neither the map nor the answer.
        val: its validation patients.
    """
    unseen = own.loc[list(val)].to_numpy(float)
    seen = [patient for patient in own.index if test_fold[patient] != fold]
    parts = []
    for other, embedding in pairs.items():
        held_out = [patient for patient in seen if test_fold[patient] == other]
        rest = [patient for patient in seen if test_fold[patient] != other]
        mapped = map_features(*(table.to_numpy(float) for table in (
            embedding.loc[rest], own.loc[rest], embedding.loc[held_out])))
        parts.append(pd.DataFrame(match_moments(mapped, unseen), index=held_out, columns=own.columns))
    return pd.concat(parts).loc[seen]


def match_moments(
    values: Float[np.ndarray, "patient feature"], wanted: Float[np.ndarray, "other feature"]
) -> Float[np.ndarray, "patient feature"]:
    """`values` shifted and scaled to the mean and SD of `wanted`, feature by feature; a constant one is shifted."""
    spread = values.std(axis=0)
    scale = np.divide(wanted.std(axis=0), spread, out=np.zeros_like(spread), where=spread > 0)
    return (values - values.mean(axis=0)) * scale + wanted.mean(axis=0)


def map_features(
    source: Float[np.ndarray, "patient feature"], target: Float[np.ndarray, "patient out"],
    new: Float[np.ndarray, "held_out feature"],
) -> Float[np.ndarray, "held_out out"]:
    """Ridge regression of `target` on `source`, applied to `new`; a constant feature carries nothing."""
    centre, spread = source.mean(axis=0), source.std(axis=0)
    scale = np.where(spread > 1e-12 * np.maximum(np.abs(source).max(axis=0), 1e-300), spread, np.inf)
    z = (source - centre) / scale
    penalty = _RIDGE * len(z) * np.eye(z.shape[1])
    weights = np.linalg.solve(z.T @ z + penalty, z.T @ (target - target.mean(axis=0)))
    return (new - centre) / scale @ weights + target.mean(axis=0)
