"""`bonemet info`: versions and capabilities; imports nothing heavy, so a scheduler can ask it anywhere."""

import json
from dataclasses import dataclass

from bonemet_jax import schema
from bonemet_jax.cli.parse import parse
from bonemet_jax.cli.verb_report import CommonArgs, VerbReport
from bonemet_jax.cli.verbs import VERBS
from bonemet_jax.config_files import list_configs
from bonemet_jax.versions import find_versions


@dataclass(frozen=True)
class InfoArgs(CommonArgs):
    """Print versions and capabilities."""

    json: bool = False
    """As JSON."""


def collect_info() -> dict[str, object]:
    """Versions, verbs and the fixed vocabulary, as plain JSON values."""
    installed = find_versions()
    return {
        "versions": installed,
        "verbs": list(VERBS),
        "configs": list(list_configs()),
        "networks": ["tiny", "resnet34", "resnet50", "resnet101"],
        "channels": list(schema.CHANNELS),
        "classifiers": list(schema.CLASSIFIERS),
        "feature_sets": list(schema.FEATURE_SETS),
        "hu_ranges": {name: list(limits) for name, limits in schema.HU_RANGES.items()},
        "xgboost_build": "cpu" if "xgboost-cpu" in installed else "gpu" if "xgboost" in installed else None,
    }


def main(verb: str, argv: list[str]) -> int:
    """Print the facts."""
    args = parse(InfoArgs, verb, argv)
    report = VerbReport(verb, argv, args.report)
    info = collect_info()
    report.write(info)
    if args.json:
        print(json.dumps(info, indent=1, sort_keys=True))
    else:
        for key, value in info.items():
            pairs = value.items() if isinstance(value, dict) else [(key, value)]
            for name, text in pairs:
                print(f"{name:<22} {', '.join(map(str, text)) if isinstance(text, list) else text or '-'}")
    return 0
