"""`python -m benchmarks sweep`: precision, stem, batch, BatchNorm, wrapper, remat: the fastest as a config.

Every combination trains the same network on random records, in a process of its own. A race: in the first heat each
takes a few steps, in the next the faster half takes three times as many, until one heat has two runners or fewer. Heats
go over the combinations in turn, every second one backwards. What needs more memory than --memory, by the compiled
program's own account (its arguments, results and temporary arrays, on one device), does not start. Layouts of arrays in
memory are the compiler's choice; the config has none but the stem's form.

Exit codes: 0 a fastest one was found; 1 none ran; 2 usage.
"""

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import outputs
from benchmarks.harness import ROOT
from benchmarks.outputs import config_path, local_path
from bonemet_jax import artifacts
from bonemet_jax.config import Config, from_dict, load_config, to_dict
from bonemet_jax.errors import BonemetError
from bonemet_jax.output_paths import check_distinct
from bonemet_jax.progress import track

#: What is swept -> (part and field of the config, values unless the command line names others).
AXES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "dtype": ("model.compute_dtype", ("float32", "bfloat16")),
    "batch": ("train.batch_size", (8, 16, 32)),
    "norm": ("model.norm", ("sync", "local", "frozen")),
    "parallel": ("engine.parallel", ("jit", "shard_map", "pmap")),
    "stem": ("engine.stem", ("conv", "space_to_depth")),
    "remat": ("engine.remat", (False, True)),
    "normalise": ("engine.normalise", ("auto",)),
}
#: Steps of the first heat, behind one that is not counted; each later heat has three times as many.
_FIRST_STEPS = 3
#: The loss told of each is that behind so many updates.
LOSS_STEPS = 3


@dataclass(frozen=True)
class Runner:
    """One combination and what is known of it."""

    values: dict[str, Any]
    """By axis."""
    memory_gib: float | None = None
    images_per_s: list[float] = field(default_factory=list)
    """Median of each heat that it ran."""
    loss: float | None = None
    reason: str = ""
    """Why it does not run."""

    @property
    def speed(self) -> float:
        """Of its last heat."""
        return self.images_per_s[-1] if self.images_per_s else 0.0


Run = Callable[[dict[str, Any], int], dict[str, Any]]
"""Values and steps to memory_gib, images_per_s and loss, or a reason."""


def main(argv: Sequence[str]) -> int:
    """Race, print the table and the config; returns the exit code."""
    args = _make_parser().parse_args(argv)
    try:
        outputs.check_file(args.json, outputs.RUNNERS, "--json", [args.config])
        outputs.check_file(args.out, outputs.CONFIG, "--out", [args.config])
        check_distinct([(flag, path) for flag, path in (("--json", args.json), ("--out", args.out)) if path])
        base = _make_base(args)
        runners = [Runner(values) for values in combine({axis: getattr(args, axis) for axis in AXES})]
        with tempfile.TemporaryDirectory() as cache:
            runners = race(runners, lambda values, n: run_apart(apply(base, values), n, args.memory, Path(cache)))
    except BonemetError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if args.json is not None:
        for runner in runners:
            artifacts.append_line(args.json, json.dumps(asdict(runner), sort_keys=True))
    print_table(runners)
    if not runners[0].images_per_s:
        print("no combination ran", file=sys.stderr)
        return 1
    text = write_config(apply(base, runners[0].values), runners)
    if args.out is not None:
        artifacts.write_text(args.out, text)
    print(f"\n{text}", end="")
    return 0


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks sweep", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--config", type=config_path, default="paper", help="what is not swept")
    parser.add_argument("--network", help="instead of the config's")
    parser.add_argument("--size", type=int, nargs=2, metavar=("ROWS", "COLUMNS"), help="instead of the config's")
    for axis, (name, values) in AXES.items():
        kind = {"True": True, "False": False} if axis == "remat" else None
        parser.add_argument(f"--{axis}", nargs="+", default=list(values), help=f"values of {name}",
                            type=kind.__getitem__ if kind else type(values[0]))  # fmt: skip
    parser.add_argument("--memory", type=float, default=float("inf"), metavar="GIB", help="bound on one device")
    parser.add_argument("--json", type=local_path, help="append every combination to this JSON-lines file")
    parser.add_argument("-o", "--out", type=local_path, help="write the config here")
    return parser


def _make_base(args: argparse.Namespace) -> Config:
    config = load_config(args.config)
    height, width = args.size or (config.records.height, config.records.width)
    model = replace(config.model, network=args.network or config.model.network)
    return replace(config, model=model, records=replace(config.records, height=height, width=width))


def combine(axes: dict[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the axes' values."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def apply(base: Config, values: dict[str, Any]) -> Config:
    """The config with these values. Raises: UsageError for one that it refuses."""
    for axis, value in values.items():
        part, name = AXES[axis][0].split(".")
        base = replace(base, **{part: replace(getattr(base, part), **{name: value})})
    return base


def race(runners: Iterable[Runner], run: Run) -> list[Runner]:
    """Heats until two or fewer are left; the fastest first, what did not run last."""
    started, out, n_steps, heat = list(runners), [], _FIRST_STEPS, 1
    while started:
        order = started[:: -1 if heat % 2 == 0 else 1]
        ran = [_advance(runner, run(runner.values, n_steps)) for runner in track(order, f"heat {heat}", len(order))]
        out += [runner for runner in ran if runner.reason]
        ran = sorted((runner for runner in ran if not runner.reason), key=lambda runner: -runner.speed)
        keep = -(-len(ran) // 2) if len(ran) > 2 else 0
        out += ran[keep:]
        started, n_steps, heat = ran[:keep], 3 * n_steps, heat + 1
    return sorted(out, key=lambda runner: (bool(runner.reason), -len(runner.images_per_s), -runner.speed))


def _advance(runner: Runner, told: dict[str, Any]) -> Runner:
    if "reason" in told:
        return replace(runner, reason=told["reason"], memory_gib=told.get("memory_gib", runner.memory_gib))
    return replace(runner, memory_gib=told["memory_gib"], loss=told["loss"],
                   images_per_s=[*runner.images_per_s, told["images_per_s"]])  # fmt: skip


def run_apart(config: Config, n_steps: int, memory_gib: float, cache: Path) -> dict[str, Any]:
    """One heat of one combination in a process of its own; compiled programs wait in `cache` for the next heat."""
    bound = None if memory_gib == float("inf") else memory_gib
    request = json.dumps({"config": to_dict(config), "n_steps": n_steps, "memory_gib": bound})
    done = subprocess.run([sys.executable, "-m", "benchmarks.sweep", request], cwd=ROOT, encoding="utf-8",
                          capture_output=True, env=os.environ | {"BONEMET_CACHE_DIR": str(cache)})  # fmt: skip
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    lines = [line for line in done.stderr.splitlines() if "Error" in line] or done.stderr.splitlines() or ["killed"]
    return {"reason": lines[-1].strip()[:120]}


def _run_here(config: Config, n_steps: int, memory_gib: float | None) -> dict[str, Any]:
    """In the process that trains."""
    from benchmarks.harness import time_once
    from benchmarks.training import Training
    from bonemet_jax.host_memory import keep_memory
    from bonemet_jax.telemetry.compile_cache import enable_compile_cache
    from bonemet_jax.train.parallel import Engine

    keep_memory()
    enable_compile_cache()
    training = Training(Engine(config), config)
    memory = training.compile().memory_analysis()
    gib = (memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
           - memory.alias_size_in_bytes) / 2**30  # fmt: skip
    if memory_gib is not None and gib > memory_gib:
        return {"reason": "more memory than allowed", "memory_gib": round(gib, 4)}
    losses: list[float] = []
    seconds = [time_once(lambda: losses.append(training.step()))[0] for _ in range(1 + n_steps)]
    return {"memory_gib": round(gib, 4), "images_per_s": config.train.batch_size / float(np.median(seconds[1:])),
            "loss": losses[LOSS_STEPS]}  # fmt: skip


def print_table(runners: Sequence[Runner]) -> None:
    """A line a combination, the fastest first."""
    print(" ".join(f"{axis:<14}" for axis in AXES) + "images/s    GiB   loss  heats")
    for runner in runners:
        cells = " ".join(f"{runner.values[axis]!s:<14}" for axis in AXES)
        gib = "" if runner.memory_gib is None else f"{runner.memory_gib:.2f}"
        told = runner.reason or f"{runner.speed:8.3g} {gib:>6} {runner.loss:6.3f} {len(runner.images_per_s):6}"
        print(f"{cells}{told}" + (f" ({gib} GiB)" if runner.reason and gib else ""))
    print(f"memory: of one device, as compiled; loss: behind {LOSS_STEPS} updates; of more heats, the last one's speed")


def write_config(config: Config, runners: Sequence[Runner]) -> str:
    """A config file: every field that differs from its default."""
    best, ran = runners[0], sum(bool(runner.images_per_s) for runner in runners)
    lines = [f"    {line}," for line in _write_changes(config, Config(config.name))]
    code = "\n".join(["config = Config(", f"    name={config.name!r},", *lines, ")", ""])
    names = ", ".join(sorted(set(re.findall(r"\b\w*Config(?=\()", code))))
    return (f'"""The fastest of {ran} combinations that ran, of {len(runners)}: {best.speed:.3g} images/s, '
            f'{best.memory_gib:.2f} GiB a device."""\n\nfrom bonemet_jax.config import {names}\n\n{code}')  # fmt: skip


def _write_changes(part: Any, plain: Any) -> list[str]:
    pairs = ((f.name, getattr(part, f.name), getattr(plain, f.name)) for f in fields(part))
    return [f"{name}={_write(value, default)}" for name, value, default in pairs if value != default]


def _write(value: Any, default: Any) -> str:
    if not is_dataclass(value):
        return repr(value)
    return f"{type(value).__name__}({', '.join(_write_changes(value, default))})"


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    print(json.dumps(_run_here(from_dict(Config, told["config"]), told["n_steps"], told["memory_gib"])))
