"""The ready CI job asks for nothing that the command line does not know."""

import os
import re
import shlex
import shutil
import subprocess
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
    assert parts == list(jobs)
    assert set(parts) <= set(re.findall(r"^(\w+)\(\) \{", SCRIPT, re.MULTILINE))
    read = {step["with"]["output-file-path"] for step in steps if "output-file-path" in step.get("with", {})}
    assert {f"runs/bench/{name}" for name in re.findall(r'-o "\$out/(\w+\.json)"', SCRIPT)} == read


@pytest.mark.parametrize(("codes", "ends", "n_calls"), [
    ({}, 0, 6), ({"all": 1}, 1, 6), ({"compare": 10}, 10, 6), ({"all": 1, "compare": 10}, 1, 6), ({"all": 3}, 3, 1),
])  # fmt: skip
def test_a_failure_loses_no_record(tmp_path: Path, codes: dict[str, int], ends: int, n_calls: int) -> None:
    """Calls of a stand-in for python: what was recorded is exported and compared, and the first failure is told."""
    for folder in ("benchmarks", ".venv/bin", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "benchmarks" / "ci.sh", tmp_path / "benchmarks")
    cases = "\n".join(f"  {name}) exit {code} ;;" for name, code in codes.items())
    record = "" if codes.get("all") == 3 else '[ "$3" != all ] || echo {} > runs/bench/records.jsonl'
    python = f'echo "$3" >> calls\n{record}\ncase "$3" in\n{cases}\nesac'
    for path, script in ((".venv/bin/python", python), ("bin/make", "")):
        (tmp_path / path).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / path).chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "benchmarks/ci.sh", "timed", "cpu", "abc"], cwd=tmp_path, env=env)
    assert done.returncode == ends
    calls = (tmp_path / "calls").read_text().split()
    assert calls == ["all", "export", "export", "export", "plot", "compare"][:n_calls]
