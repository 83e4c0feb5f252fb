#!/usr/bin/env bash
# The fast tests of what depends on jax and Python most, on the newest supported Python found beside the one of .venv,
# with its newest jax. Where there is no newer one, nothing runs, and this says so.
set -euo pipefail
cd "$(dirname "$0")/.."
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }
export PATH="$PWD/.venv/bin:$PATH"
nothing() { echo "no supported Python newer than $here found: nothing was tested on a second one"; exit; }
here=$(version_of .venv/bin/python)
command -v cc > /dev/null || export PASS_OVER=3.13  # which has to build a package
python=$(requirements/find_python.sh) || nothing
newest=$(version_of "$python")
[ "$(printf '%s\n' "$here" "$newest" | sort -V | tail -1)" != "$here" ] || nothing
environment=.venv-$newest
make --no-print-directory install VENV="$environment" PYTHON="$python" DEVICE=cpu
"$environment/bin/python" -c 'import jax, platform; print(f"Python {platform.python_version()}, jax {jax.__version__}")'
exec "$environment/bin/python" -m pytest -n 2 --dist loadfile "$@" tests/channels tests/models tests/input_pipeline \
  tests/train tests/readout tests/telemetry tests/process tests/test_core.py tests/test_jax_workarounds.py
