"""Initial weights: pure in (seed, fold), and as spread as the modules' own initialisers say."""

import jax
import jax.numpy as jnp
import numpy as np

from bonemet_jax.config import ModelConfig
from bonemet_jax.models.conv import HE_NORMAL
from bonemet_jax.models.initial import make_variables
from bonemet_jax.models.resnet import make_model


def test_pure_function_of_seed_and_fold() -> None:
    model = make_model(ModelConfig(network="tiny"))
    one, same, other = (jax.tree.leaves(make_variables(model, *names)) for names in ((0, 1), (0, 1), (1, 0)))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_spread_is_he_normals() -> None:
    params = make_variables(make_model(ModelConfig(network="tiny")), 0, 0)["params"]["net"]
    kernel = params["layer2_0"]["conv2"]["kernel"]
    want = HE_NORMAL(jax.random.key(0), kernel.shape, jnp.float32)
    assert abs(kernel.std() / float(want.std()) - 1) < 0.06
    assert params["layer2_0"]["bn2"]["scale"].min() == 1 and params["features"]["bias"].max() == 0
