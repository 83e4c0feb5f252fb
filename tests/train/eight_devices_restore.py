"""Run by test_restore in a process with eight virtual devices: a state saved on all of them, restored on fewer."""

import json
import sys
from pathlib import Path

import jax
import numpy as np

from bonemet_jax.config import Config, ModelConfig, TrainConfig
from bonemet_jax.train.checkpoint import CheckpointStore, restore_common
from bonemet_jax.train.parallel import Engine
from bonemet_jax.train.state import TrainState

CONFIG = Config("restored", model=ModelConfig(network="tiny"), train=TrainConfig(batch_size=8))


def draw(template: TrainState) -> TrainState:
    """Every array of random bits, so that none is what a fresh state holds."""
    random = np.random.default_rng(0)
    return jax.tree.map(lambda x: np.frombuffer(random.bytes(x.size * x.dtype.itemsize), x.dtype).reshape(x.shape)
                        if x.dtype != bool else np.ones(x.shape, bool), template)  # fmt: skip


def main(folder: Path) -> None:
    """How many arrays there are, and on how many devices all came back, bit for bit."""
    whole = Engine(CONFIG)
    wanted = draw(whole.state_template())
    store = CheckpointStore(folder, "key")
    store.save(1, whole.fetch_states(whole.put_states([wanted]))[0], None)
    store.finish()
    found = {}
    for n in (1, 2, 4, 8):
        engine = Engine(CONFIG, devices=jax.devices()[:n])
        state = engine.put_states(restore_common([CheckpointStore(folder, "key")], engine.state_template(), 1).states)
        n_devices = {len(leaf.devices()) for leaf in jax.tree.leaves(state)}
        pairs = zip(jax.tree.leaves(engine.fetch_states(state)[0]), jax.tree.leaves(wanted), strict=True)
        found[n] = [n_devices == {n}, sum(np.array(a).tobytes() == b.tobytes() for a, b in pairs)]
    print(json.dumps({"arrays": len(jax.tree.leaves(wanted)), "found": found}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
