"""Weights that others trained: torchvision's and timm's names and layouts to ours, whatever the network's channels.

The stem: its kernel is summed over red, green and blue, which is its response to a grey picture fed three times, and
stored so. A network of n channels gets that kernel n times, each divided by n: where all its channels hold one picture,
its response is exactly the source's to that picture. The networks of the released code, one a channel, have n = 1.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from flax import traverse_util

from bonemet_jax import artifacts
from bonemet_jax.config import MaskBiasConfig, ModelConfig
from bonemet_jax.errors import CorruptFileError, InputDataError, UsageError
from bonemet_jax.models.initial import variable_shapes
from bonemet_jax.models.resnet import DEPTHS, JointModel, PerChannelModel, make_model
from bonemet_jax.models.stacking import stack_blocks, unstack_blocks
from bonemet_jax.models.weight_files import load_tensors
from bonemet_jax.strict_json import parse_json

STEM_RULE = "sum over colours; divided by the number of channels when applied"
STEM = "params/conv1/kernel"
#: Our paths to torchvision's names, which are timm's too; each row is applied to what the ones above made.
TORCH_NAMES = (
    (r"^(params|batch_stats)/", ""),
    (r"^layer(\d+)_(\d+)/", r"layer\1.\2/"),
    (r"/downsample_conv/", "/downsample.0/"),
    (r"/downsample_bn/", "/downsample.1/"),
    (r"/(kernel|scale)$", "/weight"),
    (r"/(mean|var)$", r"/running_\1"),
    (r"/", "."),
)
#: What wrappers put before every name.
_PREFIXES = re.compile(r"^((module|state_dict)\.)+")
_HEAD = ("features", "classes")
#: The source's own classes, and how many batches its statistics saw.
_DROPPED = re.compile(r"fc\.(weight|bias)|(.+\.)?num_batches_tracked")
_FLOATS = {np.dtype(kind) for kind in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16)}
_AGAIN = "write it again with `bonemet weights import`"
_SHOWN = 8

Trunk = dict[str, np.ndarray]
"""Parameters and running statistics of one network without its head, by path: params/layer1_0/conv1/kernel."""


def import_weights(source: Path, out: Path) -> dict[str, Any]:
    """Read weights of torchvision's or timm's ResNet and write them as ours; the head is dropped.

    Args:
        source: A .safetensors, .npz or .pth file.
        out: The .npz to write; `config.model.weights` names it.

    Returns: What `out` says of itself: network, source and its sha256, stem's rule, names dropped, sha256.

    Raises: InputDataError that lists all faults of the source at once.
    """
    if out.suffix != ".npz":
        raise UsageError(f"the output is an .npz, not {out.suffix or 'without suffix'!r}", out, "name it OUT.npz")
    tensors = load_tensors(source)
    network, trunk = convert_tensors(tensors, source)
    with np.errstate(over="ignore"):
        trunk = {path: x.astype(np.float32) for path, x in trunk.items()}
    trunk[STEM] = trunk[STEM].sum(2, keepdims=True)
    faults = [torch_name(path) for path, x in trunk.items() if not np.isfinite(x).all()]
    _refuse({"too large for float32": faults}, source)
    facts = {
        "network": network, "source": source.name, "source_sha256": artifacts.sha256_file(source),
        "stem": STEM_RULE, "dropped": sorted(name for name in _strip(tensors) if _DROPPED.fullmatch(name)),
        "sha256": _digest(trunk),
    }  # fmt: skip
    artifacts.save_npz(out, trunk | {"facts": np.array(json.dumps(facts, sort_keys=True))})
    return facts


def apply_weights(
    variables: dict[str, Any], path: Path | str, model: JointModel | PerChannelModel
) -> dict[str, Any]:
    """`variables` with the trunk of every branch replaced by the imported one; heads stay as drawn.

    Args:
        variables: Of `model`, as `make_variables` draws them.
        path: A file of `bonemet weights import`.
        model: The network they are for, however it is lowered.

    Raises: UsageError when the file is of another network; CorruptFileError when it is damaged or does not fit.
    """
    config = model.config
    facts, trunk = _load(Path(path))
    if facts["network"] != config.network:
        raise UsageError(f"weights of {facts['network']} for model.network {config.network}", path,
                         f"set model.network {facts['network']}, or import weights of {config.network}")
    branches, n_channels = (("net",), len(config.channels)) if config.branches == "joint" else (config.channels, 1)
    trunk[STEM] = trunk[STEM].repeat(n_channels, axis=2) / n_channels
    drawn: dict[str, Any] = traverse_util.flatten_dict(unstack_blocks(variables, model), sep="/")
    placed = {f"{kind}/{branch}/{rest}": x for branch in branches for kind, rest, x in _split(trunk)}
    wanted = {name: leaf.shape for name, leaf in drawn.items() if name.split("/")[2] not in _HEAD}
    if {name: x.shape for name, x in placed.items()} != wanted:
        raise CorruptFileError("weights that are not those of this version's network", path, _AGAIN)
    typed = {name: x.astype(drawn[name].dtype) for name, x in placed.items()}
    return stack_blocks(traverse_util.unflatten_dict(drawn | typed, sep="/"), model)


def weights_sha256(path: Path | str) -> str:
    """Hex sha256 over the arrays of a file of `bonemet weights import`: what the weights are, wherever they lie."""
    return _parse_facts(artifacts.load_npz(path, ["facts"]), path)["sha256"]


def convert_tensors(
    tensors: Mapping[str, np.ndarray], where: object, stem_channels: Collection[int] = (1, 3)
) -> tuple[str, Trunk]:
    """The network's name, and its trunk in our layout (kernels height, width, in, out) and the source's dtypes.

    Args:
        tensors: By torchvision's names; `module.` and `state_dict.` before them are taken off.
        where: Told in errors.
        stem_channels: Numbers of input channels that are accepted.

    Raises: InputDataError with every tensor that is missing, unexpected, of another shape or dtype, or not finite.
    """
    given = {name: x for name, x in _strip(tensors).items() if not _DROPPED.fullmatch(name)}
    network = _recognise(given, where)
    stem = given.get("conv1.weight", np.empty(()))
    n_channels = stem.shape[1] if stem.ndim == 4 and stem.shape[1] in stem_channels else max(stem_channels)
    shapes = {path: _torch_shape(path, shape, n_channels) for path, shape in _trunk_shapes(network).items()}
    names = {path: torch_name(path) for path in shapes}
    present = {path: given[name] for path, name in names.items() if name in given}
    _refuse(
        {
            "given twice": _find_repeated(tensors),
            "missing": [name for path, name in names.items() if path not in present],
            "unexpected": sorted(set(given) - set(names.values())),
            "of another shape": [f"{names[path]} {x.shape} for {shapes[path]}" for path, x in present.items()
                                 if x.shape != shapes[path]],
            "not of floats": [f"{names[path]} {x.dtype}" for path, x in present.items() if x.dtype not in _FLOATS],
            "not finite": [names[path] for path, x in present.items()
                           if x.dtype in _FLOATS and not np.isfinite(x).all()],
        },
        where,
    )
    return network, {path: x.transpose(2, 3, 1, 0) if x.ndim == 4 else x for path, x in present.items()}


def torch_name(path: str) -> str:
    """torchvision's name of one of our parameters or statistics."""
    for pattern, text in TORCH_NAMES:
        path = re.sub(pattern, text, path)
    return path


def _strip(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {_PREFIXES.sub("", name): x for name, x in tensors.items()}


def _find_repeated(tensors: Mapping[str, np.ndarray]) -> list[str]:
    names = [_PREFIXES.sub("", name) for name in tensors]
    return sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []


def _recognise(given: Mapping[str, np.ndarray], where: object) -> str:
    """Name of the network with as many blocks of this kind in each stage."""
    blocks: dict[int, int] = {}
    for name in given:
        if found := re.match(r"layer(\d{1,3})\.(\d{1,3})\.", name):
            stage = int(found[1])
            blocks[stage] = max(blocks.get(stage, 0), int(found[2]) + 1)
    counts = tuple(blocks[stage] for stage in sorted(blocks))
    bottleneck = any(re.fullmatch(r"layer\d+\.\d+\.conv3\.weight", name) for name in given)
    for network, depth in DEPTHS.items():
        if (depth.blocks, depth.bottleneck) == (counts, bottleneck):
            return network
    kind = "bottleneck" if bottleneck else "basic"
    raise InputDataError(f"no network of ours: {kind} blocks a stage {counts}", where,
                         f"use torchvision's or timm's weights of one of {', '.join(DEPTHS)}")


def _trunk_shapes(network: str) -> dict[str, tuple[int, ...]]:
    """Shapes in our layout, of one channel."""
    config = ModelConfig(network=network, channels=("ct",), mask_bias=MaskBiasConfig(enabled=False))  # type: ignore[arg-type]
    leaves: dict[str, Any] = traverse_util.flatten_dict(variable_shapes(make_model(config)), sep="/")
    named = {name.replace("/net/", "/", 1): leaf.shape for name, leaf in leaves.items()}
    return {name: shape for name, shape in named.items() if name.split("/")[1] not in _HEAD}


def _torch_shape(path: str, shape: tuple[int, ...], n_channels: int) -> tuple[int, ...]:
    if len(shape) != 4:
        return shape
    height, width, chan_in, chan_out = shape
    return (chan_out, n_channels if path == STEM else chan_in, height, width)


def _refuse(faults: Mapping[str, list[str]], where: object) -> None:
    """Raises: InputDataError when there is any fault: each kind with its number and first names."""
    told = [f"{len(names)} {kind}: {', '.join(name[:100] for name in names[:_SHOWN])}"
            + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
            for kind, names in faults.items() if names]  # fmt: skip
    if told:
        raise InputDataError(f"not the weights of a ResNet of ours; {'; '.join(told)}", where,
                             "use torchvision's or timm's names and layouts")


def _split(trunk: Trunk) -> Iterator[tuple[str, str, np.ndarray]]:
    for path, x in trunk.items():
        kind, _, rest = path.partition("/")
        yield kind, rest, x


def _load(path: Path) -> tuple[dict[str, Any], Trunk]:
    """What the file says of itself and its arrays, which are held against their sha256."""
    arrays = artifacts.load_npz(path)
    facts = _parse_facts(arrays, path)
    trunk = {name: x for name, x in arrays.items() if name != "facts"}
    if facts["sha256"] != _digest(trunk):
        raise CorruptFileError("weights differ from their sha256", path, _AGAIN)
    return facts, trunk


def _parse_facts(arrays: Mapping[str, np.ndarray], path: Path | str) -> dict[str, Any]:
    try:
        facts = parse_json(str(arrays["facts"]).encode())
        return facts | {name: str(facts[name]) for name in ("network", "sha256")}
    except (KeyError, TypeError, ValueError):
        raise CorruptFileError("not a file of `bonemet weights import`", path, _AGAIN) from None


def _digest(trunk: Trunk) -> str:
    digest = hashlib.sha256()
    for path in sorted(trunk):
        x = np.ascontiguousarray(trunk[path])
        digest.update(f"{path} {x.dtype} {x.shape}\n".encode())
        digest.update(x.tobytes())
    return digest.hexdigest()
