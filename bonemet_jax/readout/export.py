"""A run's networks as files that need nothing of this project to be used (docs/export.md, decision 0021)."""

import contextlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export
from safetensors.numpy import save

from bonemet_jax import artifacts, output_paths, schema
from bonemet_jax.config import Config
from bonemet_jax.models.initial import variable_shapes
from bonemet_jax.models.resnet import make_model
from bonemet_jax.readout.embeddings import load_state
from bonemet_jax.readout.named_weights import name_tensors
from bonemet_jax.readout.scoring_program import export_program
from bonemet_jax.train.optim import make_optimizer
from bonemet_jax.train.state import make_state, params_sha256
from bonemet_jax.versions import find_versions

#: facts.kind of the manifest.
KIND = "export"
#: Of the files' layout and of what the manifest says; a change that a reader must know of counts it up.
FORMAT = 1
PROGRAM, WEIGHTS = "model.stablehlo", "model.safetensors"
#: What jax promises of exported programs: counted between releases of jaxlib, the exporting and the reading one.
COMPATIBILITY = {"backward": "jaxlib up to 6 months newer", "forward": "jaxlib 0.10.2 and newer"}
#: Stored values to a channel's: value * scale + offset, cut to -1..1 where `clip`; lbp is the code of its three planes,
#: hog the picture of its histograms. The program does it itself.
NORMALISATION = {
    "ct": {"scale": 1 / 127.5, "offset": -1.0, "clip": False},
    "lbp": {"scale": 2 / (2**schema.LBP_POINTS - 1), "offset": -1.0, "clip": False},
    "hog": {"scale": 2 / schema.HOG_FULL_SCALE, "offset": -1.0, "clip": True},
    "mask": {"scale": 1.0, "offset": -0.5, "clip": False},
}


def export_run(
    config: Config, run_dir: Path, folds: Sequence[int], out: Path, batch: int | None = None,
    reading: AbstractContextManager[None] | None = None,
) -> dict[str, Any]:
    """Write the weights of these folds, the one program that takes any of them, and the manifest.

    Args:
        config: The run.
        run_dir: Where the folds were trained.
        folds: Whose networks, at their chosen epoch.
        out: Folder; an earlier export there is replaced.
        batch: Patients a call of the program takes; None: any number.
        reading: Entered while the run is read, and left before the export takes its place.

    Returns: The manifest's facts.

    Raises: CorruptFileError as `embeddings.load_state`; UsageError when `out` holds anything but an earlier export.
    """
    output_paths.check_output_folder(out, KIND, [run_dir])
    program = export_program(config, batch)
    facts = describe_network(config) | {"kind": KIND, "folds": list(folds), "program": describe_program(program)}
    with artifacts.atomic_dir(out) as partial, reading or contextlib.nullcontext():
        for fold in folds:
            artifacts.write_bytes(partial / f"fold_{fold}" / WEIGHTS, make_weights(config, run_dir, fold))
        artifacts.write_bytes(partial / PROGRAM, bytes(program.serialize()))
        artifacts.write_manifest(partial, facts)
    return facts


def make_weights(config: Config, run_dir: Path, fold: int) -> bytes:
    """A safetensors file of one fold's parameters and running statistics; its metadata's one entry, facts, is JSON."""
    model = make_model(config.model)
    template = jax.eval_shape(lambda variables: make_state(variables, make_optimizer()), variable_shapes(model))
    variables = load_state(config, run_dir, fold, template).variables
    facts = describe_network(config) | {"fold": fold, "params_sha256": params_sha256(variables)}
    # One entry, for the library writes several in an order of its own each time.
    tensors = {name: np.ascontiguousarray(x) for name, x in name_tensors(variables, model).items()}
    return save(tensors, {"facts": json.dumps(facts, sort_keys=True)})


def describe_network(config: Config) -> dict[str, Any]:
    """What a reader must know of the network and its input, the same for every fold."""
    model = config.model
    return {
        "format": FORMAT, "run": config.name, "fingerprint": config.fingerprint, "warning": schema.WARNING,
        "network": model.network, "branches": model.branches, "channels": list(model.channels),
        "channels_from": config.input.channels, "image": [config.records.height, config.records.width],
        "spacing_mm": config.records.spacing_mm, "ct_window_hu": list(schema.CT_WINDOW_HU),
        "normalisation": {name: NORMALISATION[name] for name in model.channels},
        "mask_bias": {
            "stages": list(model.mask_bias.stages), "position": model.mask_bias.position,
            "resize": model.mask_bias.resize,
        } if model.mask_bias.enabled else None,
        "embedding": model.embedding, "compute_dtype": model.compute_dtype, "embed_epoch": config.train.embed_epoch,
        "names": "torchvision", "versions": find_versions(("jax", "jaxlib", "flax", "safetensors")),
    }  # fmt: skip


def describe_program(program: export.Exported) -> dict[str, Any]:
    """Arguments, results, platforms, and what jax needs to read it."""
    (weights, arrays), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
    results = jax.tree.unflatten(program.out_tree, program.out_avals)
    return {
        "file": PROGRAM, "platforms": list(program.platforms), "n_weights": len(weights),
        "inputs": _describe_arrays(arrays), "outputs": _describe_arrays(results),
        "calling_convention_version": program.calling_convention_version, "compatibility": COMPATIBILITY,
    }


def _describe_arrays(arrays: dict[str, Any]) -> list[dict[str, Any]]:
    """Name, shape ("batch" where any number will do) and dtype of each, in the order of the program."""
    return [
        {"name": name, "shape": [n if isinstance(n, int) else str(n) for n in x.shape], "dtype": str(x.dtype)}
        for name, x in sorted(arrays.items())
    ]
