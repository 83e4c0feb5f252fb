"""Combinations of config fields that do not exist, in one table."""

from typing import NamedTuple


class Refused(NamedTuple):
    """A combination of fields that does not exist."""

    when: dict[str, object]
    instead: str
    """What to use, and why."""


#: Every combination that is refused when a config is made; all others exist and are tested.
REFUSED: tuple[Refused, ...] = (
    Refused({"input.channels": "on_device", "train.flips": "naive"},
            "input.channels precomputed: what is computed after the flip is never naive"),
    Refused({"engine.parallel": "jit", "model.norm": "local"},
            "shard_map or pmap: the compiler always sums jit's statistics over the whole batch"),
    Refused({"engine.parallel": "jit", "model.compute_dtype": "bfloat16", "engine.gradient_dtype": "float32"},
            "shard_map or pmap: under jit the compiler sums gradients in the dtype they are computed in"),
    Refused({"train.eval_flips": True, "train.flips": "none"},
            "train.flips exact or naive: evaluation flips as training does"),
    Refused({"engine.parallel": "pmap", "engine.folds": "mesh"}, "jit or shard_map: pmap knows one axis of devices"),
    Refused({"engine.parallel": "pmap", "engine.folds": "vmap"}, "jit or shard_map: pmap is kept for one fold"),
    Refused({"fusion.mode": "honest", "folds.n_folds": 2},
            "at least 3 folds: a network that sees neither of two folds needs a third to learn from"),
)
