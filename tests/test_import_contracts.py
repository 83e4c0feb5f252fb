"""The floors of pyproject.toml hold, and a planted import across them fails the check."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"],
        cwd=folder, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(folder), "PATH": ""},
    )


def test_planted_import_from_models_to_input_pipeline_fails(tmp_path: Path) -> None:
    for name in ("bonemet_jax", "data_pipelines", "benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"),
                        copy_function=shutil.copyfile)  # the clone may be read-only
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    sound = lint_imports(tmp_path)
    assert sound.returncode == 0, sound.stdout + sound.stderr
    planted = tmp_path / "bonemet_jax" / "models" / "__init__.py"
    planted.write_text(planted.read_text() + "\nimport bonemet_jax.input_pipeline\n")
    broken = lint_imports(tmp_path)
    assert broken.returncode == 1
    assert "bonemet_jax.models is not allowed to import bonemet_jax.input_pipeline" in broken.stdout
    print(next(line for line in broken.stdout.splitlines() if "not allowed" in line))
