"""Structure of an XGBoost model, checked before XGBoost reads it, which does not validate it.

A child index out of range reads foreign memory, and a cycle of children never ends. So every tree is proven to be one:
each node but the root is the child of exactly one node, and all are reached from the root.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from bonemet_jax.fusion.ubjson import parse_ubjson

_MAX_TREES, _MAX_FEATURES = 100_000, 100_000
_NO_PARENT = 2**31 - 1
_FLOATS = ("base_weights", "split_conditions", "loss_changes", "sum_hessian")
_INTEGERS = ("left_children", "right_children", "parents", "split_indices", "split_type", "default_left")
_CATEGORIES = ("categories", "categories_nodes", "categories_segments", "categories_sizes")
_NUMBER = re.compile(r"\[?([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\]?")


def check_booster(data: bytes) -> int:
    """Check that bytes are a gradient boosting of ours: UBJSON, numerical splits, logistic loss, finite numbers.

    Returns: Its number of features.

    Raises: ValueError in a few words.
    """
    try:
        return _check(parse_ubjson(data))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a part is missing or of another type ({str(error)[:60]})") from error


def _check(value: Mapping[str, Any]) -> int:
    learner = value["learner"]
    parameters, gradient_booster = learner["learner_model_param"], learner["gradient_booster"]
    names = (gradient_booster["name"], learner["objective"]["name"])
    if names != ("gbtree", "binary:logistic"):
        raise ValueError("another booster or objective than gbtree and binary:logistic")
    if (_parse_count(parameters["num_class"]), _parse_count(parameters["num_target"])) != (0, 1):
        raise ValueError("more than one output")
    if not 0 < _parse_number(parameters["base_score"]) < 1:
        raise ValueError("base_score is not in (0, 1)")
    if not _parse_number(learner["objective"]["reg_loss_param"]["scale_pos_weight"]) > 0:
        raise ValueError("scale_pos_weight is not positive")
    if len(learner["feature_names"]) or len(learner["feature_types"]) or len(learner["attributes"]):
        raise ValueError("unexpected names, types or attributes")
    n_features = _parse_count(parameters["num_feature"])
    if not 1 <= n_features <= _MAX_FEATURES:
        raise ValueError(f"{n_features} features")
    _check_trees(gradient_booster["model"], n_features)
    _check_version(value["version"])
    return n_features


def _check_trees(model: Mapping[str, Any], n_features: int) -> None:
    trees, parameters = model["trees"], model["gbtree_model_param"]
    n = len(trees)
    if not 1 <= n <= _MAX_TREES or _parse_count(parameters["num_trees"]) != n:
        raise ValueError(f"{n} trees, which is not the number stated")
    if _parse_count(parameters["num_parallel_tree"]) != 1:
        raise ValueError("several trees a round")
    if not np.array_equal(model["tree_info"], np.zeros(n)) or not np.array_equal(
        model["iteration_indptr"], np.arange(n + 1)
    ):
        raise ValueError("rounds or groups do not match the trees")
    if any(len(part) for part in model.get("cats", {}).values()):
        raise ValueError("unexpected categories")
    for number, tree in enumerate(trees):
        try:
            _check_tree(tree, number, n_features)
        except ValueError as error:
            raise ValueError(f"tree {number}: {error}") from error


def _check_tree(tree: Mapping[str, Any], number: int, n_features: int) -> None:
    parameters = tree["tree_param"]
    n = _parse_count(parameters["num_nodes"])
    stated = {name: _parse_count(parameters[name]) for name in ("num_deleted", "num_feature", "size_leaf_vector")}
    if stated["num_deleted"] or stated["num_feature"] != n_features or stated["size_leaf_vector"] > 1:
        raise ValueError("parameters of another model")
    if tree["id"] != number or n < 1:
        raise ValueError("another number, or no nodes")
    if any(len(tree[name]) for name in _CATEGORIES):
        raise ValueError("unexpected categories")
    arrays = {name: tree[name] for name in (*_FLOATS, *_INTEGERS)}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in ("f" if name in _FLOATS else "iu"):
            raise ValueError(f"{name} is no array of its type")
        if len(array) != n or not np.isfinite(array).all():
            raise ValueError(f"{name} has {len(array)} values for {n} nodes, or one that is not finite")
    if arrays["split_type"].any() or not np.isin(arrays["default_left"], (0, 1)).all():
        raise ValueError("a split that is not numerical")
    _check_children(arrays["left_children"], arrays["right_children"], arrays["parents"])
    splits = arrays["split_indices"][arrays["left_children"] != -1]
    if ((splits < 0) | (splits >= n_features)).any():
        raise ValueError("a split on a nonexistent feature")


def _check_children(left: np.ndarray, right: np.ndarray, parents: np.ndarray) -> None:
    """Raises: ValueError unless the nodes are one binary tree with root 0."""
    inner = np.flatnonzero(left != -1)
    children = np.concatenate([left[inner], right[inner]]).astype(np.int64)
    if not np.array_equal(left == -1, right == -1) or not np.array_equal(np.sort(children), np.arange(1, len(left))):
        raise ValueError("nodes are not each the child of one node")
    if parents[0] != _NO_PARENT or not np.array_equal(parents[children], np.concatenate([inner, inner])):
        raise ValueError("parents do not match children")
    level, n_reached = np.array([0]), 0
    while level.size:  # no node has two parents, so none is reached twice
        n_reached += level.size
        level = np.concatenate([left[level], right[level]])
        level = level[level != -1]
    if n_reached != len(left):
        raise ValueError("nodes that cannot be reached")


def _check_version(version: Any) -> None:
    if not (isinstance(version, (list, np.ndarray)) and len(version) == 3):
        raise ValueError("no version")
    if not all(isinstance(part, (int, np.integer)) and 0 <= part < 1000 for part in version):
        raise ValueError("a version that there is not")


def _parse_count(text: Any) -> int:
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError("a count that is no whole number")
    return int(text)


def _parse_number(text: Any) -> float:
    found = _NUMBER.fullmatch(text) if isinstance(text, str) and len(text) < 40 else None
    if found is None:
        raise ValueError("a parameter that is no number")
    number = float(found[1])
    if not np.isfinite(number):
        raise ValueError("a parameter that is not finite")
    return number
