"""`bonemet weights import`."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bonemet_jax import artifacts
from bonemet_jax.cli import main
from bonemet_jax.config import ModelConfig
from bonemet_jax.models.pretrained import weights_sha256
from tests.models import torch_files
from tests.models.test_pretrained import make_tensors


def test_import_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out, report = tmp_path / "a.pth", tmp_path / "a.npz", tmp_path / "report.json"
    torch_files.save_tensors(source, make_tensors())
    assert main(["weights", "import", str(source), "-o", str(out), "--report", str(report)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"tiny from {source}; stem: sum over colours;")
    assert said[0].endswith("dropped: fc.bias, fc.weight, 7 counts of batches") and said[1:] == [str(out)]
    assert artifacts.load_json(report)["results"]["sha256"] == weights_sha256(out)
    assert ModelConfig(network="tiny", weights=str(out)).weights == str(out)


def test_faults_are_one_line_and_write_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    canary, source, out = tmp_path / "canary", tmp_path / "a.pth", tmp_path / "a.npz"
    torch_files.save(source, b"cos\nsystem\n(S'touch " + str(canary).encode() + b"'\ntR.", {})
    assert main(["weights", "import", str(source), "-o", str(out)]) == 8
    told = capsys.readouterr().err
    assert told.startswith("bonemet: refused: the name 'os system'; ") and told.count("\n") == 1
    np.savez(tmp_path / "b.npz", **{"layer1.0.conv1.weight": np.zeros(3)})
    assert main(["weights", "import", str(tmp_path / "b.npz"), "-o", str(out)]) == 8
    assert "no network of ours" in capsys.readouterr().err
    assert not canary.exists() and not out.exists()


@pytest.mark.parametrize("argv", [["export", "a.pth", "-o", "b.npz"], ["import", "-o", "b.npz"], ["import", "a.pth"]])
def test_mistakes_in_flags_are_told(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", *argv]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_help_imports_nothing_heavy() -> None:
    code = ("import sys\nfrom bonemet_jax.cli import main\ntry: main(['weights', '--help'])\nexcept SystemExit: pass\n"
            "assert not {'jax', 'numpy', 'safetensors'} & set(sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "import" in done.stdout, done.stderr
