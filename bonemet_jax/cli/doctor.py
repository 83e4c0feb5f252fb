"""`bonemet doctor [CONFIG]`: what this machine offers a run, and every problem with its remedy."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro

from bonemet_jax.cli.gpu_diagnosis import GpuHost, check_gpu, find_gpu_host
from bonemet_jax.cli.parse import parse
from bonemet_jax.cli.verb_report import DeviceArgs, VerbReport, require_device
from bonemet_jax.config import Config, load_config
from bonemet_jax.errors import DeviceError


@dataclass(frozen=True)
class MachineArgs(DeviceArgs):
    """Devices, software, caches, memory and disk, with a health check."""

    json: bool = False
    """As JSON."""


@dataclass(frozen=True)
class DoctorArgs(MachineArgs):
    """[CONFIG] [--engine.folds mesh ...]: devices, software, caches, memory and disk, with a health check; with a
    config (the name of a packaged one, or a file), every field of which is a flag, what would run where."""

    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=lambda: Config(name="unnamed"))
    """The config's values."""


def main(verb: str, argv: list[str]) -> int:
    """Print facts and problems; 0 where runs are possible, else the exit code of what stands in the way."""
    args = _parse(verb, argv)
    config = args.config if isinstance(args, DoctorArgs) else None
    report = VerbReport(verb, argv, args.report)
    gpu_host = find_gpu_host()  # before jax takes its part of the memory
    _require_device(args.device, gpu_host)
    from bonemet_jax.cli.diagnosis import diagnose

    facts, problems = diagnose(config, gpu_host)
    code = max(problem.exit_code for problem in problems) if problems else 0
    told = {**facts, "problems": [problem._asdict() for problem in problems], "exit_code": code}
    report.write(told, config=config, exit_code=code)
    if args.json:
        print(json.dumps(told, indent=1))
    else:
        lines = [f"problem: {problem.what}; {problem.mend}" for problem in problems]
        possible = "training is" if facts["packages"]["light"] else "runs are"
        print(*describe_facts(facts), *lines, f"verdict: {possible} {'not ' if code else ''}possible", sep="\n")
    return code


def _require_device(device: str | None, gpu_host: GpuHost | None) -> None:
    """As `require_device`; a GPU that is there and cannot be used is explained. Raises: DeviceError."""
    try:
        require_device(device)
    except DeviceError as error:
        problems = check_gpu(gpu_host, "cpu", is_chosen=False).problems if device == "gpu" else []
        if not problems:
            raise
        raise DeviceError(problems[0].what, error.where, problems[0].mend) from error


def _parse(verb: str, argv: list[str]) -> MachineArgs:
    """Flags of a config only behind one, and in the help."""
    if argv and not argv[0].startswith("-"):
        return parse(DoctorArgs, verb, argv[1:], default=DoctorArgs(config=load_config(argv[0])))
    return parse(DoctorArgs if {"-h", "--help"} & set(argv) else MachineArgs, verb, argv)


def describe_facts(facts: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Aligned lines: the subject on its first line, name, value."""
    subject_width = max(map(len, facts))
    name_width = max(len(name) for part in facts.values() for name in part)
    for subject, part in facts.items():
        for i, (name, value) in enumerate(part.items()):
            yield f"{'' if i else subject:<{subject_width}}  {name:<{name_width}}  {_format(value)}"


def _format(value: Any) -> str:
    """A JSON value in words: true is yes, null a dash."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case dict():
            return ", ".join(f"{name} {_format(one)}" for name, one in value.items())
        case [[*_], *_]:
            return " | ".join(map(_format, value))
        case list():
            return " ".join(map(_format, value))
        case _:
            return str(value)
