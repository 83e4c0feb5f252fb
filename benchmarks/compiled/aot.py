"""`python -m benchmarks aot --target h100x8|v5e-4|cpu8`: the real programs compiled for devices that need not be here.

Compiles what a run compiles (bonemet_jax.train.parallel.Engine: training step under jit and under shard_map, step of
folds side by side on a mesh, an epoch of steps in one program, evaluation and embedding step) for the target, at two
batch sizes, and prints what the optimised HLO says: bytes, FLOPs and memory an image (slope) and a step (intercept),
what limits each stage, convolutions, collectives. Nothing is run. benchmarks/compiled/work.py says how work is counted.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import outputs
from benchmarks.compiled.budget import BUDGETS, Figures, find_broken, save_budget
from benchmarks.compiled.targets import TARGETS, Target, find_target, make_environment
from benchmarks.harness import ROOT
from benchmarks.outputs import config_path, local_path
from bonemet_jax import artifacts
from bonemet_jax.config import Config, from_dict, load_config, to_dict
from bonemet_jax.errors import BonemetError, DeviceError, UsageError
from bonemet_jax.output_paths import check_distinct, check_folder_entries
from bonemet_jax.progress import say


def main(argv: Sequence[str]) -> int:
    """Compile, print the tables, write what was asked for; returns the exit code."""
    parser = make_parser("python -m benchmarks aot", str(__doc__))
    parser.add_argument("--json", type=local_path, help="write the figures to this file")
    parser.add_argument("--plot", type=local_path, help="write the roofline of the training step to this SVG file")
    parser.add_argument("--write-budget", action="store_true", help=f"hold later changes to these figures ({BUDGETS})")
    args = parser.parse_args(argv)
    try:
        _check_outputs(args)
        measured = measure_arguments(args)
        if args.json is not None:
            artifacts.write_json(args.json, measured)
        _show(measured, args.plot)
        if args.write_budget:
            print(f"\nbudget written: {_write_budget(measured)}")
    except BonemetError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _check_outputs(args: argparse.Namespace) -> None:
    """Raises: UsageError where --json or --plot would replace another file."""
    given = [path for path in (args.config, args.figures) if path is not None]
    outputs.check_file(args.json, outputs.FIGURES, "--json", given)
    outputs.check_file(args.plot, outputs.DRAWING, "--plot", given)
    check_distinct([(flag, path) for flag, path in (("--json", args.json), ("--plot", args.plot)) if path is not None])


def make_parser(name: str, doc: str) -> argparse.ArgumentParser:
    """Flags that say what is compiled; benchmarks/compiled/gate.py shares them."""
    parser = argparse.ArgumentParser(name, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="cpu8", help=f"one of {', '.join(TARGETS)}")
    parser.add_argument("--config", type=config_path, default="paper", help="config of the run")
    parser.add_argument("--network", help="instead of the target's own")
    parser.add_argument("--size", type=int, nargs=2, metavar=("ROWS", "COLUMNS"), help="instead of the target's")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"], help="of activations")
    parser.add_argument("--norm", choices=["sync", "local", "frozen"], help="BatchNorm, instead of the config's")
    parser.add_argument("--local-batch", type=int, nargs="+", help="images a device, instead of the target's two sizes")
    parser.add_argument("--programs", nargs="+", help="of train, shard_map, folds, epoch, evaluate")
    parser.add_argument("--figures", type=local_path, help="take these, written by aot --json, instead of compiling")
    parser.add_argument("--dump", type=local_path, help="folder for the optimised HLO of every program")
    return parser


def measure_arguments(args: argparse.Namespace) -> Figures:
    """Figures of what the command line asks for. Raises: UsageError, DeviceError, CorruptFileError."""
    if args.dump is not None:
        check_folder_entries(args.dump, outputs.HLO, [args.config], "--dump")
    if args.figures is not None:
        return artifacts.load_json(args.figures)
    target = find_target(args.target)
    target.check()
    config = load_config(args.config)
    height, width = args.size or (target.height, target.width)
    network, norm = args.network or target.network, args.norm or config.model.norm
    model = replace(config.model, network=network, compute_dtype=args.dtype, norm=norm)
    config = replace(config, model=model, records=replace(config.records, height=height, width=width))
    return measure(target, config, args.programs, args.local_batch, args.dump)


def measure(
    target: Target, config: Config, programs: Sequence[str] | None = None, local_batches: Sequence[int] | None = None,
    dump: Path | None = None,
) -> Figures:
    """Compile in a process of its own, since jax asks for devices and flags only once, as it starts.

    Args:
        target: Where the programs would run.
        config: The run; batch size and wrapper are set here.
        programs: Names of benchmarks.compiled.programs.PROGRAMS; the target's when None.
        local_batches: Images a device; the target's when None.
        dump: Folder for the optimised HLO.

    Raises: UsageError, DeviceError when it does not compile.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        request = {
            "target": target.name, "config": to_dict(config), "programs": list(programs or target.programs),
            "local_batches": list(local_batches or target.local_batches), "dump": dump and str(dump.absolute()),
            "out": str(out),
        }  # fmt: skip
        command = [sys.executable, "-m", "benchmarks.compiled.aot", json.dumps(request)]
        told = _run(command, make_environment(target))
        if not out.is_file():
            raise DeviceError(f"compiling for {target.name} failed: {told[-1] if told else 'killed'}")
        found = artifacts.load_json(out)
    if "error" in found:
        raise UsageError(found["error"])
    return found


def _measure_here(request: dict[str, Any]) -> Figures:
    """In the process that compiles."""
    import jax

    from benchmarks.compiled.figures import count_xla, make_figures
    from benchmarks.compiled.programs import PROGRAMS, compile_program, name_parts, select_parts

    target, config = find_target(request["target"]), from_dict(Config, request["config"])
    programs: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    xla: dict[str, Any] = {}
    for name in request["programs"] or PROGRAMS:
        for local_batch in request["local_batches"]:
            compiled = compile_program(target, config, name, local_batch)
            key = str(local_batch)
            programs.setdefault(name, {})[key] = make_figures(compiled)
            xla[f"{name} {key}"] = count_xla(compiled)
            seconds[f"{name} {key}"] = round(compiled.program.seconds, 1)
            if request["dump"]:
                path = Path(request["dump"]) / f"{target.name}-{name}-{key}.hlo.txt"
                artifacts.write_text(path, compiled.program.compiled.as_text())
    return {
        "target": target.name, "jax": jax.__version__, "fingerprint": name_parts(config),
        "config": select_parts(config), "network": config.model.network, "dtype": config.model.compute_dtype,
        "programs": programs, "compile_s": seconds, "xla": xla,
    }  # fmt: skip


def _write_budget(measured: Figures) -> Path:
    """Raises: UsageError where a figure breaks what must hold whatever the budget."""
    for name, sizes in measured["programs"].items():
        for local_batch, figures in sizes.items():
            if broken := find_broken(figures):
                where = f"{name}, {local_batch} images a device"
                raise UsageError(f"no budget for a fault: {'; '.join(broken)}", where, "mend it")
    kept = {key: value for key, value in measured.items() if key not in ("compile_s", "xla")}
    return save_budget(BUDGETS, kept)


def _show(measured: Figures, plot: Path | None) -> None:
    from benchmarks.compiled.tables import print_tables

    try:
        if plot is not None:
            _plot(measured, plot)
    finally:
        print_tables(measured)


def _plot(measured: Figures, plot: Path) -> None:
    from benchmarks.compiled.programs import PROGRAMS
    from benchmarks.compiled.roofline import make_rows, plot_roofline

    target = find_target(measured["target"])
    if target.peak is None:
        raise UsageError(f"no roofline for {target.name}: its peak is not known", "", "leave --plot out")
    name = next(name for name in PROGRAMS if name in measured["programs"])
    sizes = measured["programs"][name]
    local_batch = min(sizes, key=int)
    title = f"{measured['network']}, {measured['dtype']}, {target.device_kind}: {name}, {local_batch} images a device"
    plot_roofline(plot, target, title, make_rows(target, sizes[local_batch], measured["dtype"]), measured["dtype"])


def _run(command: list[str], environment: dict[str, str]) -> list[str]:
    """Run it, pass on what is being compiled, give the other lines it told, without the compiler's own notes."""
    told = []
    with subprocess.Popen(command, cwd=ROOT, env=environment, encoding="utf-8", stderr=subprocess.PIPE) as process:
        for line in map(str.rstrip, process.stderr or ()):
            if line.startswith("compil"):
                say(line)
            elif line and not line.startswith(("I0", "W0", "WARNING: All log", "\t")):
                told.append(line)
    return [line for line in told if "Error" in line] or told


def _work(request: dict[str, Any]) -> None:
    try:
        found = _measure_here(request)
    except UsageError as error:
        found = {"error": str(error)}
    artifacts.write_json(request["out"], found)


if __name__ == "__main__":
    _work(json.loads(sys.argv[1]))
