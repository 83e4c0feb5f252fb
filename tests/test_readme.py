"""The README's words: every command in it parses, every path in it exists."""

import re
import shlex
from pathlib import Path

import pytest

from bonemet_jax.cli.build import BuildArgs
from bonemet_jax.cli.ingest import SourceArgs
from bonemet_jax.cli.parse import parse
from bonemet_jax.cli.phantom import PhantomArgs
from bonemet_jax.cli.predict import PredictArgs
from bonemet_jax.cli.run import RunArgs, parse_run
from bonemet_jax.cli.verify import VerifyArgs

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
ARGS = {"build": BuildArgs, "ingest": SourceArgs, "measure": SourceArgs, "phantom": PhantomArgs, "predict": PredictArgs,
        "verify": VerifyArgs}
COMMANDS = [line.strip() for block in re.findall(r"```\n(.*?)```", README, re.S) for line in block.splitlines()
            if re.match(r"\s*bonemet [a-z]+ -|\s*bonemet run configs", line)]
COMMANDS += re.findall(r"`(bonemet [a-z]+ (?:-|configs)[^`]*)`", README)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_parses(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    _, verb, *argv = shlex.split(command)
    if verb == "run":
        parse_run(RunArgs, verb, argv)
    else:
        parse(ARGS[verb], verb, argv)


def test_it_shows_the_ways_to_use_it() -> None:
    assert {command.split()[1] for command in COMMANDS} >= {"run", "ingest", "measure", "predict", "verify"}


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)#]+)\)", README))
def test_link_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


@pytest.mark.parametrize("target", re.findall(r"^make ([a-z-]+)", README, re.M))
def test_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)
