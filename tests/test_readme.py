"""The words of the README and of docs/measured.md: every command in them parses, every path in them exists."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from bonemet_jax.cli.audit import AuditArgs
from bonemet_jax.cli.build import BuildArgs
from bonemet_jax.cli.configs import ACTIONS
from bonemet_jax.cli.doctor import MachineArgs
from bonemet_jax.cli.ingest import SourceArgs
from bonemet_jax.cli.joined import JoinedArgs
from bonemet_jax.cli.parse import parse
from bonemet_jax.cli.phantom import PhantomArgs
from bonemet_jax.cli.predict import PredictArgs
from bonemet_jax.cli.run import RunArgs, parse_run
from bonemet_jax.cli.stage import CvArgs
from bonemet_jax.cli.statistics import KINDS
from bonemet_jax.cli.verify import VerifyArgs
from bonemet_jax.cli.weights import WeightsArgs

ROOT = Path(__file__).parents[1]
README, MEASURED = ((ROOT / name).read_text() for name in ("README.md", "docs/measured.md"))
ARGS = {"audit": AuditArgs, "build": BuildArgs, "doctor": MachineArgs, "ingest": SourceArgs, "measure": SourceArgs,
        "phantom": PhantomArgs, "predict": PredictArgs, "report": JoinedArgs, "verify": VerifyArgs,
        "weights": WeightsArgs}
RUNS = {"run": RunArgs, "cv": CvArgs}
BLOCKS = re.findall(r"^ *```\w*\n(.*?)^ *```$", README, re.S | re.M)
COMMANDS = [line.strip() for block in BLOCKS for line in block.splitlines()
            if re.match(r"\s*bonemet ([a-z]+ -|(run|cv) +\S+ +-|weights import|stats|configs)", line)]
COMMANDS += re.findall(r"`(bonemet [a-z]+ (?:--|(?:smoke|paper) )[^`]*)`", README + MEASURED)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_parses(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if "--model.weights" in command:
        (tmp_path / "imagenet.npz").touch()
    monkeypatch.chdir(tmp_path)
    _, verb, *argv = shlex.split(command, comments=True)
    if "my.py" in argv and verb == "run":  # the line before has made it
        shutil.copy(ROOT / "configs" / "smoke.py", "my.py")
    if verb == "configs":
        parse(ACTIONS[argv[0]], verb, argv[1:])
    elif verb == "stats":
        parse(KINDS[argv[0]], verb, argv[1:])
    elif verb in RUNS:
        parse_run(RUNS[verb], verb, argv)
    else:
        parse(ARGS[verb], verb, argv)


def test_it_shows_the_ways_to_use_it() -> None:
    verbs = {command.split()[1] for command in COMMANDS}
    assert verbs >= {"run", "cv", "ingest", "measure", "predict", "verify", "weights"}


@pytest.mark.parametrize(("folder", "target"), [
    (folder, target) for folder, text in ((".", README), ("docs", MEASURED))
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text)])
def test_link_leads_somewhere(folder: str, target: str) -> None:
    assert (ROOT / folder / target).exists()


@pytest.mark.parametrize("target", re.findall(r"^make ([a-z-]+)", README, re.M))
def test_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)
