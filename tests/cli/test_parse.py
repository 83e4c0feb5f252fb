"""Mistakes in flags, in one line of a user's words; help that names what a flag takes."""

import os
import subprocess
import sys

import pytest

from bonemet_jax.cli import main
from bonemet_jax.cli.ingest import SourceArgs
from bonemet_jax.cli.parse import parse
from bonemet_jax.errors import UsageError

MEASURE = ["measure", "-i", "a", "-o", "b"]


@pytest.mark.parametrize(("argv", "said"), [
    ([*MEASURE, "--slice-z", "-768,5"], "--slice-z: '-768,5' is not a number"),
    ([*MEASURE, "--slice-index", "x"], "--slice-index: 'x' is not a whole number"),
    ([*MEASURE, "--slice-z"], "--slice-z takes 1 value"),
    ([*MEASURE, "--picture-spacing", "0.977"], "--picture-spacing takes 2 numbers"),
    ([*MEASURE, "--picture-spacing", "a", "b"], "--picture-spacing: 'a', 'b' are not 2 numbers"),
    ([*MEASURE, "--segment", "foo"], "--segment: 'foo' is none of hu, none, totalsegmentator"),
    (["phantom", "-o", "x", "--n", "2.5"], "--n: '2.5' is not a whole number"),
    (["run", "configs/smoke.py", "-o", "x", "--optim.lr", "1,3"], "--optim.lr: '1,3' is not a number"),
])
def test_a_mistake_is_told_plainly(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert capsys.readouterr().err == f"bonemet: {said}; see `bonemet {argv[0]} --help`\n"


@pytest.mark.parametrize(("verb", "described"), [
    ("measure", "Areas, indices and overlays of real slices; nothing is trained."),
    ("ingest", "Turn images and a clinical table into a cohort."),
])
def test_help_is_the_verbs_own(verb: str, described: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    told = capsys.readouterr().out
    assert described in told and "--slice-z FLOAT" in told and "None}" not in told


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_it_is_plain_on_every_terminal(encoding: str) -> None:
    """The parser frames its words by the terminal's encoding; ours are the same."""
    argv = [sys.executable, "-c", "from bonemet_jax.cli import run_from_shell; run_from_shell()"]
    done = subprocess.run([*argv, "phantom", "--n", "2.5", "-o", "x"], capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONIOENCODING": encoding})
    assert done.returncode == 2
    assert done.stderr == "bonemet: --n: '2.5' is not a whole number; see `bonemet phantom --help`\n"


def test_a_flag_given_twice_is_refused() -> None:
    """The parser would measure b alone."""
    for argv in (["-i", "a", "-i", "b"], ["-i", "a", "--input=b"], ["--level", "T11", "--level", "L1"]):
        with pytest.raises(UsageError, match="is given twice"):
            parse(SourceArgs, "measure", ["-o", "x", *argv])
