"""`bonemet weights import`: weights of torchvision's or timm's ResNets as initial weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bonemet_jax.cli.parse import parse
from bonemet_jax.cli.verb_report import CommonArgs, VerbReport


@dataclass(frozen=True)
class WeightsArgs(CommonArgs):
    """Read a ResNet's weights by torchvision's names and write them for `--model.weights OUT.npz`.

    Nothing in the file is run. The classes at its end are dropped.
    """

    action: tyro.conf.Positional[Literal["import"]] = tyro.MISSING
    """What to do."""
    file: tyro.conf.Positional[Path] = tyro.MISSING
    """A .safetensors, .npz or .pth file: ResNet34, 50 or 101 of torchvision or timm."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = tyro.MISSING
    """The .npz to write."""


def main(verb: str, argv: list[str]) -> int:
    """Write the weights and say what became of what the file held."""
    args = parse(WeightsArgs, verb, argv)
    report = VerbReport(verb, argv, args.report)
    from bonemet_jax.models.pretrained import import_weights

    facts = import_weights(args.file, args.output)
    report.write(facts, inputs=[args.file], outputs=[args.output])
    print(f"{facts['network']} from {args.file}; stem: {facts['stem']}; dropped: {describe(facts['dropped'])}")
    print(args.output)
    return 0


def describe(dropped: list[str]) -> str:
    """The names of what was dropped; the batch counts, one a layer, by their number."""
    head = [name for name in dropped if not name.endswith("num_batches_tracked")]
    n = len(dropped) - len(head)
    return ", ".join([*head, *([f"{n} counts of batches"] if n else [])]) or "nothing"
