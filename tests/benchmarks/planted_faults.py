"""Run by test_gate in the process of a target: the training step as it is and with each planted fault, as JSON.

`python planted_faults.py TARGET`; one line a program, {"case": ..., "figures": ...}.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import optax

from benchmarks.compiled import programs
from benchmarks.compiled.figures import make_figures
from benchmarks.compiled.programs import compile_program
from benchmarks.compiled.targets import find_target
from bonemet_jax.config import Config, FoldsConfig, ModelConfig, RecordsConfig
from bonemet_jax.models.layers import Layers
from bonemet_jax.train import parallel, step
from bonemet_jax.train.program import Spread

CONFIG = Config("planted", records=RecordsConfig(height=64, width=80), folds=FoldsConfig(n_folds=2),
                model=ModelConfig(network="tiny", compute_dtype="bfloat16"))  # fmt: skip
LOCAL_BATCH = 2


@contextlib.contextmanager
def upcast() -> Iterator[None]:
    """The last normalisation of the first block forgets to go back to bfloat16."""
    conv_norm = Layers.conv_norm

    def forget(self: Any, x: Any, weight: Any, train: bool, features: int, *rest: Any, clip: bool) -> Any:
        out = conv_norm(self, x, weight, train, features, *rest, clip=clip)
        return out.astype(jnp.float32) if features == 8 and not clip else out

    with mock.patch.object(Layers, "conv_norm", forget):
        yield


@contextlib.contextmanager
def lost_donation() -> Iterator[None]:
    """The step keeps the state that it was given."""
    wrap = Spread.wrap
    with mock.patch.object(Spread, "wrap", lambda self, f, takes, gives, donate: wrap(self, f, takes, gives, ())):
        yield


@contextlib.contextmanager
def grouped() -> Iterator[None]:
    """Folds side by side by vmap instead of on a mesh."""
    with mock.patch.dict(programs.PROGRAMS, folds=({"parallel": "jit", "folds": "vmap"}, "train")):
        yield


@contextlib.contextmanager
def second_compile() -> Iterator[None]:
    """The step leaves its counter in another dtype than it takes it."""
    make = parallel.make_train_step

    def make_drifting(*args: Any) -> Callable[..., Any]:
        train_step = make(*args)

        def drift(state: Any, batch: Any, hyper: Any) -> Any:
            state, metrics = train_step(state, batch, hyper)
            return state._replace(step=state.step.astype(jnp.float32)), metrics

        return drift

    with mock.patch.object(parallel, "make_train_step", make_drifting):
        yield


@contextlib.contextmanager
def one_more_all_reduce() -> Iterator[None]:
    """Gradients that are summed already are brought to their mean norm over the devices."""
    sum_in = step._sum_in

    def sum_again(dtype: Any, axis: str | None, values: Any) -> Any:
        sums = sum_in(dtype, axis, values)
        if axis is None:
            return sums
        norm = optax.tree.norm(sums)
        return jax.tree.map(lambda x: x * (jax.lax.pmean(norm, axis) / norm).astype(x.dtype), sums)

    with mock.patch.object(step, "_sum_in", sum_again):
        yield


#: case -> program, and what is planted.
CASES: dict[str, tuple[str, Callable[[], Any]]] = {
    "sound": ("shard_map", contextlib.nullcontext),
    "sound folds": ("folds", contextlib.nullcontext),
    "upcast": ("shard_map", upcast),
    "lost donation": ("shard_map", lost_donation),
    "grouped": ("folds", grouped),
    "second compile": ("shard_map", second_compile),
    "one more all-reduce": ("shard_map", one_more_all_reduce),
}


def main(target_name: str) -> None:
    target = find_target(target_name)
    config = replace(CONFIG, phantom=replace(CONFIG.phantom, n=37))  # no multiple of a batch
    for case, (program, planted) in CASES.items():
        with planted():
            figures = make_figures(compile_program(target, config, program, LOCAL_BATCH))
        print(json.dumps({"case": case, "figures": figures}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
