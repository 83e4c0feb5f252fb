"""`bonemet run CONFIG -o RUN`: a whole study, resuming where the last run stopped."""

import contextlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import tyro

from bonemet_jax import artifacts, hosts
from bonemet_jax.cli.parse import parse
from bonemet_jax.cli.verb_report import DeviceArgs, VerbReport, WaitArgs, choose_device, require_device
from bonemet_jax.config import Config, load_config
from bonemet_jax.errors import UsageError
from bonemet_jax.study.lock import lock_run
from bonemet_jax.study.run import Run
from bonemet_jax.study.runner import run_stages
from bonemet_jax.study.stages import STAGES
from bonemet_jax.telemetry.observe import Observe, parse_window


@dataclass(frozen=True)
class StageArgs(DeviceArgs, WaitArgs):
    """CONFIG -o RUN [--optim.lr 1e-3 ...]: CONFIG is the name of a packaged config (`bonemet configs list`) or a file;
    every field of it is a flag."""

    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Run directory."""
    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=lambda: Config(name="unnamed"))
    """The config's values."""


@dataclass(frozen=True)
class NetworkArgs(StageArgs):
    """CONFIG -o RUN [--optim.lr 1e-3 ...]: CONFIG is the name of a packaged config (`bonemet configs list`) or a file;
    every field of it is a flag."""

    distributed: str = "off"
    """One of several processes that work as one (docs/many-hosts.md): auto, or HOST:PORT,N,I for process I of N, where
    process 0 listens."""


@dataclass(frozen=True)
class TrainArgs(NetworkArgs):
    """CONFIG -o RUN [--optim.lr 1e-3 ...]: CONFIG is the name of a packaged config (`bonemet configs list`) or a file;
    every field of it is a flag."""

    parallel: Literal["jit", "shard_map", "pmap"] | None = None
    """Short for --engine.parallel."""
    profile: str | None = None
    """START:STEPS: trace these updates, counted from 0 over all folds, into RUN/profile, for Perfetto and xprof."""
    dump_hlo: Path | None = None
    """Folder for StableHLO, optimised HLO and memory analysis of every program."""


@dataclass(frozen=True)
class RunArgs(TrainArgs):
    """CONFIG -o RUN [--optim.lr 1e-3 ...]: CONFIG is the name of a packaged config (`bonemet configs list`) or a file;
    every field of it is a flag."""

    dry_run: bool = False
    """Build the real network, print its size and cost, take two training steps at batch 2; write nothing but what
    --dump-hlo asks for."""


Args = TypeVar("Args", bound=StageArgs)


def parse_run(kind: type[Args], verb: str, argv: list[str]) -> Args:
    """The config first, by name or file, then flags that override its fields."""
    if argv and not argv[0].startswith("-"):
        flags = [re.sub(r"^--parallel(?==|$)", "--engine.parallel", flag) for flag in argv[1:]]
        return parse(kind, verb, flags, default=kind(config=load_config(argv[0])))
    if not {"-h", "--help"} & set(argv):
        raise UsageError(f"`bonemet {verb}` wants its config first", "",
                         f"for example `bonemet {verb} smoke -o runs/smoke`; `bonemet configs list` prints the names")
    return parse(kind, verb, argv)


def main(verb: str, argv: list[str]) -> int:
    """Run every stage and print the path of the report as the last line."""
    args = parse_run(RunArgs, verb, argv)
    report = VerbReport(verb, argv, args.report)
    if args.dry_run:
        require_device(args.device)
        return _dry_run(args, report)
    run = open_run(args)
    choose_device(args.device)
    with hosts.joined(args.distributed), lock(run, args):
        require_device(args.device)
        report.phases = run_stages(run, tuple(stage.name for stage in STAGES))
        page = run.directory / "report.html"
        report.write(
            {"report": str(page), "stages_done_now": list(report.phases)}, inputs=[run.cohort_dir / artifacts.MANIFEST],
            outputs=[path for stage in STAGES for path in stage.outputs(run)], config=args.config,
        )
        if hosts.is_writer():
            print(page)
    return 0


def open_run(args: StageArgs) -> Run:
    """The run directory of these flags.

    Raises: UsageError when none was given.
    """
    if args.output is None:
        raise UsageError("no run directory given", "", "add -o RUN, for example -o runs/smoke")
    if not isinstance(args, TrainArgs):
        return Run(args.output, args.config)
    window = None if args.profile is None else parse_window(args.profile)
    return Run(args.output, args.config, Observe(window, args.dump_hlo))


def lock(run: Run, args: StageArgs) -> contextlib.AbstractContextManager[None]:
    """Holds the run directory for this process, or for all of them through process 0. Raises: as `lock_run`."""
    return lock_run(run.directory, args.wait) if hosts.is_writer() else contextlib.nullcontext()


def _dry_run(args: RunArgs, report: VerbReport) -> int:
    if args.profile is not None or args.distributed != "off":
        raise UsageError("--dry-run takes neither --profile nor --distributed", "",
                         "leave them out; --dump-hlo goes with it")
    from bonemet_jax.train.dry_run import dry_run

    facts = dry_run(args.config, args.dump_hlo)
    report.write(facts, config=args.config)
    print(json.dumps(facts, indent=1, sort_keys=True))
    return 0
