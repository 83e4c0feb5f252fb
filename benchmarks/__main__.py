"""`python -m benchmarks list | NAME [--json FILE] [--device cpu|gpu|tpu] [--quick]`, `aot ...`, `gate ...`."""

import argparse
import importlib
import sys
from pathlib import Path

from bonemet_jax.errors import BonemetError

#: name -> module; each has `measure(options) -> list[Measurement]` and says in its docstring what it times.
BENCHMARKS = {
    "build": "benchmarks.build",
    "channels": "benchmarks.channels",
    "compile": "benchmarks.compile",
    "dispatch": "benchmarks.dispatch",
    "folds": "benchmarks.folds",
    "gbdt": "benchmarks.gbdt",
    "input": "benchmarks.input",
    "measure": "benchmarks.measure",
    "scaling": "benchmarks.scaling",
    "stats": "benchmarks.stats",
    "step_time": "benchmarks.step_time",
}
#: Nothing is timed here: programs compiled for devices that need not be here. Each has `main(argv) -> exit code`.
COMMANDS = {"aot": "benchmarks.aot", "gate": "benchmarks.gate"}


def main(argv: list[str] | None = None) -> int:
    """Run one benchmark; returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0] in COMMANDS:
        return importlib.import_module(COMMANDS[argv[0]]).main(argv[1:])
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=["list", *BENCHMARKS], help="which benchmark, or list")
    parser.add_argument("--json", type=Path, help="append the records to this JSON-lines file")
    parser.add_argument("--device", choices=["cpu", "gpu", "tpu"], help="refuse to run on any other platform")
    parser.add_argument("--quick", action="store_true", help="toy size, to see that it runs")
    args = parser.parse_args(argv)
    try:
        return _list() if args.name == "list" else _run(args)
    except BonemetError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _list() -> int:
    for name, module in (BENCHMARKS | COMMANDS).items():
        print(f"{name:<12} {(importlib.import_module(module).__doc__ or '').splitlines()[0]}")
    return 0


def _run(args: argparse.Namespace) -> int:
    from benchmarks import harness

    harness.check_device(args.device)
    options = harness.Options(device=args.device, quick=args.quick)
    measurements = importlib.import_module(BENCHMARKS[args.name]).measure(options)
    records = [harness.make_record(measurement, args.quick) for measurement in measurements]
    for record in records:
        harness.print_record(record)
    if args.json is not None:
        harness.append_records(args.json, records)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
