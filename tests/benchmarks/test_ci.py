"""The ready CI job asks for nothing that the command line does not know."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from benchmarks.__main__ import BENCHMARKS, COMMANDS, main

ROOT = Path(__file__).parents[2]
SCRIPT = (ROOT / "benchmarks" / "ci.sh").read_text()
CALLS = [shlex.split(call) for call in re.findall(r'"\$\{bench\[@\]\}" (.+)', SCRIPT)]


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_every_call_is_known(call: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    name, *rest = call
    assert name in {"all", *BENCHMARKS, *COMMANDS}
    with pytest.raises(SystemExit) as ended:
        main(["--help"] if name in {"all", *BENCHMARKS} else [name, "--help"])
    assert ended.value.code == 0
    known = capsys.readouterr().out
    assert all(flag in known for flag in rest if flag.startswith("-"))


def test_the_workflow_calls_the_script() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "benchmarks.yml").read_text())["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    runs = [shlex.split(step["run"]) for step in steps if "benchmarks/ci.sh" in step.get("run", "")]
    parts = [run[2] for run in runs]
    assert parts == list(jobs) == re.findall(r"^(\w+)\(\) \{", SCRIPT, re.MULTILINE)
    read = {step["with"]["output-file-path"] for step in steps if "output-file-path" in step.get("with", {})}
    assert {f"runs/bench/{name}" for name in re.findall(r'-o "\$out/(\w+\.json)"', SCRIPT)} == read
