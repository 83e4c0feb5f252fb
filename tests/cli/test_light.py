"""`--help` and `info` answer without jax, tensorflow, sklearn or matplotlib."""

import subprocess
import sys
import time

import pytest

HEAVY = ("jax", "tensorflow", "sklearn", "matplotlib", "pandas", "scipy", "numpy", "xgboost")
SNIPPET = """
import sys
from bonemet_jax.cli import main
try:
    code = main({argv!r})
except SystemExit as stop:
    code = stop.code or 0
loaded = [name for name in {heavy!r} if name in sys.modules]
assert not loaded, loaded
sys.exit(code)
"""
VERBS = (
    "run", "phantom", "ingest", "measure", "build", "cv", "embed", "fuse", "report", "predict", "verify", "weights",
    "configs", "doctor", "info", "stats", "audit", "export",
)


@pytest.mark.parametrize("argv", [
    ["--help"], ["info", "--json"], ["configs", "list"], *([verb, "--help"] for verb in VERBS),
], ids=" ".join)
def test_answers_without_heavy_imports(argv: list[str]) -> None:
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", SNIPPET.format(argv=argv, heavy=HEAVY)], capture_output=True, text=True, check=False
    )
    print(f"bonemet {' '.join(argv)}: {time.perf_counter() - start:.2f} s")
    assert done.returncode == 0, done.stderr
    assert done.stdout
