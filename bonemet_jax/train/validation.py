"""What is judged after each epoch."""

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata


def compute_auc(label: Int[np.ndarray, " n"], score: Float[np.ndarray, " n"]) -> float | None:
    """Area under the ROC curve from mean ranks (Mann-Whitney), ties counted half; None when a class is missing."""
    positive = np.asarray(label) == 1
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return None
    rank_sum = rankdata(score)[positive].sum()
    return float((rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def compute_class_weight(label: Int[np.ndarray, " n"], n_classes: int, balanced: bool) -> Float[np.ndarray, " class"]:
    """Weight of each class in the loss: ones, or n / (classes x count) so that each class weighs the same."""
    if not balanced:
        return np.ones(n_classes, np.float32)
    counts = np.maximum(np.bincount(label, minlength=n_classes), 1)
    return (len(label) / (n_classes * counts)).astype(np.float32)
