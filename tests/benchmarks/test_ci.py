"""The ready CI job asks for nothing that the command line does not know."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.__main__ import BENCHMARKS, COMMANDS, main
from tests.test_locks import load_lock

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


def test_every_gate_has_a_budget_for_the_workflows_jax() -> None:
    workflow = load_workflows()[ROOT / ".github" / "workflows" / "benchmarks.yml"]
    given = [step.get("with", {}) for step in list_steps(workflow)]
    (python,) = {one["python-version"] for one in given if "python-version" in one}
    jax, _ = load_lock("cpu", python)["jax"]
    targets = [call[call.index("--target") + 1] for call in CALLS if call[0] == "gate"]
    assert targets and all((ROOT / "benchmarks" / "budgets" / f"{name}-jax{jax}.json").is_file() for name in targets)


def load_workflows() -> dict[Path, dict[Any, Any]]:
    """Every workflow of the repository."""
    files = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
    return {file: yaml.safe_load(file.read_text()) for file in files}


def list_steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_the_workflow_calls_the_script() -> None:
    workflow = load_workflows()[ROOT / ".github" / "workflows" / "benchmarks.yml"]
    steps = list_steps(workflow)
    runs = [shlex.split(step["run"]) for step in steps if "benchmarks/ci.sh" in step.get("run", "")]
    parts = [run[2] for run in runs]
    assert [*parts, "trend"] == list(workflow["jobs"])
    assert set(parts) <= set(re.findall(r"^(\w+)\(\) \{", SCRIPT, re.MULTILINE))
    read = {step["with"]["output-file-path"] for step in steps if "output-file-path" in step.get("with", {})}
    assert {f"runs/bench/{name}" for name in re.findall(r'-o "\$out/(\w+\.json)"', SCRIPT)} == read


def test_actions_are_pinned_to_commits_with_their_version() -> None:
    for file, workflow in load_workflows().items():
        lines = re.findall(r"^.*\buses:.*$", file.read_text(), re.MULTILINE)
        assert len(lines) == sum("uses" in step for step in list_steps(workflow))
        for line in lines:
            assert re.fullmatch(r"\s*(- )?uses: [\w.-]+/[\w./-]+@[0-9a-f]{40}  # v\d+(\.\d+){2}", line), line


def test_no_job_of_a_pull_request_can_write() -> None:
    """Read only by default; a job with more runs on a push to main alone, and keeps no credentials on disk."""
    for workflow in load_workflows().values():
        assert set(workflow[True]) <= {"push", "pull_request"}  # YAML reads the key `on` as true
        assert workflow["permissions"] == {"contents": "read"}
        for job in workflow["jobs"].values():
            if "write" in str(job.get("permissions", {})):
                terms = {term.strip() for term in job["if"].strip("${} ").split("&&")}
                assert {"github.event_name == 'push'", "github.ref == 'refs/heads/main'"} <= terms
                assert "||" not in job["if"]
                assert not any("run" in step for step in job["steps"])
            for step in job["steps"]:
                if "checkout@" in step.get("uses", ""):
                    assert step["with"]["persist-credentials"] is False
                assert "${{" not in step.get("run", "")


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
