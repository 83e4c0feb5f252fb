"""`python -m benchmarks [all | list | NAME] [--quick] [--json FILE] [--device cpu|gpu|tpu] [--peer NAME]`.

`all`, which is also what no name means, runs every benchmark, each in a process of its own, and prints one table.
The other commands of `list` take arguments of their own: `python -m benchmarks export --help`. One that needs a package
that is not installed names it and ends with exit code 2.
"""

import argparse
import ast
import importlib
import importlib.util
import sys
from pathlib import Path

from benchmarks import outputs
from bonemet_jax.cli.streams import GuardedStreams
from bonemet_jax.errors import BonemetError, DiskError
from bonemet_jax.missing_package import to_missing_package

#: name -> module; each has `measure(options) -> list[Measurement]` and says in its docstring what it times.
BENCHMARKS = {
    "build": "benchmarks.build",
    "channels": "benchmarks.channels",
    "checkpoint": "benchmarks.checkpoint",
    "compile": "benchmarks.compile",
    "dispatch": "benchmarks.dispatch",
    "embed": "benchmarks.embed",
    "folds": "benchmarks.folds",
    "gbdt": "benchmarks.gbdt",
    "input": "benchmarks.input",
    "measure": "benchmarks.measure",
    "scaling": "benchmarks.scaling",
    "stats": "benchmarks.stats",
    "step_time": "benchmarks.step_time",
    "study": "benchmarks.study",
}
#: Nothing is timed here. Each has `main(argv) -> exit code`.
COMMANDS = {
    "aot": "benchmarks.compiled.aot",
    "compare": "benchmarks.compared.compare",
    "export": "benchmarks.export",
    "gate": "benchmarks.compiled.gate",
    "plot": "benchmarks.plot",
    "sweep": "benchmarks.sweep",
}


def main(argv: list[str] | None = None) -> int:
    """Run one benchmark, or all; returns the exit code: 5 where standard output could not be written."""
    with GuardedStreams() as streams:
        code = _main(list(sys.argv[1:] if argv is None else argv))
    if streams.error is None:
        return code
    print(f"error: standard output could not be written ({streams.error.strerror})", file=sys.stderr)
    return code or DiskError.exit_code


def _main(argv: list[str]) -> int:
    try:
        if argv and argv[0] in COMMANDS:
            return importlib.import_module(COMMANDS[argv[0]]).main(argv[1:])
        return _run_benchmarks(argv)
    except ImportError as error:
        missing = to_missing_package(error, " ".join(argv[:1]))
        if missing is None:
            raise
        print(f"error: {missing}", file=sys.stderr)
        return missing.exit_code


def _run_benchmarks(argv: list[str]) -> int:
    args = _make_parser().parse_args(argv)
    try:
        outputs.check_file(args.json, outputs.RECORDS, "--json")
        return _list() if args.name == "list" else _run_all(args) if args.name == "all" else _run(args)
    except BonemetError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _make_parser() -> argparse.ArgumentParser:
    from benchmarks.harness import PEERS

    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="all", choices=["all", "list", *BENCHMARKS],
                        help="which benchmark; all: every one; list: their names")
    parser.add_argument("--json", type=outputs.local_path, help="append the records to this JSON-lines file")
    parser.add_argument("--device", choices=["cpu", "gpu", "tpu"], help="refuse to run on any other platform")
    parser.add_argument("--quick", action="store_true", help="toy size, to see that it runs")
    parser.add_argument("--peer", action="append", default=[], choices=["none", *PEERS],
                        help="run only this peer beside ours, may be given again (default: all that are installed)")
    return parser


def _list() -> int:
    """Print names and first lines, which are read from the source: what a benchmark imports may not be installed."""
    for name, module in (BENCHMARKS | COMMANDS).items():
        spec = importlib.util.find_spec(module)
        assert spec is not None and spec.origin is not None
        docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
        print(f"{name:<12} {docstring.splitlines()[0]}")
    return 0


def _run_all(args: argparse.Namespace) -> int:
    from benchmarks import harness, suite

    harness.check_device(args.device)
    missing = [name for name in harness.PEERS if not harness.is_installed(name)]
    if harness.choose_peers(args.peer) is None and missing:
        print(f"not installed (make peers), left out: {', '.join(missing)}", file=sys.stderr)
    flags = ["--quick"] if args.quick else []
    flags += ["--device", args.device] if args.device else []
    flags += [flag for name in args.peer for flag in ("--peer", name)]
    return suite.run_all(list(BENCHMARKS), flags, args.json)


def _run(args: argparse.Namespace) -> int:
    from benchmarks import harness
    from bonemet_jax.host_memory import keep_memory

    peers = harness.choose_peers(args.peer)
    harness.check_device(args.device)
    keep_memory()
    options = harness.Options(device=args.device, quick=args.quick, peers=peers)
    measurements = importlib.import_module(BENCHMARKS[args.name]).measure(options)
    records = [harness.make_record(one, args.quick) for one in harness.drop_unmeasured(measurements)]
    if args.json is not None:
        harness.append_records(args.json, records)
    for record in records:
        harness.print_record(record)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
