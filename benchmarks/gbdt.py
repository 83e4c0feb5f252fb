"""Seconds to train and to score with XGBoost against the number of rows, by threads and device, and where a GPU pays.

Full size: 100 to 1,000,000 rows of 40 columns, the classifier's own parameters and number of trees; quick: 100 and 400
rows, ten trees. Each sample holds the way from numpy to the trained booster (`train`), or to the scores (`predict`).
One thread, all cores, and the GPU where xgboost is built for it and finds one; else every record says why not.
Threads wait for each other at every level of a tree, by spinning: with OMP_WAIT_POLICY=passive in the environment they
sleep, without it another job on the machine can make many threads hundreds of times slower than one.
"""

import os
import warnings
from typing import Any

import numpy as np
import xgboost

from benchmarks.harness import Measurement, Options, interleave
from bonemet_jax.config import Config
from bonemet_jax.fusion.classifiers import GradientBoosting
from bonemet_jax.stats.roc import compute_auc

CONFIG = Config("gbdt")
_COLUMNS = 40
#: Rows -> rounds: fewer where a round takes a minute.
FULL = {100: 20, 1_000: 20, 10_000: 10, 100_000: 5, 1_000_000: 3}
QUICK = {100: 2, 400: 2}
Way = tuple[str, int]


def measure(options: Options) -> list[Measurement]:
    """Training and prediction time of each way at each size, and the size from which the GPU is faster."""
    sizes, n_trees = (QUICK, 10) if options.quick else (FULL, GradientBoosting.N_TREES)
    cuda = find_cuda()
    ways: list[Way] = [("cpu", threads) for threads in dict.fromkeys((1, os.cpu_count() or 1))]
    ways += [("cuda", os.cpu_count() or 1)] if cuda == "measured" else []
    parameters: dict[str, Any] = {"columns": _COLUMNS, "trees": n_trees, "warm_up": 1, "cuda": cuda,
                                  "xgboost": xgboost.__version__, "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY")}
    found: list[Measurement] = []
    for n_rows, rounds in sizes.items():
        found += measure_size(n_rows, rounds, n_trees, ways, parameters)
    return found + measure_crossover(found, parameters)


def find_cuda() -> str:
    """`measured`, or why the GPU is left out."""
    if not xgboost.build_info()["USE_CUDA"]:
        return "skipped: this xgboost is built without CUDA (extra gpu)"
    x, label = make_rows(64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without a GPU it warns and takes the CPU
        try:
            booster = train(x, label, ("cuda", 1), 1)
        except xgboost.core.XGBoostError as error:
            return f"skipped: {str(error).splitlines()[0]}"
    return "measured" if '"device":"cuda' in booster.save_config() else "skipped: xgboost finds no GPU"


def make_rows(n_rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Columns of float32 noise, five of which carry the label; about 12 % positive."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_rows, _COLUMNS), np.float32)
    label = (x[:, :5].sum(axis=1) + rng.logistic(0, 1, n_rows) > 3.2).astype(np.float32)
    label[:2] = 0, 1  # both classes, however few the rows
    return x, label


def train(x: np.ndarray, label: np.ndarray, way: Way, n_trees: int) -> xgboost.Booster:
    """A booster with the classifier's own parameters, but for device and threads."""
    device, threads = way
    parameters = {
        **GradientBoosting.PARAMETERS, "min_child_weight": min(20.0, 0.08 * len(label)),
        "scale_pos_weight": float((label == 0).sum() / label.sum()), "device": device, "nthread": threads,
    }  # fmt: skip
    return xgboost.train(parameters, xgboost.DMatrix(x, label=label, nthread=threads), num_boost_round=n_trees)


def measure_size(
    n_rows: int, rounds: int, n_trees: int, ways: list[Way], parameters: dict[str, Any]
) -> list[Measurement]:
    """Each way to train, then each way to score the same rows, in turn."""
    x, label = make_rows(n_rows)
    fresh_x, fresh_label = make_rows(10_000, seed=1)
    boosters: dict[Way, xgboost.Booster] = {}

    def train_by(way: Way) -> None:
        boosters[way] = train(x, label, way, n_trees)

    def predict_by(way: Way) -> None:
        boosters[way].predict(xgboost.DMatrix(x, nthread=way[1]))

    trained = interleave({_name(way): lambda way=way: train_by(way) for way in ways}, rounds)
    predicted = interleave({_name(way): lambda way=way: predict_by(way) for way in ways}, rounds)
    found = []
    for way in ways:
        quality = {"auc_of_fresh_rows": compute_auc(fresh_label, boosters[way].predict(xgboost.DMatrix(fresh_x)))}
        asked = parameters | {"rows": n_rows, "device": way[0], "nthread": way[1]}
        found += [
            Measurement("gbdt", f"{verb}_s_{_name(way)}_{n_rows}", "s", "lower", list(times[_name(way)].wall_s), asked,
                        CONFIG, quality)
            for verb, times in (("train", trained), ("predict", predicted))
        ]  # fmt: skip
    return found


def _name(way: Way) -> str:
    return way[0] if way[0] == "cuda" else f"{way[0]}_{way[1]}t"


def measure_crossover(found: list[Measurement], parameters: dict[str, Any]) -> list[Measurement]:
    """The row count from which training on the GPU is faster; nothing where it was not measured or never crosses."""
    if parameters["cuda"] != "measured":
        return []
    best: dict[str, dict[int, float]] = {"cpu": {}, "cuda": {}}
    for m in (m for m in found if m.metric.startswith("train")):
        times, n_rows = best[m.parameters["device"]], m.parameters["rows"]
        times[n_rows] = min(times.get(n_rows, np.inf), float(np.median(m.samples)))  # of the CPU's, the faster
    rows = find_crossover(list(best["cpu"]), list(best["cpu"].values()), list(best["cuda"].values()))
    return [] if rows is None else [Measurement("gbdt", "crossover_rows", "rows", "lower", [rows], parameters, CONFIG)]


def find_crossover(rows: list[int], cpu_s: list[float], cuda_s: list[float]) -> float | None:
    """Rows from which the GPU stays faster, interpolated in logarithms; None where it never is, or always."""
    lead = np.log(np.array(cuda_s) / np.array(cpu_s))  # below 0: the GPU is faster
    slower = np.flatnonzero(lead >= 0)
    if not slower.size or slower[-1] == len(rows) - 1:
        return None
    i = int(slower[-1])
    share = lead[i] / (lead[i] - lead[i + 1])
    return float(np.exp(np.log(rows[i]) + share * np.log(rows[i + 1] / rows[i])))
